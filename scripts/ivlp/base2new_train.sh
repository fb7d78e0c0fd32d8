#!/usr/bin/env bash
# IVLP, base-to-new: bash scripts/ivlp/base2new_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" base2new IVLP "$@"
