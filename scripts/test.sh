#!/usr/bin/env bash
# Installs what the tests need into .venv and runs ruff, mypy and pytest; further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh requirements.txt requirements-dev.txt
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m mypy
exec .venv/bin/python -m pytest "$@"
