#!/usr/bin/env bash
# AdvIVLP, tested elsewhere, cross-dataset and dg: bash scripts/advivlp/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test AdvIVLP "$@"
