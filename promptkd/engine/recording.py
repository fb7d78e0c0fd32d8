"""What a run writes down of itself: the record for programs, tables for people."""

from __future__ import annotations

import datetime
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import torch
import torchvision
from tabulate import tabulate
from torch import nn

from promptkd import distributed
from promptkd.home import ROOT
from promptkd.results.record import RunRecord
from promptkd.results.settings import fingerprint, relevant

SELECTION = {
    "last_step": "last epoch",
    "best_val": "best epoch on the validation images",
    "best_on_test_as_published": "best epoch on the TEST images of the first class group (uses test labels)",
}


def describe(trainer: Any, metrics: dict[str, Any], seconds: float) -> RunRecord:
    """The record of a finished run; docs/results.md says what each field means.

    Args:
        trainer: a PromptTrainer.
        metrics: class group -> measures, and "hm".
        seconds: time that the evaluation took.
    """
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    train_images, spent = len(trainer.train_loader_x.dataset), trainer.spent
    images = len(trainer.evaluation_loader.dataset) if trainer.evaluation_loader else train_images
    return RunRecord(
        trainer=cfg.TRAINER.NAME,
        backbone=cfg.MODEL.BACKBONE.NAME,
        teacher=trainer.teacher_result(),
        dataset=cfg.DATASET.NAME,
        protocol=cfg.PROTOCOL or trainer.protocol(),
        transductive=trainer.transductive,
        template=trainer.template(),
        learned_on=trainer.learned_on(),
        shots=trainer.labelled_shots(),
        fewshot_sha256=getattr(getattr(dataset, "fewshot", None), "sha256", None),
        train_images=train_images,
        unlabelled_images=trainer.unlabelled_images(),
        seed=cfg.SEED,
        epochs=trainer.max_epoch,
        selection=SELECTION[cfg.TEST.FINAL_MODEL],
        eval_only=cfg.EVAL_ONLY,
        metrics=metrics,
        learned_parameters=sum(parameter.numel() for parameter in trainer.prompts.parameters()),
        train_seconds=spent["train_seconds"],
        train_images_per_second=spent["train_images"] / max(spent["train_seconds"], 1e-9),
        eval_images_per_second=images / max(seconds, 1e-9),
        peak_memory_mb=peak_memory_mb(trainer.device),
        config_hash=fingerprint(cfg),
        settings=relevant(cfg),
        data_root=Path(cfg.DATASET.ROOT).expanduser().absolute().as_posix(),
        finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **environment(trainer.device),
    )


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


def table(metrics: dict[str, Any]) -> str:
    """A run's metrics as a small table a person can read; percentages."""
    rows = [
        [group, values["classes"], values["images"], values["accuracy"], values["macro_f1"]]
        for group, values in metrics.items()
        if isinstance(values, dict)
    ]
    if "hm" in metrics:
        rows.append(["hm", None, None, metrics["hm"], None])
    return tabulate(rows, headers=["group", "classes", "images", "accuracy %", "macro F1 %"], floatfmt=".2f")


def parameter_table(module: nn.Module) -> str:
    """The learned tensors by name: what is trained, and how much of it."""
    rows = [[name, tuple(value.shape), value.numel()] for name, value in module.named_parameters()]
    rows.append(["total", "", sum(row[2] for row in rows)])
    return tabulate(rows, headers=["learned", "shape", "parameters"])


def _commit() -> str:
    """The commit of this checkout, with "+" where files differ from it; "unknown" outside one."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
        return head + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
