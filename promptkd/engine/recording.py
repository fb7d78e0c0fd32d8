"""What a run writes down of itself: the record for programs, tables for people."""

from __future__ import annotations

import datetime
import logging
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import torchvision
from tabulate import tabulate
from torch import nn
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.engine.evaluator import Classifier, Evaluator
from promptkd.engine.progress import Progress
from promptkd.engine.robust.recorded import Measured, fitted_temperature, measure_changed, table_of_changed
from promptkd.engine.task import Task
from promptkd.engine.trackers import Trackers
from promptkd.engine.trackers.pictures import pictures_of
from promptkd.files import write_text
from promptkd.home import INSTALLED, ROOT
from promptkd.model.class_vectors import FILE_NAME as CLASS_VECTORS
from promptkd.model.class_vectors import weights_hash
from promptkd.model.prompted_clip import PromptedClip
from promptkd.results.directory import dataset_of
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.predictions import Predictions
from promptkd.results.record import RunRecord
from promptkd.results.settings import dataset_name, fingerprint, relevant

log = logging.getLogger(__name__)

SELECTION = {
    "last_step": "last epoch",
    "best_val": "best epoch on the validation images",
    "best_on_pool": "epoch nearest to the teacher on held-out images without labels",
    "best_on_test_as_published": "best epoch on the TEST images of the first class group (uses test labels)",
}


def describe(
    cfg: CfgNode,
    task: Task,
    model: PromptedClip,
    metrics: dict[str, Any],
    teacher: dict[str, Any] | None = None,
    progress: Progress | None = None,
    seconds: float = 0.0,
    seen: dict[str, Any] | None = None,
    changed: Mapping[str, dict[str, Any]] | None = None,
    temperature: dict[str, Any] | None = None,
) -> RunRecord:
    """The record of a finished run; docs/results.md says what each field means.

    Args:
        cfg: the run's.
        task: what it trained on and was measured on.
        model: with what was learned.
        metrics: class group -> measures, and "hm".
        teacher: what is known of a student's teacher.
        progress: time and images of training; None where nothing was trained.
        seconds: time that the evaluation took.
        seen: what is known of images that it learned from without labels.
        changed: fields of what was measured on attacked and corrupted images.
        temperature: fitted on validation images.
    """
    progress = progress or Progress()
    train_images = len(task.train_loader.dataset)
    images = len(task.evaluation_loader.dataset) if task.evaluation_loader else train_images
    images += len(task.outside_loader.dataset) if task.outside_loader else 0
    learned_on = _learned_on(cfg, model)
    learns = any(True for _ in model.prompts.parameters())
    unlabelled = train_images if learns and not task.supervision.labels else 0
    unlabelled = (seen or {}).get("images", unlabelled)
    return RunRecord(
        trainer=cfg.TRAINER.NAME,
        backbone=cfg.MODEL.BACKBONE.NAME,
        teacher=teacher,
        dataset=dataset_name(cfg),
        protocol=cfg.PROTOCOL or _protocol(cfg, task, learned_on),
        transductive=_transductive(cfg, task, learns, bool(unlabelled)),
        template=model.template,
        learned_on=learned_on,
        shots=_labelled_shots(cfg, model),
        fewshot_sha256=getattr(getattr(task.manager.dataset, "fewshot", None), "sha256", None),
        train_images=train_images,
        unlabelled_images=unlabelled,
        seen=seen,
        seed=cfg.SEED,
        epochs=cfg.OPTIM.MAX_EPOCH,
        selection=SELECTION[cfg.TEST.FINAL_MODEL],
        split=cfg.TEST.SPLIT,
        eval_only=cfg.EVAL_ONLY,
        model_dir=Path(cfg.MODEL_DIR).expanduser().absolute().as_posix() if cfg.EVAL_ONLY and cfg.MODEL_DIR else None,
        metrics=metrics,
        other_data=task.other_data,
        temperature=temperature,
        robustness=(changed or {}).get("robustness"),
        corruptions=(changed or {}).get("corruptions"),
        learned_parameters=sum(parameter.numel() for parameter in model.prompts.parameters()),
        learned_sha256=weights_hash(model.prompts),
        train_seconds=progress.seconds,
        train_images_per_second=progress.images / max(progress.seconds, 1e-9),
        eval_images_per_second=images / max(seconds, 1e-9),
        peak_memory_mb=peak_memory_mb(model.device),
        config_hash=fingerprint(cfg),
        settings=relevant(cfg),
        data_root=Path(cfg.DATASET.ROOT).expanduser().absolute().as_posix(),
        arithmetic=model.precision.arithmetic,
        finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **environment(model.device),
    )


def write_results(
    cfg: CfgNode,
    task: Task,
    model: PromptedClip,
    teacher: dict[str, Any] | None,
    progress: Progress,
    seen: Callable[[], dict[str, Any] | None] = lambda: None,
    classifier: Callable[[Sequence[str]], Classifier] | None = None,
    trackers: Trackers | None = None,
) -> float | None:
    """Evaluates a model and writes results.json, predictions.csv and the class vectors into the run's directory.

    Args:
        cfg, task, model, teacher, progress: see `describe`.
        seen: gives what is known of images that it learned from without labels, after the evaluation.
        classifier: gives what classifies images among some names, of a method that does more than compare with class
            vectors; there are none of it, then.
        trackers: where the result is reported, once it is written.

    Returns:
        Accuracy (percent) of the first reported class group; None where there are no labelled test images.
    """
    start, predictions = time.time(), Predictions(cfg.DATASET.ROOT)
    classify, evaluator = (classifier or model.classifier)(task.all_classnames), Evaluator(task, model.precision)
    metrics = evaluator.evaluate(classify, predictions, task.outside_loader) if task.evaluation_loader else {}
    if not (metrics and task.labelled):
        alone = "No labelled test images: the training images are classified, nothing is measured"
        log.info("The training images are classified too" if task.evaluation_loader else alone)
        evaluator.predict_training_images(classify, predictions)
    about = seen()  # of all processes
    seconds = time.time() - start
    measured = measure_changed(cfg, task, model, classify) if metrics else Measured()
    temperature = fitted_temperature(cfg, task, model, classifier or model.classifier)
    if metrics:
        log.info("%s", table(metrics, (teacher or {}).get("metrics")))
    for found in measured.fields.values():
        log.info("%s", table_of_changed(found))
    if distributed.is_main():
        changed = measured.save(cfg.OUTPUT_DIR)
        record = describe(cfg, task, model, metrics, teacher, progress, seconds, about, changed, temperature)
        directory = Path(cfg.OUTPUT_DIR)
        write_text(directory / PREDICTIONS, predictions.text())
        if not model.conditional and classifier is None:
            model.class_vectors(task.all_classnames).save(directory / CLASS_VECTORS)
        # The last one: with it the run is done, for sweeps too.
        log.info("Results: %s", record.write(directory))
        if trackers is not None:
            trackers.add_result(record, lambda: pictures_of(predictions))
    return metrics[next(iter(task.groups))]["accuracy"] if metrics else None


def _transductive(cfg: CfgNode, task: Task, learns: bool, unlabelled: bool) -> bool:
    """Whether images without labels of the classes that are tested were learned from; not by what learned elsewhere."""
    elsewhere = cfg.EVAL_ONLY and dataset_of(cfg.MODEL_DIR) not in (None, dataset_name(cfg))
    if learns and elsewhere:
        return False
    return task.supervision.transductive or (unlabelled and task.source == "test images")


def _learned_on(cfg: CfgNode, model: PromptedClip) -> str | None:
    """The data set whose labels taught what is learned; a student's is its teacher's. None where no labels did."""
    if model.vectors is not None:
        return model.vectors.source.get("dataset")
    if not any(True for _ in model.prompts.parameters()):
        return None
    return dataset_of(cfg.MODEL_DIR) if cfg.EVAL_ONLY else dataset_name(cfg)


def _protocol(cfg: CfgNode, task: Task, learned_on: str | None) -> str:
    """The field's name for what a run compares to, where PROTOCOL does not say it."""
    if not task.supervision.protocol and learned_on not in (None, dataset_name(cfg)):
        return "dg" if (learned_on, cfg.DATASET.NAME[:8]) == ("ImageNet", "ImageNet") else "cross"
    return task.protocol


def _labelled_shots(cfg: CfgNode, model: PromptedClip) -> int:
    """Labelled images a class that were learned from: in the few-shot protocol a student's are its teacher's."""
    shots = model.vectors.source.get("shots") if model.vectors is not None and cfg.PROTOCOL == "fewshot" else None
    return int(shots) if shots else cfg.DATASET.NUM_SHOTS


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, commit and command of this process."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "open_clip": open_clip.__version__,
        },
        "device": f"{device.type}: {name}",
        "processes": distributed.world_size(),
        "commit": _commit(),
        "command": sys.argv,
    }


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far, in MiB: of the GPU's tensors, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def table(metrics: dict[str, Any], teacher: dict[str, Any] | None = None) -> str:
    """A run's metrics as a small table a person can read: percentages, the teacher's beside a student's."""
    teacher = teacher or {}
    heads = ["group", "classes", "images", "accuracy %", "macro F1 %"]
    rows = [
        [group, values["classes"], values["images"], values["accuracy"], values["macro_f1"]]
        for group, values in metrics.items()
        if isinstance(values, dict)
    ]
    rows += [["hm", None, None, metrics["hm"], None]] if "hm" in metrics else []
    if teacher:
        heads.append("teacher %")
        for row in rows:
            value = teacher.get(row[0])
            row.append(value["accuracy"] if isinstance(value, dict) else value)
    return tabulate(rows, headers=heads, floatfmt=".2f")


def log_learned(module: nn.Module, method: str, required: bool) -> int:
    """Logs what is learned, and returns the number of tensors.

    Raises:
        ValueError: nothing, of a method that has to learn something.
    """
    rows = [[name, tuple(value.shape), value.numel()] for name, value in module.named_parameters()]
    total = sum(value.numel() for value in module.parameters())
    if required and not rows:
        raise ValueError(f"{method} has nothing to learn: its options give it 0 tokens, set 1 or more")
    if rows:
        log.info("Learned: %s parameters in %d tensors", f"{total:,}", len(rows))
    log.debug("%s", tabulate([*rows, ["total", "", total]], headers=["learned", "shape", "parameters"]))
    return len(rows)


def _commit() -> str:
    """The commit of this checkout, with "+" where files differ from it; "unknown" outside one.

    An installed package has none, though it may lie inside somebody's repository.
    """
    if INSTALLED:
        return "unknown"
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
        return head + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
