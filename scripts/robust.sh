#!/usr/bin/env bash
# Accuracy with and without attack, robust methods among the others: bash scripts/robust.sh DATASET [SEED ...] [KEY VALUE ...]
# IMAGES=N attacks N images of each class group (default 0: all). See tools/launch.py and docs/robustness.md.
family=ZeroshotCLIP,CoOp,MaPLe,PromptSRC,AdvIVLP,FAP,APD,PromptKD,AdvPromptKD
exec "$(dirname "${BASH_SOURCE[0]}")/launch.sh" base2new "$family" "$@" TEST.ROBUST.ATTACK pgd TEST.ROBUST.IMAGES "${IMAGES:-0}"
