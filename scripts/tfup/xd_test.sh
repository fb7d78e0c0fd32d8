#!/usr/bin/env bash
# TFUP, on other data sets, each with its own images: bash scripts/tfup/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test TFUP "$@"
