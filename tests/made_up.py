"""Made-up results.json files for the tests of tables and sweeps: the fields of a run record, with chosen numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from promptkd.tables import build as tables
from promptkd.tables import command as collect
from promptkd.tables.table import Table

SRC_TEACHER = {"source": "output/teacher", "backbone": "ViT-L/14", "trainer": "PromptSRC", "epoch": 20}


def group(accuracy: float, classes: int = 10, images: int = 100) -> dict[str, Any]:
    """What an evaluator measures of one class group."""
    return {
        "accuracy": accuracy,
        "error_rate": 100 - accuracy,
        "macro_f1": accuracy,
        "classes": classes,
        "images": images,
    }


def result(
    trainer: str = "PromptSRC",
    dataset: str = "EuroSAT",
    seed: int = 1,
    base: float | None = 80.0,
    new: float | None = 60.0,
    accuracy: float | None = None,
    **entries: Any,
) -> dict[str, Any]:
    """A results.json: base2new of the given accuracies, or one accuracy over all classes."""
    metrics: dict[str, Any] = {}
    if accuracy is not None:
        metrics["all"] = group(accuracy)
    else:
        metrics |= {name: group(value) for name, value in (("base", base), ("new", new)) if value is not None}
        if base is not None and new is not None:
            metrics["hm"] = 2 * base * new / (base + new) if base and new else 0.0
    kd = trainer == "PromptKD"
    made = {
        "format": 1, "trainer": trainer, "backbone": "ViT-B/16", "teacher": SRC_TEACHER if kd else None,
        "dataset": dataset, "protocol": "base2new" if accuracy is None else "fewshot", "transductive": kd,
        "template": "a photo of a {}.", "shots": 0 if kd else 16, "fewshot_sha256": None, "train_images": 160,
        "unlabelled_images": 160 if kd else 0, "seen": None,
        "foreign": None, "other_data": None, "temperature": None, "robustness": None, "corruptions": None,
        "seed": seed, "epochs": 20,
        "selection": "last epoch", "split": "test",
        "eval_only": False, "model_dir": None, "metrics": metrics,
        "learned_parameters": 0 if trainer.startswith("Zero") else 9216, "learned_sha256": None,
        "train_seconds": 10.0, "train_images_per_second": 16.0, "eval_images_per_second": 30.0,
        "peak_memory_mb": 800.0,
        "finished": f"2026-01-01T00:00:0{seed}+00:00",
        "versions": {"python": "3.11.7", "torch": "2.15.0"}, "device": "cpu: x86_64", "arithmetic": "float32",
        "commit": "0" * 40,
        "command": ["train.py", "--seed", str(seed)],
    } | entries  # fmt: skip
    identity = [made[key] for key in ("trainer", "backbone", "dataset", "protocol", "shots", "seed")]
    hashed = hashlib.sha256(json.dumps([*identity, made.get("settings"), made["teacher"]]).encode()).hexdigest()[:16]
    return {"config_hash": hashed} | made


def write(directory: Path, content: dict[str, Any] | str | bytes) -> Path:
    """Puts a results.json into a folder of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "results.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


ELEVEN = ("Caltech101", "DescribableTextures", "EuroSAT", "FGVCAircraft", "Food101", "ImageNet", "OxfordFlowers",
          "OxfordPets", "StanfordCars", "SUN397", "UCF101")  # fmt: skip
NINE = ("ZeroshotCLIP", "CoOp", "CoCoOp", "VPT", "IVLP", "MaPLe", "KgCoOp", "PromptSRC", "PromptKD")


def benchmark(output: Path, protocols: tuple[str, ...] = ("base2new", "fewshot", "cross"), seeds: int = 3) -> None:
    """The field's 11 data sets x 9 methods x seeds, in few-shot x shots, with numbers of the usual size."""
    for protocol in protocols:
        for place, (dataset, trainer) in enumerate((d, t) for d in ELEVEN for t in NINE):
            nothing = trainer.startswith("Zero")
            for shots in (1, 2, 4, 8, 16) if protocol == "fewshot" and not nothing else (16,):
                for seed in range(1, 2 if nothing else seeds + 1):
                    level = 55.0 + place * 7 % 31 + seed + NINE.index(trainer) + shots / 4
                    numbers = {"base": level, "new": level - 7} if protocol == "base2new" else {"accuracy": level}
                    name = f"{protocol}/{dataset}/{trainer}/{shots}/{seed}"
                    entries = {"protocol": protocol, "shots": shots, "config_hash": name, "learned_on": "ImageNet"}
                    write(output / name, result(trainer, dataset, seed, **numbers, **entries))


def built(output: Path, compare: bool = True) -> list[Table]:
    """The tables of a made-up output."""
    return tables.build(collect.collect([str(output)])[0], compare)


def rows_of(table: Table) -> dict[tuple[Any, Any], list[Any]]:
    """A table's rows by their first two columns."""
    return {(row[0], row[1]): row[2:] for row in table.rows}
