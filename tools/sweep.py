"""`promptkd sweep` of this checkout, from any folder: python tools/sweep.py --help."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # neither this folder nor, after -m, the current one

from promptkd.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
