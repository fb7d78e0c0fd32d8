#!/usr/bin/env bash
# AdvPromptKD, a student on each target's images, from a teacher of the source: bash scripts/advpromptkd/xd_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_train AdvPromptKD "$@"
