#!/usr/bin/env bash
# ZeroshotCLIP, few-shot, all classes: bash scripts/zeroshot/few_shot.sh DATASET [SHOTS] [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" fewshot ZeroshotCLIP "$@"
