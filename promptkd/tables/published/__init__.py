"""Published accuracies (results.csv beside this file), to be shown beside ours.

Columns of results.csv: paper_source (the paper's table), method, backbone, setting (base2new, fewshot, cross, dg,
unsup), dataset, metric (base, new, hm, acc), shots, value (percent), verified ("yes": read from the file that `source`
names; "no": from memory), source (where it was read).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from promptkd.tables.summaries import ALL, NOTHING, Method

PATH = Path(__file__).with_name("results.csv")
DATASETS = {  # our name -> the tables'
    "DescribableTextures": "DTD", "OxfordFlowers": "Flowers102", "ImageNetA": "ImageNet-A", "ImageNetR": "ImageNet-R",
    "ImageNetSketch": "ImageNet-Sketch",
} | {
    name: name
    for name in ("Caltech101", "EuroSAT", "FGVCAircraft", "Food101", "ImageNet", "ImageNetV2", "OxfordPets",
                 "StanfordCars", "SUN397", "UCF101")
}  # fmt: skip
METHODS = {"ZeroshotCLIP": "CLIP"}  # our name -> the tables', where they differ
TARGETS = frozenset(DATASETS) - {"ImageNet", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}
# Data sets of the average that a paper prints.
AVERAGED = {
    "base2new": TARGETS | {"ImageNet"}, "fewshot": TARGETS | {"ImageNet"}, "cross": TARGETS,
    "dg": frozenset({"ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}),
}  # fmt: skip
# The teacher of the published KDPL tables.
_KDPL_TEACHER = "ZeroshotCLIP ViT-H-14-quickgelu:dfn5b"
# The teacher of the published PromptKD tables, which name none: trained here, or their released checkpoint.
_KD_TEACHERS = ("PromptSRC ViT-L/14", "published checkpoint ViT-L/14")


@dataclass(frozen=True)
class Published:
    """A number of a paper."""

    value: float  # percent
    paper: str
    verified: bool
    source: str


def find(method: Method, datasets: Iterable[str], metric: str) -> Published | None:
    """The number that a row of ours compares to: same method, CLIP, setting, shots and way to learn.

    Args:
        datasets: one data set, or all of the row for their average, which must be those of the paper's average.
        metric: "base", "new", "hm" or "all".
    """
    datasets = frozenset(datasets)
    if len(datasets) == 1:
        (name,) = (DATASETS.get(dataset) for dataset in datasets)
    else:
        name = "average" if datasets == AVERAGED.get(method.protocol) else None
    if method.source not in ("", "ImageNet"):
        return None
    if name is None or (method.trainer == "PromptKD" and method.teacher not in _KD_TEACHERS):
        return None
    if method.trainer.endswith("_KDPL") and method.teacher != _KDPL_TEACHER:
        return None
    key = (_name(method), method.backbone, method.protocol, name, {"all": "acc"}.get(metric, metric))
    for shots in (method.shots, None):
        number = _numbers().get((*key, method.transductive, shots))
        if number:
            return number
    return None


def _name(method: Method) -> str:
    if (method.trainer, method.backbone) == ("PromptSRC", "ViT-L/14"):
        return "PromptSRC teacher"
    return METHODS.get(method.trainer, method.trainer.replace("_KDPL", "+KDPL"))


@lru_cache(maxsize=1)
def _numbers() -> dict[tuple[str, str, str, str, str, bool, int | None], Published]:
    """Every comparable number; of several for one entry the first verified."""
    numbers: dict[tuple[str, str, str, str, str, bool, int | None], Published] = {}
    with PATH.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            learned = "unlabelled" in row["shots"] or row["method"].startswith("PromptKD")
            learned = learned and "+KDPL" not in row["method"]  # its images are of the classes that train
            number = Published(float(row["value"]), row["paper_source"], row["verified"] == "yes", row["source"])
            for shots in _shots(row["method"], row["shots"]) if row["setting"] in AVERAGED else ():
                key = (row["method"], row["backbone"], row["setting"], row["dataset"], row["metric"], learned, shots)
                if key not in numbers or (number.verified and not numbers[key].verified):
                    numbers[key] = number
    return numbers


def _shots(method: str, text: str) -> tuple[int | None, ...]:
    """Method.shots of a table's words: (None,) where the table does not say, () where ours never match."""
    if method == "CLIP":
        return (NOTHING,)
    if not text:
        return (None,)
    if "full" in text:
        return (ALL,)
    head = text.partition(" ")[0].partition("/")[0]
    return (int(head),) if head.isdigit() and "labelled and" not in text else ()
