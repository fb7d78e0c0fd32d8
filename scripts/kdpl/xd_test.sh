#!/usr/bin/env bash
# KDPL, tested elsewhere, cross-dataset and dg: [BASE=CoOp|CoCoOp|VPT|MaPLe|PromptSRC] [TEACHER=...] bash scripts/kdpl/xd_test.sh DATASET ... [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" xd_test "${BASE:-CoOp}_KDPL" "$@"
