#!/usr/bin/env bash
# FeatureTeacher, tested elsewhere, cross-dataset and dg: bash scripts/featureteacher/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test FeatureTeacher "$@"
