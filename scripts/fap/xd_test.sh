#!/usr/bin/env bash
# FAP, tested elsewhere, cross-dataset and dg: bash scripts/fap/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test FAP "$@"
