#!/usr/bin/env bash
# APD, tested elsewhere, cross-dataset and dg: bash scripts/apd/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test APD "$@"
