#!/usr/bin/env bash
# KDPL, few-shot, all classes: [BASE=CoOp|CoCoOp|VPT|MaPLe|PromptSRC] [TEACHER=...] bash scripts/kdpl/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot "${BASE:-CoOp}_KDPL" "$@"
