#!/usr/bin/env bash
# KDPL, base-to-new: [BASE=CoOp|CoCoOp|VPT|MaPLe|PromptSRC] [TEACHER=...] bash scripts/kdpl/base2new_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" base2new "${BASE:-CoOp}_KDPL" "$@"
