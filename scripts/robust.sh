#!/usr/bin/env bash
# One table of what methods withstand: clean, PGD-10 at 1/255 and 4/255, corrupted images, calibration error, other things.
# bash scripts/robust.sh DATASET [SEED ...] [--dry-run] [KEY VALUE ...]; see tools/launch.py and docs/robustness.md.
# From the environment: IMAGES of each class group are attacked (default 0: all), CORRUPTED of each are corrupted (60), by
# KINDS (all) at SEVERITIES ("(1, 3, 5)"); METHODS instead of all nine; OUTSIDE names images of other things (emoji: shipped).
methods="${METHODS:-ZeroshotCLIP,CoOp,MaPLe,PromptSRC,AdvIVLP,FAP,APD,PromptKD,AdvPromptKD}"
attacked=(TEST.ROBUST.ATTACK pgd TEST.ROBUST.IMAGES "${IMAGES:-0}")
corrupted=(TEST.CORRUPT.KINDS "${KINDS:-all}" TEST.CORRUPT.SEVERITIES "${SEVERITIES:-(1, 3, 5)}" TEST.CORRUPT.IMAGES "${CORRUPTED:-60}")
[[ "${1:-}" == emoji ]] && OUTSIDE="${OUTSIDE-shipped}"
exec "$(dirname "${BASH_SOURCE[0]}")/launch.sh" base2new "$methods" "$@" "${attacked[@]}" "${corrupted[@]}" TEST.OUTSIDE "${OUTSIDE:-}"
