#!/usr/bin/env bash
# The whole family in one table: bash scripts/compare.sh DATASET [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
family=ZeroshotCLIP,CoOp,CoCoOp,VPT,IVLP,MaPLe,KgCoOp,PromptSRC,PromptKD
exec "$(dirname "${BASH_SOURCE[0]}")/launch.sh" base2new "$family" "$@"
