#!/usr/bin/env bash
# UPL, K pseudo-labels a class, all classes: bash scripts/upl/few_shot.sh DATASET [K] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot UPL "$@"
