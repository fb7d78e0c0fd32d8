#!/usr/bin/env bash
# MaPLe, few-shot, all classes: bash scripts/maple/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot MaPLe "$@"
