#!/usr/bin/env bash
# FeatureTeacher, learns on the source: bash scripts/featureteacher/xd_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_train FeatureTeacher "$@"
