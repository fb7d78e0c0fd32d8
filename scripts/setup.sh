#!/usr/bin/env bash
# Makes .venv and installs requirements files into it, once for each content of theirs: setup.sh FILE ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $python is older than Python 3.10; set PYTHON" >&2; exit 1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=".venv/installed-$(cat "$@" toolkit/pyproject.toml | sha256sum | cut -c1-16)"
[ -f "$stamp" ] && exit 0
echo "Installing $* into .venv (the first time takes some minutes)"
for file in "$@"; do set -- "$@" -r "$file"; shift; done
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
touch "$stamp"
