#!/usr/bin/env bash
# FeatureTeacher, few-shot, all classes: bash scripts/featureteacher/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot FeatureTeacher "$@"
