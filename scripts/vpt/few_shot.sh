#!/usr/bin/env bash
# VPT, few-shot, all classes: bash scripts/vpt/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot VPT "$@"
