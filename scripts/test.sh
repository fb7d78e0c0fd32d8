#!/usr/bin/env bash
# Installs what the tests need into .venv and runs ruff, mypy and pytest; further arguments go to pytest
# (-m "not slow": the fast tests; -n 0: one process).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh requirements.txt requirements-dev.txt
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # the models are tiny, and each core has its own pytest
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m mypy
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
