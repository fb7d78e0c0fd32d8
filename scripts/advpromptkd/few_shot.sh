#!/usr/bin/env bash
# AdvPromptKD, few-shot, all classes: bash scripts/advpromptkd/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot AdvPromptKD "$@"
