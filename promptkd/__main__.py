"""`promptkd COMMAND ...`: trains, sweeps, tabulates, predicts, exports, looks after data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # started as a file, or by -m: Python has put a folder first that is not ours to import from
    sys.path[0] = str(Path(__file__).resolve().parents[1])

COMMANDS = {  # name -> its module, and what it does
    "train": ("promptkd.engine.command", "one run: train, evaluate, results.json"),
    "launch": ("promptkd.sweep.launch", "a method by one protocol, with what it needs first; what scripts/ call"),
    "sweep": ("promptkd.sweep.command", "many runs: methods x data sets x protocols x shots x seeds"),
    "collect": ("promptkd.tables.command", "tables and a report of finished runs"),
    "predict": ("promptkd.deploy.predict", "classify images with a finished run"),
    "export": ("promptkd.deploy.export", "a finished run in the published code's form"),
    "data": ("promptkd.data.command", "check, download and sample data sets"),
    "job": ("promptkd.sweep.execute", "one job of a list that a sweep wrote"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: promptkd COMMAND ...\n")
        for name, (_, told) in COMMANDS.items():
            print(f"  {name:8} {told}")
        print("\npromptkd COMMAND --help tells its options")
        return 0 if words else 2
    if words[0] == "--version":
        from promptkd import __version__

        print(f"promptkd {__version__}")
        return 0
    if words[0] not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"; closest: {close[0]}" if close else ""
        print(f"error: no command {words[0]!r}{hint}. There are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    from importlib import import_module

    module = import_module(COMMANDS[words[0]][0])
    sys.argv[0] = f"promptkd {words[0]}"  # what argparse calls the program
    return int(module.command_line(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
