#!/usr/bin/env bash
# Starts `promptkd COMMAND` from any directory, importing nothing of it, with the project's .venv where there is one.
set -euo pipefail
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-}"
[ -n "$python" ] || { [ -x "$project/.venv/bin/python" ] && python="$project/.venv/bin/python"; } || python=python3
exec "$python" "$project/promptkd/__main__.py" "$@"
