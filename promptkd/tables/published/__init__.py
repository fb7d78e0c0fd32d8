"""Published accuracies (results.csv beside this file), to be shown beside ours.

Columns of results.csv: paper_source (the paper's table), method, backbone, setting (base2new, fewshot, cross, dg,
unsup), dataset, metric (base, new, hm, acc), shots, value (percent), verified ("yes": read from the file that `source`
names; "no": from memory), source (where it was read).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from promptkd.results.measured import IMAGES, way_of
from promptkd.results.record import RunRecord
from promptkd.tables.summaries import ALL, NOTHING, Average, Method, Summary

PATH = Path(__file__).with_name("results.csv")
DOMAINNET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
DATASETS = {  # our name -> the tables'
    "DescribableTextures": "DTD", "OxfordFlowers": "Flowers102", "ImageNetA": "ImageNet-A", "ImageNetR": "ImageNet-R",
    "ImageNetSketch": "ImageNet-Sketch",
} | {
    name: name
    for name in ("Caltech101", "EuroSAT", "FGVCAircraft", "Food101", "ImageNet", "ImageNetV2", "OxfordPets",
                 "StanfordCars", "SUN397", "UCF101")
}  # fmt: skip
DATASETS |= {name: name for name in (f"DomainNet-{domain}" for domain in DOMAINNET)}
METHODS = {"ZeroshotCLIP": "CLIP"}  # our name -> the tables', where they differ
_DOMAINS = frozenset(f"DomainNet-{domain}" for domain in DOMAINNET)
TARGETS = frozenset(DATASETS) - _DOMAINS - {"ImageNet", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}
# Data sets of the average that a paper prints.
AVERAGED = {
    "base2new": TARGETS | {"ImageNet"}, "fewshot": TARGETS | {"ImageNet"}, "all": TARGETS | {"ImageNet"},
    "cross": TARGETS, "dg": frozenset({"ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"}),
}  # fmt: skip
_EIGHT = "RN50,RN50x4,RN50x16,RN50x64,RN101,ViT-B/16,ViT-B/32,ViT-L/14"
_UPL = {"TRAINER.UPL.SHOTS": (16,), "TRAINER.UPL.MEMBERS": (16,), "TRAINER.UPL.UNLABELLED": ("all",)}
_CACHE = {"ALPHA": (0.3,), "BETA": (1.0,), "SHOTS": (0, 16), "IMAGES": ("train",)}  # 16 is what the rule gives there
_TFUP = {f"TRAINER.TFUP.{key}": values for key, values in _CACHE.items()}
_TFUPT = {f"TRAINER.TFUPT.{key}": values for key, values in _CACHE.items()}
_TFUPT |= {"TRAINER.TFUPT.TRAINING_SHOTS": (0,), "TRAINER.TFUPT.TRAINING_PROPORTION": (0.75,)}
_TFUPT |= {"TRAINER.TFUPT.SCHEDULE": ("as_published",), "OPTIM.MAX_EPOCH": (30,), "OPTIM.LR": (0.012,)}
# Rows of the setting "unsup": our method and the selection of its epoch, the settings that it must have (key -> the
# values that are alike), the tables' name. TFUP's have texts of a language model too, so DESCRIPTIONS must be given.
UNSUPERVISED = (
    ("UPL", "last epoch", _UPL | {"TRAINER.UPL.LABELLERS": ("", "RN50")}, "UPL"),
    ("UPL", "last epoch", _UPL | {"TRAINER.UPL.LABELLERS": (_EIGHT,)}, "UPL*"),
    ("TFUP", "last epoch", _TFUP, "TFUP"),
    ("TFUPT", "last epoch", _TFUPT, "TFUP-T (last epoch, log)"),
    ("TFUPT", "best epoch on the TEST images", _TFUPT, "TFUP-T"),
)
# FAP's tables (arXiv 2403.14774, section 4.1): 10 epochs, 5 from ImageNet; its options, and those of its AdvVLP.
_ATTACK = {"EPS": (1.0,), "ALPHA": (1.0,), "STEPS": (2,)}
_ADVERSARIAL: Mapping[str, Mapping[str, tuple[float | None, ...]]] = {
    "FAP": _ATTACK | {"WEIGHT": (1.5,), "N_CTX": (2, None), "PROMPT_DEPTH": (9, None)},
    "AdvIVLP": _ATTACK | {"CLEAN_SHARE": (0.0,)},
}
_ADVERSARIAL_EPOCHS = {"cross": 5}
STEP = "1/255"  # of the PGD that measures accuracy in tables
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


def beside(method: Method, summary: Summary, dataset: str, metric: str) -> Published | None:
    """The number that a summary of a data set, or an average, compares to; see `find`."""
    datasets = summary.datasets if isinstance(summary, Average) else [dataset]
    return find(method, datasets, metric, summary.settings, [run.record for run in summary.runs])


def find(
    method: Method,
    datasets: Iterable[str],
    metric: str,
    settings: Mapping[str, Any] | None = None,
    records: Iterable[RunRecord] = (),
) -> Published | None:
    """The number that a row of ours compares to: same method, CLIP, setting, shots and way to learn.

    Args:
        method: the row.
        datasets: one data set, or all of the row for their average, which must be those of the paper's average.
        metric: "base", "new", "hm" or "all"; under attack "base/pgd100_eps1", ...
        settings: of all runs of the row; methods without labels, and those that withstand attacks, are compared only
            where theirs are the published ones.
        records: of all runs of the row; what was measured on attacked images is compared only where each did that as
            published, see `_as_published`.
    """
    datasets = frozenset(datasets)
    if len(datasets) == 1:
        (name,) = (DATASETS.get(dataset) for dataset in datasets)
    else:
        name = "average" if datasets == AVERAGED.get(method.protocol) else None
        name = "DomainNet-average" if datasets == _DOMAINS else name
    if method.source not in ("", "ImageNet") or method.pool:
        return None
    if name is None or (method.trainer == "PromptKD" and method.teacher not in _KD_TEACHERS):
        return None
    if method.trainer.endswith("_KDPL") and method.teacher != _KDPL_TEACHER:
        return None
    if "/" in metric and not _as_published(metric, records):
        return None
    called = _name(method, settings or {})
    key = (called, method.backbone, method.protocol, name, _metric(metric))
    for shots in (method.shots, None):
        number = _numbers().get((*key, method.transductive, shots))
        if number:
            return number
    return None


def _as_published(metric: str, records: Iterable[RunRecord]) -> bool:
    """Whether runs measured a number under attack as the tables: all test images, and steps of PGD of 1/255.

    So is the accuracy on the same images without attack compared where these are all test images, and not a sample.
    """
    group, _, name = metric.partition("/")
    known = [record for record in records if metric in record.under_attack]
    for one in ("base", "new") if group == "hm" else (group,):
        for record in known:
            way, images = way_of(record, f"{one}/{name}"), record.measures.get(one, {}).get(IMAGES)
            if way.get(IMAGES) != str(images) or way.get("step", STEP) != STEP:
                return False
    return bool(known)


def _metric(name: str) -> str:
    """The tables' name of a metric of ours: those under attack are of 100 steps and 1/255."""
    group, _, attack = name.partition("/")
    group = {"all": "acc"}.get(group, group)
    if attack == "pgd100_eps1":
        return "pgd100" if group == "acc" else f"{group}_pgd100"
    return group if attack in ("", "clean") else name


def _name(method: Method, settings: Mapping[str, Any]) -> str:
    """The tables' name of a row of ours, "" where its settings are none of the tables'."""
    if any(method.trainer == row[0] for row in UNSUPERVISED):
        texts = method.trainer == "UPL" or settings.get(f"TRAINER.{method.trainer}.DESCRIPTIONS")
        for trainer, selection, wanted, name in UNSUPERVISED:
            same = method.trainer == trainer and method.selection.startswith(selection)
            if same and texts and all(settings.get(key) in values for key, values in wanted.items()):
                return name
        return ""
    if method.trainer in _ADVERSARIAL:
        return _adversarial(method, settings)
    if (method.trainer, method.backbone) == ("PromptSRC", "ViT-L/14"):
        return "PromptSRC teacher"
    return METHODS.get(method.trainer, method.trainer.replace("_KDPL", "+KDPL"))


def _adversarial(method: Method, settings: Mapping[str, Any]) -> str:
    """As `_name`, of a row of FAP's tables; its AdvVLP is our AdvIVLP, of ViT-B/32 and 16 shots."""
    options = {
        f"TRAINER.{method.trainer.upper()}.{key}": values for key, values in _ADVERSARIAL[method.trainer].items()
    }
    epochs = settings.get("OPTIM.MAX_EPOCH") == _ADVERSARIAL_EPOCHS.get(method.protocol, 10)
    if not epochs or not all(settings.get(key) in values for key, values in options.items()):
        return ""
    if method.trainer == "AdvIVLP":
        return "AdvVLP" if (method.backbone, method.shots) == ("ViT-B/32", 16) else ""
    return method.trainer


@lru_cache(maxsize=1)
def _numbers() -> dict[tuple[str, str, str, str, str, bool, int | None], Published]:
    """Every comparable number; of several for one entry the first verified."""
    numbers: dict[tuple[str, str, str, str, str, bool, int | None], Published] = {}
    with PATH.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["setting"] == "unsup":
                _add_unsupervised(numbers, row)
                continue
            learned = "unlabelled" in row["shots"] or row["method"].startswith("PromptKD")
            learned = learned and "+KDPL" not in row["method"]  # its images are of the classes that train
            number = Published(float(row["value"]), row["paper_source"], row["verified"] == "yes", row["source"])
            for shots in _shots(row["method"], row["shots"]) if row["setting"] in AVERAGED else ():
                key = (row["method"], row["backbone"], row["setting"], row["dataset"], row["metric"], learned, shots)
                if key not in numbers or (number.verified and not numbers[key].verified):
                    numbers[key] = number
    return numbers


def _add_unsupervised(
    numbers: dict[tuple[str, str, str, str, str, bool, int | None], Published], row: Mapping[str, str]
) -> None:
    """Adds a row of the setting "unsup", which is our few-shot protocol of all classes, or a run of all images.

    Those of LaFTer are not added: with which settings they ran UPL is not known.
    """
    names = {name for *_, name in UNSUPERVISED}
    zero_shot = row["method"] == "CLIP" and row["shots"] == "0"
    if row["method"] not in names and not zero_shot or row["paper_source"].startswith("LaFTer"):
        return
    number = Published(float(row["value"]), row["paper_source"], row["verified"] == "yes", row["source"])
    shots = NOTHING if zero_shot or row["method"] == "TFUP" else ALL
    for protocol in ("fewshot", "all"):
        key = (row["method"], row["backbone"], protocol, row["dataset"], row["metric"], not zero_shot, shots)
        numbers.setdefault(key, number)


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
