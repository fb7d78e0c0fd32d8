#!/usr/bin/env bash
# APD, few-shot, all classes: bash scripts/apd/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot APD "$@"
