"""Data sets on this disk: check them, download them, write few-shot lists.

python tools/data.py check eurosat --root data            one screen; exit code 0: a run would start
python tools/data.py check all --root data --decode       also decodes every image
python tools/data.py check Folder --root my_images        your own images, see datasets/folder.py
python tools/data.py download dtd --root data             never over files that are there
python tools/data.py fewshot dtd --root data --shots 4 --seed 1 --out dtd_4shot.json
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from dassl.data.datasets import DATASET_REGISTRY
from promptkd import guests
from promptkd.data.benchmark import DATASET_DEFAULTS, BenchmarkDataset
from promptkd.data.check import address, advice, check, is_present, one_line, screen, table
from promptkd.data.download.fetch import fetch
from promptkd.data.download.sources import PARTS, Part
from promptkd.data.splits import write_json_atomic
from promptkd.home import ROOT

THERE = "there already, left as it is"
CONFIGS = ROOT / "configs" / "datasets"


def names() -> dict[str, str]:
    """Every name of a data set in lower case, as registered, as its config or its folder, -> the registered one."""
    found: dict[str, str] = {}
    for name in DATASET_REGISTRY.registered_names():
        kind = DATASET_REGISTRY.get(name)
        if issubclass(kind, BenchmarkDataset):
            found |= {name.lower(): name, (kind.dataset_dir or name).lower(): name}
    for path in CONFIGS.glob("*.yaml"):
        found.setdefault(path.stem.lower(), CfgNode.load_cfg(path.read_text(encoding="utf-8")).DATASET.NAME)
    return found


def resolve(name: str) -> str:
    """The registered name of a data set.

    Raises:
        ValueError: none is called so; with the closest name.
    """
    known = names()
    if name.lower() in known:
        return known[name.lower()]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {known[close[0]]}?" if close else f"choose one of {', '.join(sorted(set(known.values())))}"
    raise ValueError(f"no data set is called {name!r}; {hint}")


def config(root: str, **options: Any) -> CfgNode:
    """The part of a run's config that a data set reads."""
    dataset = {"ROOT": root, "NUM_SHOTS": -1, "SUBSAMPLE_CLASSES": "all", **DATASET_DEFAULTS, **options}
    return CfgNode({"DATASET": dataset, "SEED": 1})


def download(name: str, root: Path, keep: bool = False, again: bool = False) -> list[str]:
    """Get the parts of a data set that are not there, or not whole; each from the first of its sources that works.

    Returns:
        what could not be got, one line each.
    """
    root, kind = root.expanduser().absolute(), DATASET_REGISTRY.get(name)
    if name not in PARTS:
        raise ValueError(f"{name} is not downloaded; it is bundled, or your own images")
    root.mkdir(parents=True, exist_ok=True)
    images = PARTS[name][0]
    there = is_present(images, kind, root)
    missed = [part for part in PARTS[name] if not _get(part, kind, root, keep, again)]
    if there and not is_present(images, kind, root) and not _get(images, kind, root, keep):
        missed.append(images)  # the published split came after them, and lists images that are not there
    with contextlib.suppress(OSError):
        (root / ".downloads").rmdir()  # where nothing is left to go on from
    return [advice(part, kind) for part in missed]


def _get(part: Part, kind: type[BenchmarkDataset], root: Path, keep: bool, again: bool = False) -> bool:
    """Whether a part is there now."""
    what = part.present[0] if part.present else f"images of {kind.__name__}"
    if is_present(part, kind, root) and not (again and part.sources):
        print(f"{what}: there already, or not needed; left as it is" if part.unless else f"{what}: {THERE}")
        return True
    for source in part.sources:
        print(f"{what}: from {address(source.url)}")
        try:
            print(f"{what}: {fetch(source, root, keep):,} files added under {root / source.to}")
            return True
        except (OSError, ValueError) as error:
            print(f"{what}: {one_line(error)}")
    return False


def fewshot(name: str, cfg: CfgNode, out: Path | None) -> Path:
    """Write the few-shot list of a data set, shots and seed, for others to use.

    Raises:
        ValueError: there is no such list.
        OSError: it cannot be written.
    """
    data = DATASET_REGISTRY.get(name)(cfg)
    if data.fewshot is None:
        raise ValueError(f"{name} has no few-shot list for {cfg.DATASET.NUM_SHOTS} shots")
    path = out or Path(f"{name}_shots{cfg.DATASET.NUM_SHOTS}_seed{cfg.SEED}.json")
    content = {
        "dataset": name,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "split": data.split_source,
        "split_sha256": data.split_sha256,
        "sha256": data.fewshot.sha256,
        "train": data.fewshot.train,
        "val": data.fewshot.val,
        "test": [],
    }
    write_json_atomic(content, path)
    return path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = main.add_subparsers(dest="command", required=True)
    for command, help_text in (
        ("check", "what is there, what is missing, whether a run would start"),
        ("download", "get what is missing"),
        ("fewshot", "write a few-shot list"),
    ):
        sub = commands.add_parser(command, help=help_text)
        more = ", or all" if command == "check" else ""
        sub.add_argument("name", help=f"a data set, by registered name, config or folder{more}")
        sub.add_argument("--root", required=True, help="the folder that holds the data sets (DATASET.ROOT)")
        if command == "check":
            sub.add_argument("--decode", action="store_true", help="decode every image")
            sub.add_argument("--json", action="store_true", help="for scripts: a list of reports")
        if command == "download":
            sub.add_argument("--keep", action="store_true", help="keep the archives")
            again = "also get what is there, and add the files that it lacks"
            sub.add_argument("--again", action="store_true", help=again)
        else:
            for key in ("CLASSNAMES", "FILES", "TEST_DIR"):
                flag = f"--{key.lower().replace('_', '-')}"
                sub.add_argument(flag, default="", help=f"DATASET.{key}, for your own images")
        if command == "fewshot":
            sub.add_argument("--shots", type=int, required=True)
            sub.add_argument("--seed", type=int, default=1)
            sub.add_argument("--out", type=Path, help="where to; in this folder where not given")
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    args = parser().parse_args(argv)
    guests.register_datasets()
    if args.command == "download":
        failures = download(resolve(args.name), Path(args.root), args.keep, args.again)
        for line in failures:
            print(f"to be fetched by hand: {line}")
        return 1 if failures else 0
    own = {"CLASSNAMES": args.classnames, "FILES": args.files, "TEST_DIR": args.test_dir}
    if args.command == "fewshot":
        cfg = config(args.root, NUM_SHOTS=args.shots, **own)
        cfg.SEED = args.seed
        print(fewshot(resolve(args.name), cfg, args.out))
        return 0
    wanted = list(PARTS) if args.name.lower() == "all" else [resolve(args.name)]
    reports = [check(name, config(args.root, **own), args.decode) for name in wanted]
    if args.json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    else:
        print(screen(reports[0]) if len(reports) == 1 else table(reports))
    return 0 if all(report.ok for report in reports) else 1


def command_line(argv: Sequence[str] | None = None) -> int:
    """`main` for a shell: an error is one line."""
    try:
        return main(argv)
    except (OSError, ValueError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was downloaded is kept, to go on from", file=sys.stderr)
        return 1
