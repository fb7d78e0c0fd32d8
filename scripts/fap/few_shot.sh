#!/usr/bin/env bash
# FAP, few-shot, all classes: bash scripts/fap/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot FAP "$@"
