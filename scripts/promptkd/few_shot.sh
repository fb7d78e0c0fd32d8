#!/usr/bin/env bash
# PromptKD, few-shot, all classes: bash scripts/promptkd/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot PromptKD "$@"
