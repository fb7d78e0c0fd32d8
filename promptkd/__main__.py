"""`promptkd COMMAND ...`: trains, sweeps, tabulates, predicts, exports, looks after data."""

from __future__ import annotations

import os
import sys


def leave_start_folder(at: int = 0) -> None:
    """Takes the folder that Python put first on `sys.path` away, and makes this package importable in its place.

    That folder is this file's where it was started as a file, and the current one after `python -m promptkd`, whose
    files (yaml.py, tqdm.py, datasets/) are nobody's to import. What this cannot help: until this line Python itself has
    searched the current folder after -m, for `promptkd` and for the standard library's modules. The `promptkd` command,
    the scripts and files started by their path (all that this project starts itself) search it at no time. Entries of
    PYTHONPATH stay: they are the user's wish.

    Args:
        at: where in `sys.path` it is: 1 where the caller has put the checkout before it.
    """
    package = os.path.dirname(os.path.realpath(__file__))
    above = os.path.dirname(package)
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[at]
    if not os.path.isdir(os.path.join(package, "configs")):  # a checkout goes before what is installed
        if sys.path[:1] != [above]:
            sys.path.insert(0, above)
    elif above not in sys.path:  # and site-packages not before the standard library
        sys.path.append(above)


if __name__ == "__main__":
    leave_start_folder()

from collections.abc import Sequence  # noqa: E402
from importlib import import_module  # noqa: E402

COMMANDS = {  # name -> its module, and what it does
    "train": ("promptkd.engine.command", "one run: train, evaluate, results.json"),
    "launch": ("promptkd.sweep.launch", "a method by one protocol, with what it needs first; what scripts/ call"),
    "sweep": ("promptkd.sweep.command", "many runs: methods x data sets x protocols x shots x seeds"),
    "foreign": ("promptkd.host.command", "somebody's repository in the manner of CoOp, as it is"),
    "collect": ("promptkd.tables.command", "tables and a report of finished runs"),
    "paired": ("promptkd.tables.paired_command", "whether one method is better than another, with an interval"),
    "predict": ("promptkd.deploy.predict", "classify images with a finished run"),
    "classes": ("promptkd.deploy.classes", "add, remove or rename the classes of a finished run"),
    "export": ("promptkd.deploy.export", "a finished run as a folder, an .onnx file, or in the published code's form"),
    "robust": ("promptkd.engine.robust.command", "accuracy under attack of a finished run"),
    "demo": ("promptkd.deploy.demonstration.command", "a finished run on a local page: drop an image in"),
    "serve": ("promptkd.deploy.serving.command", "a finished run, or an export of it, over HTTP"),
    "card": ("promptkd.deploy.card", "a model card of a finished run"),
    "push": ("promptkd.deploy.push", "an exported folder to Hugging Face's hub"),
    "data": ("promptkd.data.command", "check, download and sample data sets"),
    "job": ("promptkd.sweep.execute", "one job of a list that a sweep wrote"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    Args:
        argv: the command's name and its arguments; None for those of this process, which the console script starts.
    """
    if argv is None:
        return start()
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: promptkd COMMAND ...\n")
        for name, (_, summary) in COMMANDS.items():
            print(f"  {name:8} {summary}")
        print("\npromptkd COMMAND --help shows its options")
        return 0 if words else 2
    if words[0] == "--version":
        from promptkd import __version__

        print(f"promptkd {__version__}")
        return 0
    if words[0] not in COMMANDS:
        close = import_module("promptkd.texts").closest(words[0], COMMANDS)
        hint = f"; closest: {close}" if close else ""
        print(f"error: no command {words[0]!r}{hint}. There are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        module = import_module(COMMANDS[words[0]][0])
        import_module("promptkd.logs").show()  # what the library logs, as plain lines
        sys.argv[0] = f"promptkd {words[0]}"  # what argparse calls the program
        return int(module.command_line(words[1:]))
    except KeyboardInterrupt:
        return int(import_module("promptkd.exits").say_interrupted("interrupted"))


def start(*words: str) -> int:
    """`main` for a process of its own, on its arguments after `words`; returns the exit code.

    Processes that Python itself starts below this one by `python -c` (spawned loader workers, the tracker of their
    shared memory) would search the current folder first; the environment tells them not to (Python 3.11 and later).
    """
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    return main([*words, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(start())
