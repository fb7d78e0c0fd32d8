#!/usr/bin/env bash
# FeatureTeacher, base-to-new: bash scripts/featureteacher/base2new_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" base2new FeatureTeacher "$@"
