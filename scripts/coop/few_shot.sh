#!/usr/bin/env bash
# CoOp, few-shot, all classes: bash scripts/coop/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot CoOp "$@"
