"""`promptkd demo` of this checkout, from any folder: python tools/demo.py --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from promptkd.__main__ import leave_start_folder, start

    leave_start_folder(at=1)
    sys.exit(start("demo"))
