#!/usr/bin/env bash
# AdvIVLP, few-shot, all classes: bash scripts/advivlp/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot AdvIVLP "$@"
