#!/usr/bin/env bash
# VPT, tested elsewhere, cross-dataset and dg: bash scripts/vpt/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test VPT "$@"
