#!/usr/bin/env bash
# Our nine methods on upstream Dassl and on the toolkit of this project: the same learned weights, to the bit.
#   bash scripts/upstream.sh DASSL [METHOD ...]
# DASSL is a checkout of Dassl.pytorch 0.6.3. PYTHON (python) has PyTorch 2.6 or older, open_clip_torch, yacs, tabulate, scikit-learn,
# tensorboard and pandas; wilds, which upstream imports, is stubbed. Each method trains two epochs on the bundled Emoji images, on
# each toolkit, and from a first epoch on ours to a second one on upstream. docs/upstream.md
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dassl=$(cd "${1:?usage: bash scripts/upstream.sh DASSL [METHOD ...]}" && pwd)
[ -f "$dassl/dassl/engine/trainer.py" ] || { echo "error: $dassl is no checkout of Dassl.pytorch" >&2; exit 1; }
shift
methods=("$@")
[ $# -gt 0 ] || methods=(ZeroshotCLIP CoOp CoCoOp VPT IVLP MaPLe KgCoOp PromptSRC PromptKD)
python=${PYTHON:-python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/stub" && echo "get_dataset = None" > "$work/stub/wilds.py"

run() { # run TOOLKIT METHOD OUTPUT
    local more=()
    [ "$2" != PromptKD ] || more=(TRAINER.PROMPTKD.TEACHER mini-teacher)
    local more_flags=()
    [ "$2" != ZeroshotCLIP ] || more_flags=(--eval-only)
    PYTHONPATH="$work/stub:$1" "$python" "$here/train.py" --root "$work/data" --seed 1 --trainer "$2" \
        --dataset-config-file "$here/configs/datasets/emoji.yaml" --config-file "$here/configs/trainers/$2/mini.yaml" \
        --output-dir "$3" "${more_flags[@]}" DATASET.NUM_SHOTS 1 DATASET.SUBSAMPLE_CLASSES base OPTIM.MAX_EPOCH 2 \
        TRAIN.CHECKPOINT_FREQ 1 USE_CUDA False "${more[@]}" > "$3.log" 2>&1 ||
        { tail -5 "$3.log"; echo "error: $2 failed with $1" >&2; exit 1; }
}

same() { # same METHOD RUN RUN
    "$python" - "$1" "$work/$2" "$work/$3" <<'CODE'
import sys
from pathlib import Path

import torch

name, *runs = sys.argv[1:]
# the file of upstream holds a scheduler, pickled; it was written a minute ago by the code of this checkout
states = [torch.load(next(Path(run).rglob("model.pth.tar-2")), weights_only=False)["state_dict"] for run in runs]
assert states[0].keys() == states[1].keys(), (name, runs)
assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]), (name, runs)
print(f"{name}: {len(states[0])} tensors, equal in {' and '.join(Path(run).name for run in runs)}")
CODE
}

for method in "${methods[@]}"; do
    run "$here/toolkit" "$method" "$work/$method-ours"
    run "$dassl" "$method" "$work/$method-upstream"
    if [ "$method" = ZeroshotCLIP ]; then echo "$method: evaluated by both"; continue; fi
    same "$method" "$method-ours" "$method-upstream"
    cp -r "$work/$method-ours" "$work/$method-resumed" # as it was after its first epoch
    find "$work/$method-resumed" \( -name "model.pth.tar-2" -o -name results.json \) -delete
    find "$work/$method-resumed" -name checkpoint -exec sh -c 'echo model.pth.tar-1 > "$1"' _ {} \;
    run "$dassl" "$method" "$work/$method-resumed"
    same "$method" "$method-ours" "$method-resumed"
done
