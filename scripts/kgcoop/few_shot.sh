#!/usr/bin/env bash
# KgCoOp, few-shot, all classes: bash scripts/kgcoop/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot KgCoOp "$@"
