"""Data sets on this disk: check them, download them, write few-shot lists.

{command} check eurosat --root data            one screen; exit code 0: a run would start
{command} check all --root data --decode       also decodes every image
{command} check office_home --root data        every domain, or --domain art
{command} check Folder --root my_images        your own images, see datasets/folder.py
{command} download dtd --root data             never over files that are there
{command} look eurosat --root data --teacher ViT-L/14 --student ViT-B/16 --out look.html     before training, on a page
{command} fewshot dtd --root data --shots 4 --seed 1 --out dtd_4shot.json
{command} unpack EXPORT --out my_images         Parquet files of Hugging Face (pip install pyarrow)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd.home import ROOT, expanded, shown_command
from promptkd.texts import closest

# Everything that brings torch is imported in the functions below, so that --help answers at once.
if TYPE_CHECKING:
    from yacs.config import CfgNode

CONFIGS = ROOT / "configs" / "datasets"
USER_OPTIONS = ("CLASSNAMES", "FILES", "TEST_DIR")  # keys of DATASET that a user's own images may need
DOMAIN_OPTIONS = ("DOMAIN", "DOMAIN_TEST")  # keys of DATASET of data sets with domains


def names() -> dict[str, str]:
    """The names by which a data set may be called, in lower case -> its registered name.

    They are the registered names, the names of the configurations, and those of the data sets' folders; of a domain of
    a data set "officehome-art" and "office_home_art" -> "OfficeHome-art".
    """
    from yacs.config import CfgNode

    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd import guests
    from promptkd.data.benchmark import BenchmarkDataset

    guests.register_datasets()
    known: dict[str, str] = {}
    for name in DATASET_REGISTRY.registered_names():
        kind = DATASET_REGISTRY.get(name)
        if issubclass(kind, BenchmarkDataset):
            known |= {name.lower(): name, (kind.dataset_dir or name).lower(): name}
    for path in CONFIGS.glob("*.yaml"):
        known.setdefault(path.stem.lower(), CfgNode.load_cfg(path.read_text(encoding="utf-8")).DATASET.NAME)
    for word, name in list(known.items()):
        for domain in getattr(DATASET_REGISTRY.get(name), "places", ()):
            known |= {f"{word}{between}{domain}": f"{name}-{domain}" for between in "-_"}
    return known


def resolve(name: str) -> str:
    """The registered name of a data set, with "-" and a domain behind it where the name has one.

    Raises:
        ValueError: there is no such data set; the message has the closest name.
    """
    known = names()
    if name.lower() in known:
        return known[name.lower()]
    close = closest(name.lower(), known)
    registered = sorted({name.partition("-")[0] for name in known.values()})
    hint = f"did you mean {known[close]}?" if close else f"choose one of {', '.join(registered)}"
    raise ValueError(f"no data set is called {name!r}; {hint}")


def config(root: str, seed: int = 1, **options: Any) -> CfgNode:
    """The part of a run's configuration that a data set reads.

    Args:
        root: DATASET.ROOT.
        seed: SEED.
        options: other keys of DATASET.
    """
    from yacs.config import CfgNode

    from promptkd.data.benchmark import DATASET_DEFAULTS

    dataset = {"ROOT": root, "NUM_SHOTS": -1, "SUBSAMPLE_CLASSES": "all", **DATASET_DEFAULTS, **options}
    return CfgNode({"DATASET": dataset, "SEED": seed})


def fewshot(name: str, cfg: CfgNode, out: Path | None) -> Path:
    """Writes the few-shot list of a data set, for a number of shots and a seed, to a file that others can use.

    Args:
        name: the registered name.
        cfg: see `config`.
        out: the file; None for a file in the current folder.

    Raises:
        ValueError: there is no such list.
        OSError: it cannot be written.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd.files import write_json

    data = DATASET_REGISTRY.get(name)(cfg)
    if data.fewshot is None:
        raise ValueError(f"{name} has no few-shot list for {cfg.DATASET.NUM_SHOTS} shots")
    name = "-".join(filter(None, [name, cfg.DATASET.DOMAIN]))
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
    write_json(path, content, indent=0)
    return path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    description = (__doc__ or "").replace("{command}", shown_command("data"))
    main = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = main.add_subparsers(dest="command", required=True)

    def add(command: str, text: str, names: str = "a data set, by registered name, config or folder") -> Any:
        sub = commands.add_parser(command, help=text)
        sub.add_argument("name", help=names)
        sub.add_argument("--root", required=True, help="the folder that holds the data sets (DATASET.ROOT)")
        return sub

    check = add(
        "check",
        "what is there, what is missing, whether a run would start",
        "a data set, by registered name, config or folder, or all",
    )
    check.add_argument("--decode", action="store_true", help="decode every image")
    check.add_argument("--json", action="store_true", help="for scripts: a list of reports")
    get = add("download", "get what is missing")
    get.add_argument("--domain", default="", help="of a data set with domains: this one alone")
    get.add_argument("--keep", action="store_true", help="keep the archives")
    get.add_argument("--again", action="store_true", help="also get what is there, and add the files that it lacks")
    shots = add("fewshot", "write a few-shot list")
    page = add("look", "a page of classes, prompts, augmented views, and the models' first guesses")
    for sub in (check, shots, page):
        for key in USER_OPTIONS:
            flag = f"--{key.lower().replace('_', '-')}"
            sub.add_argument(flag, default="", help=f"DATASET.{key}, for your own images")
        for key, default in zip(DOMAIN_OPTIONS, ("", "all"), strict=True):
            flag = f"--{key.lower().replace('_', '-')}"
            sub.add_argument(flag, default=default, help=f"DATASET.{key}, of data sets with domains")
    shots.add_argument("--shots", type=int, required=True)
    shots.add_argument("--seed", type=int, default=1)
    shots.add_argument("--out", type=_path, help="where to; in this folder where not given")
    page.add_argument("--teacher", default="", type=expanded, help="a run, a published .pth.tar, or a CLIP's name")
    page.add_argument("--student", default="", type=expanded, help="a CLIP's name, zero-shot")
    page.add_argument("--config-file", default="", help="a recipe, whose views and sizes are shown")
    page.add_argument("--template", default="", help='in the place of the data set\'s own, as "a photo of a {}."')
    page.add_argument("--views", type=int, default=3, help="of an image of each class")
    page.add_argument("--sample", type=int, default=60, help="images that the models guess")
    page.add_argument("--seed", type=int, default=1)
    page.add_argument("--out", type=_path, help="the page; <name>.html in this folder where not given")
    unpack = commands.add_parser("unpack", help="write the images in Parquet files as class folders")
    unpack.add_argument("export", type=_path, help="a Parquet file, or a folder of them")
    unpack.add_argument("--out", type=_path, required=True, help="where to; then: --root OUT with the data set Folder")
    return main


def _path(word: str) -> Path:
    return Path(expanded(word))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    args = parser().parse_args(argv)
    from promptkd import logs

    logs.show()
    if args.command == "download":
        return _run_download(args)
    if args.command == "unpack":
        return _run_unpack(args)
    if args.command == "fewshot":
        return _run_fewshot(args)
    if args.command == "look":
        return _run_look(args)
    return _run_check(args)


def _run_download(args: argparse.Namespace) -> int:
    from promptkd.data.download.parts import download

    name, _, domain = resolve(args.name).partition("-")
    domain = domain or (_domains(name, args.domain)[0] if args.domain else "")
    missed = download(name, Path(args.root), args.keep, args.again, domain)
    for line in missed:
        print(f"to be fetched by hand: {line}")
    return 1 if missed else 0


def _run_fewshot(args: argparse.Namespace) -> int:
    name, _, domain = resolve(args.name).partition("-")
    options = _options(args) | ({"DOMAIN": domain} if domain else {})
    print(fewshot(name, config(args.root, args.seed, NUM_SHOTS=args.shots, **options), args.out))
    return 0


def _run_look(args: argparse.Namespace) -> int:
    from promptkd.deploy import looking

    for flag, most in (("views", 12), ("sample", 1000)):
        if not 1 <= getattr(args, flag) <= most:
            raise ValueError(f"--{flag} {getattr(args, flag)}: give 1 to {most}")
    name, _, domain = resolve(args.name).partition("-")
    out = args.out or Path(f"{name}.html")
    options = _options(args) | ({"DOMAIN": domain} if domain else {})
    cfg = looking.configuration(name, args.root, args.seed, args.config_file, args.template, options)
    for guesses in looking.look(cfg, out, args.teacher, args.student, args.views, args.sample):
        if guesses.problem:
            print(f"{guesses.role}: {guesses.problem}", file=sys.stderr)
    print(out)
    return 0


def _run_unpack(args: argparse.Namespace) -> int:
    from promptkd.data.parquet import unpack

    numbers = unpack(args.export.expanduser(), args.out.expanduser())
    print(f"{', '.join(f'{number:,} {part}' for part, number in numbers.items())} images in {args.out}")
    return 0


def _run_check(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from promptkd.data.download.sources import PARTS
    from promptkd.data.report import check, screen, table

    if args.name.lower() == "all":
        names()  # registers the data sets
        chosen = [(name, "") for name in PARTS]
    else:
        name, _, domain = resolve(args.name).partition("-")
        chosen = [(name, domain or args.domain)]
    reports = [
        check(name, config(args.root, **_options(args) | {"DOMAIN": one}), args.decode)
        for name, domain in chosen
        for one in _domains(name, domain)
    ]
    if args.json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    else:
        print(screen(reports[0]) if len(reports) == 1 else table(reports))
    return 0 if all(report.ok for report in reports) else 1


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(args, key.lower()) for key in (*USER_OPTIONS, *DOMAIN_OPTIONS)}


def _domains(name: str, word: str) -> list[str]:
    """The domains of a registered data set that a word names: one, or all for no word; [""] where it has none.

    Raises:
        ValueError: it names none.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd.data.domains import DomainDataset

    kind = DATASET_REGISTRY.get(name)
    if not issubclass(kind, DomainDataset):
        return [""]
    return [kind.domain_called(word)] if word else list(kind.places)


def command_line(argv: Sequence[str] | None = None) -> int:
    """`main` for a shell: an error is one line on standard error."""
    try:
        return main(argv)
    except (OSError, ValueError) as error:
        from promptkd.errors import describe

        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was downloaded is kept, to go on from", file=sys.stderr)
        return 1
