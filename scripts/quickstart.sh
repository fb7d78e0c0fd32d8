#!/usr/bin/env bash
# From nothing to base, new and HM of a distilled student, on the bundled models and images: no network but pip's.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
bash "$here/setup.sh" requirements.txt
exec bash "$here/promptkd/base2new_train.sh" emoji "$@"
