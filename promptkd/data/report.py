"""A report of a data set on this disk: its folders, images, classes and faults, and whether a run would start."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.data.datasets import DATASET_REGISTRY
from promptkd import logs
from promptkd.data.benchmark import USER_DATASETS, BenchmarkDataset
from promptkd.data.domains import DomainDataset
from promptkd.data.download.parts import advice, is_present
from promptkd.data.download.sources import PARTS
from promptkd.data.images import bad_images
from promptkd.data.layout import missing_files
from promptkd.data.splits import Listing
from promptkd.errors import describe
from promptkd.home import shown_command
from promptkd.texts import path_text, plain


@dataclass
class Report:
    """The result of `check`. `ok`: a run would start. `whole`: also, it has as many images as published."""

    name: str  # of a domain of a data set: OfficeHome-art
    root: str
    dataset: str = ""  # registered name
    ok: bool = False
    whole: bool = False
    folder: str = ""
    images: str = ""
    split: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    classnames: list[str] = field(default_factory=list)
    missing: int = 0
    missing_first: list[str] = field(default_factory=list)
    undecodable: dict[str, str] = field(default_factory=dict)  # path -> its fault
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    get: list[str] = field(default_factory=list)  # missing parts, with their sources and places


def check(name: str, cfg: CfgNode, decode: bool = False) -> Report:
    """Looks at a data set as a run would, and goes on where a run would stop.

    Args:
        name: the data set's registered name.
        cfg: the part of a run's configuration that a data set reads, see `command.config`.
        decode: whether every image is decoded as well.
    """
    root = Path(cfg.DATASET.ROOT).expanduser().absolute()
    kind = DATASET_REGISTRY.get(name)
    if issubclass(kind, DomainDataset):
        kind = kind.of_domain(cfg.DATASET.DOMAIN, cfg.DATASET.DOMAIN_TEST)
    report = Report(kind.__name__, path_text(root), name)
    readable = True
    with logs.collected(logging.INFO) as messages:
        try:
            (_check_users if name in USER_DATASETS else _check_published)(kind, cfg, report, decode)
        except Exception as error:  # one data set must not keep the others from being checked
            readable = not isinstance(error, PermissionError)
            report.problems.append(describe(error))
    report.notes += messages
    report.ok = not report.problems
    report.whole = report.ok and report.counts == (report.published or report.counts)
    if readable and name not in USER_DATASETS and not report.whole:  # an unreadable folder may hold all of it
        report.get = _missing_parts(kind, root, report)
    return report


def _missing_parts(kind: type[BenchmarkDataset], root: Path, report: Report) -> list[str]:
    """A line for each part of a data set that has to be downloaded: its name, sources and place."""
    fewer = any(report.counts[part] < number for part, number in report.published.items())
    images_too = bool(report.missing or (report.counts and fewer))
    parts = [part for part in PARTS.get(report.dataset, ()) if part.domain in ("", getattr(kind, "domain", ""))]
    return [
        advice(part, kind) for part in parts if not is_present(part, kind, root) or (images_too and part.holds_images)
    ]


def _check_published(kind: type[BenchmarkDataset], cfg: CfgNode, report: Report, decode: bool) -> None:
    """Fills a report of a published data set, without building it: that would stop at the first fault."""
    layout = kind.find(Path(cfg.DATASET.ROOT))
    report.folder, report.images = path_text(layout.folder), path_text(layout.images)
    listing, report.split = kind.read(layout)
    _count(listing, kind, report)
    by_label = {label: name for items in listing for _, label, name in items}
    report.classnames = [name for _, name in sorted(by_label.items())]
    if missing := missing_files(layout, listing):
        report.missing, report.missing_first = len(missing), [path_text(file) for file in missing[:10]]
        report.problems.append(f"{len(missing):,} of {sum(report.counts.values()):,} images are missing")
    if decode:
        files = sorted({file for items in listing for file, _, _ in items} - set(missing))
        _decode([layout.path(file) for file in files], report)
    kind.check(kind.__new__(kind), listing)


def _check_users(kind: type[BenchmarkDataset], cfg: CfgNode, report: Report, decode: bool) -> None:
    """Fills a report of a user's own images."""
    data = kind(cfg)
    report.folder = report.images = path_text(data.layout.folder)
    report.split, report.classnames = data.split_source, data.all_classnames
    report.counts = {part: len(items) for part, items in vars(data.full).items()}
    if decode:
        _decode(sorted({datum.impath for items in vars(data.full).values() for datum in items}), report)


def _count(listing: Listing, kind: type[BenchmarkDataset], report: Report) -> None:
    """Fills in the numbers of images, and notes where they are odd."""
    report.counts = {part: len(items) for part, items in listing._asdict().items()}
    if any(kind.counts):
        report.published = dict(zip(Listing._fields, kind.counts, strict=True))
    train = {file for file, _, _ in listing.train}
    shared = sum(file in train for items in (listing.val, listing.test) for file, _, _ in items)
    if shared and not kind.test_only:
        report.notes.append(f"{shared:,} images are in train and in val or test")
    fewer = [part for part, number in report.published.items() if report.counts[part] < number]
    if fewer:
        report.notes.append(f"fewer {' and '.join(fewer)} images than published: a subset, or half extracted")


def _decode(paths: Sequence[str], report: Report) -> None:
    """Decodes images, with a progress bar, and fills in those that fail."""
    bar = tqdm(bad_images(paths), total=len(paths), unit=" images", desc=f"decode {report.name}", disable=None)
    report.undecodable = {path_text(path): fault for path, fault in bar if fault}
    if report.undecodable:
        report.problems.append(
            f"{len(report.undecodable):,} images do not decode; replace them, or set DATASET.SKIP_BAD_IMAGES True"
        )


def screen(report: Report) -> str:
    """A report as one screen of text."""
    lines = [f"{report.name}: {_verdict(report)}"]
    lines += [f"  problem   {problem}" for problem in report.problems]
    if report.missing:
        more = f" and {report.missing - 10:,} more" if report.missing > 10 else ""
        lines.append(f"  missing   {', '.join(report.missing_first)}{more}")
    lines += [f"  undecoded {path} ({fault})" for path, fault in list(report.undecodable.items())[:10]]
    if len(report.undecodable) > 10:
        lines.append(f"            and {len(report.undecodable) - 10:,} more")
    if report.folder:
        lines.append(f"  folder    {report.folder}, images in {report.images}")
    if report.split:
        lines.append(f"  split     {report.split}")
    if report.counts:
        counts = ", ".join(f"{part} {number:,}" for part, number in report.counts.items())
        published = ", ".join(f"{part} {number:,}" for part, number in report.published.items())
        suffix = "" if report.counts == report.published or not published else f" (published: {published})"
        lines.append(f"  images    {counts}{suffix}")
    if report.classnames:
        shown = ", ".join(report.classnames[:8]) + (", ..." if len(report.classnames) > 8 else "")
        lines.append(f"  classes   {len(report.classnames):,}: {shown}")
    lines += [f"  note      {note}" for note in report.notes[:10]]
    if report.get:
        lines += [f"  get       {line}" for line in report.get]
        if report.dataset in PARTS:
            lines.append(f"            or: {shown_command('data')} download {report.dataset} --root {report.root}")
    return "\n".join(plain(line) for line in lines)  # names come from anywhere


def _verdict(report: Report) -> str:
    return "ok" if report.whole else "would start" if report.ok else "would NOT start"


def table(reports: Sequence[Report]) -> str:
    """Many reports as a table, one line each."""
    rows = []
    for report in reports:
        counts = [f"{report.counts[part]:,}" if report.counts else "-" for part in Listing._fields]
        remark = plain((report.problems or report.notes or [""])[0]).removeprefix(f"{report.name}: ")
        rows.append([report.name, _verdict(report), *counts, remark if len(remark) < 80 else f"{remark[:77]}..."])
    return tabulate(rows, headers=["data set", "", *Listing._fields, "remark"], disable_numparse=True)
