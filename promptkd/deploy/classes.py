"""The classes of a finished run: shows, adds, removes and renames them; nothing is trained.

    promptkd classes RUN                                           its classes, and where each comes from
    promptkd classes RUN --add "snow leopard" lynx --remove cat
    promptkd classes RUN --rename "sea lion=seal"                  the vector stays; the name changes
    promptkd classes RUN --add-list NAMES.txt --teacher MOVED/RUN
    promptkd classes RUN --restore                                 as it was trained

(in a checkout: `python tools/classes.py`). New names are encoded by the text encoder of the run's teacher, with its
learned context; it proves that it is the one by some names that are there. The result is
RUN/class_vectors.edited.safetensors, which predict and export take; the run's class_vectors.safetensors, its
measurements and tables stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from promptkd.home import expanded
from promptkd.texts import one_line, plain


def renames(words: Sequence[str]) -> dict[str, str]:
    """OLD=NEW words as a mapping.

    Raises:
        ValueError: a word without =, or a name that is renamed twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        before, sign, after = word.partition("=")
        if not (before.strip() and sign and after.strip()):
            raise ValueError(f'--rename {word!r}: write OLD=NEW, as "sea lion=seal"')
        if before in pairs:
            raise ValueError(f"--rename names {before!r} twice: give each class one new name")
        pairs[before] = after
    return pairs


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", metavar="RUN", help="directory of a finished run")
    p.add_argument("--add", nargs="+", default=[], metavar="NAME", help="names to encode")
    p.add_argument("--add-list", type=Path, metavar="FILE", help="names to encode, one a line (or JSON, YAML, CSV)")
    p.add_argument("--remove", nargs="+", default=[], metavar="NAME")
    p.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW")
    p.add_argument("--teacher", default="", help="the teacher, where it has moved: a run, a .pth.tar, a CLIP's name")
    p.add_argument("--vectors", default="", metavar="FILE", help="class vectors by the same teacher, in its place")
    p.add_argument("--restore", action="store_true", help="have the classes again that it was trained with")
    p.add_argument("--json", action="store_true", help="the classes as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where a class or the teacher does not fit."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except (OSError, ValueError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    from promptkd.deploy import class_editing

    run, rename = Path(expanded(args.run)), renames(args.rename)
    if args.teacher and args.vectors:
        raise ValueError("--teacher and --vectors: give one, that encodes the new names or has them encoded")
    add = list(args.add)
    if args.add_list:
        from promptkd.data.class_lists import read_class_list

        add += read_class_list(Path(expanded(str(args.add_list))))
    changes = bool(add or args.remove or rename)
    if (args.teacher or args.vectors) and not add:
        raise ValueError("--teacher and --vectors encode names that are added: give --add NAME")
    if args.restore:
        if changes:
            raise ValueError("--restore undoes all changes: make new ones afterwards")
        was = class_editing.restore(run)
        print("as trained again" if was else "nothing was edited", file=sys.stderr)
    if changes:
        place = expanded(args.teacher) if args.teacher else ""
        file = expanded(args.vectors) if args.vectors else ""
        made = class_editing.edited(run, add, args.remove, rename, teacher=place, vectors=file)
        print(f"Written: {class_editing.keep(run, made)}", file=sys.stderr)
    _show(run, args.json)
    return 0


def _show(run: Path, as_json: bool) -> None:
    from tabulate import tabulate

    from promptkd.deploy import class_editing

    origins = class_editing.origins_of(class_editing.read_classes(run))
    if as_json:
        print(json.dumps([{"class": name, "origin": origin} for name, origin in origins.items()]))
        return
    print(tabulate([[plain(name), plain(origin)] for name, origin in origins.items()], headers=["class", "origin"]))


command_line = main
