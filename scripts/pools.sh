#!/usr/bin/env bash
# Methods without labels on pools that are not the benchmark's, in one table:
#   [FOREIGN_FROM=FOLDER] [OUTPUT=...] [WORKERS=...] bash scripts/pools.sh DATASET [SEED ...]
# The pool as it is, imbalanced 1:10, without three classes, and with 30 % foreign images (docs/unsupervised.md).
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"
[ $# -ge 1 ] || { echo "error: which data set? bash scripts/pools.sh DATASET [SEED ...]" >&2; exit 1; }
dataset="$1"; shift
[ $# -ge 1 ] || set -- 1 2 3
output="${OUTPUT:-output/pools}"
sweep() {
    bash "$here/promptkd.sh" sweep --datasets "$dataset" --trainers PromptKD UPL TFUP TFUPT CoOp_KDPL \
        --output "$output" --workers "${WORKERS:-1}" --seeds "$@"
}
sweep "$@"
sweep "$@" --grid POOL.IMBALANCE 10
sweep "$@" --grid POOL.DROP_CLASSES 3
sweep "$@" --grid POOL.FOREIGN_SHARE 0.3 ${FOREIGN_FROM:+--set POOL.FOREIGN_FROM "$FOREIGN_FROM"}
exec bash "$here/promptkd.sh" collect "$output"
