#!/usr/bin/env bash
# One table of what methods withstand: clean, PGD-10 at 1/255 and 4/255, corrupted images, calibration error, other things.
# bash scripts/robust.sh DATASET [SEED ...] [--dry-run] [KEY VALUE ...]; see tools/launch.py and docs/robustness.md.
# From the environment: METHODS instead of all nine; IMAGES of each class group are attacked (default 0: all), CORRUPTED of each
# are corrupted (60), by KINDS (all) at SEVERITIES ("(1, 3, 5)"). A KEY that is given stands in the place of what is said here.
methods="${METHODS:-ZeroshotCLIP,CoOp,MaPLe,PromptSRC,AdvIVLP,FAP,APD,PromptKD,AdvPromptKD}"
given=" $* "
options=()
unless_given() { [[ "$given" == *" $1 "* ]] || options+=("$1" "$2"); }
unless_given TEST.ROBUST.ATTACK pgd
unless_given TEST.ROBUST.IMAGES "${IMAGES:-0}"
unless_given TEST.CORRUPT.KINDS "${KINDS:-all}"
unless_given TEST.CORRUPT.SEVERITIES "${SEVERITIES:-(1, 3, 5)}"
unless_given TEST.CORRUPT.IMAGES "${CORRUPTED:-60}"
[[ "${1:-}" != emoji ]] || unless_given TEST.OUTSIDE shipped # other drawings, in the project's own folder
exec "$(dirname "${BASH_SOURCE[0]}")/launch.sh" base2new "$methods" "$@" "${options[@]}"
