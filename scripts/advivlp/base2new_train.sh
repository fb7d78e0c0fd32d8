#!/usr/bin/env bash
# AdvIVLP, base-to-new: bash scripts/advivlp/base2new_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" base2new AdvIVLP "$@"
