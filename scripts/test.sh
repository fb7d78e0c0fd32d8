#!/usr/bin/env bash
# Installs what the tests need into .venv and runs ruff and pytest; further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh requirements.txt requirements-dev.txt
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
.venv/bin/ruff check .
exec .venv/bin/python -m pytest "$@"
