#!/usr/bin/env bash
# CoCoOp, base-to-new: bash scripts/cocoop/base2new_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" base2new CoCoOp "$@"
