#!/usr/bin/env bash
# PromptKD, a student on each target's images, from a teacher of the source: bash scripts/promptkd/xd_train.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_train PromptKD "$@"
