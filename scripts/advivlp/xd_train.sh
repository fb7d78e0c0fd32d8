#!/usr/bin/env bash
# AdvIVLP, learns on the source: bash scripts/advivlp/xd_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_train AdvIVLP "$@"
