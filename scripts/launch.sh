#!/usr/bin/env bash
# Starts tools/launch.py from any directory, with the project's .venv where there is one.
set -euo pipefail
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-}"
[ -n "$python" ] || { [ -x "$project/.venv/bin/python" ] && python="$project/.venv/bin/python"; } || python=python3
export PYTHONPATH="$project${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m tools.launch "$@"
