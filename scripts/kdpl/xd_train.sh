#!/usr/bin/env bash
# KDPL, learns on the source: [BASE=CoOp|CoCoOp|VPT|MaPLe|PromptSRC] [TEACHER=...] bash scripts/kdpl/xd_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_train "${BASE:-CoOp}_KDPL" "$@"
