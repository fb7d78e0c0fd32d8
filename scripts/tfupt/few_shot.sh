#!/usr/bin/env bash
# TFUP-T, K images a class, all classes: bash scripts/tfupt/few_shot.sh DATASET [K] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot TFUPT "$@"
