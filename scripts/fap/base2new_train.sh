#!/usr/bin/env bash
# FAP, base-to-new: bash scripts/fap/base2new_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" base2new FAP "$@"
