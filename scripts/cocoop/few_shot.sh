#!/usr/bin/env bash
# CoCoOp, few-shot, all classes: bash scripts/cocoop/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot CoCoOp "$@"
