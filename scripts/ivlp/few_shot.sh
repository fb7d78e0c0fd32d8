#!/usr/bin/env bash
# IVLP, few-shot, all classes: bash scripts/ivlp/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot IVLP "$@"
