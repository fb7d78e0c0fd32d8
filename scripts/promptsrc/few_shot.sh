#!/usr/bin/env bash
# PromptSRC, few-shot, all classes: bash scripts/promptsrc/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot PromptSRC "$@"
