"""What a run leaves for programs: results.json and the merged config.yaml, never written over another run's."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import torch
import torchvision
import yaml
from tabulate import tabulate
from torch import nn
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.engine.config import as_dict, node_of
from promptkd.home import ROOT

FORMAT = 1
# Keys that change where or how fast a run computes, not what: two runs that differ in these alone are the same run.
_WHERE = {
    "OUTPUT_DIR", "RESUME", "VERBOSE", "USE_CUDA", "EVAL_ONLY", "MODEL_DIR", "DATASET.ROOT",
    "DATALOADER.NUM_WORKERS", "DATALOADER.PREFETCH_FACTOR", "DATALOADER.DECODED_CACHE_GB",
    "DATALOADER.DECODED_CACHE_DIR", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ", "TRAINER.PROMPTKD.CACHE_DIR",
    "TRAINER.PROMPTKD.CACHE_GB",
}  # fmt: skip
_OF_TRAINING = ("teacher", "train_seconds", "train_images_per_second", "eval_only")  # an evaluation does not know them
_CACHE = ("TRAINER.PROMPTKD.TEACHER_CACHE", "TRAINER.PROMPTKD.CACHE_VIEWS")


def harmonic_mean(base: float, new: float) -> float:
    """`2 b n / (b + n)` of two accuracies in percent, 0 where either is 0 (CoCoOp, arXiv 2203.05557, section 4.1)."""
    return 2 * base * new / (base + new) if base > 0 and new > 0 else 0.0


def relevant(cfg: CfgNode) -> dict[str, Any]:
    """Dotted key -> value of all that decides a run's numbers: the other trainers' options and paths are left out."""
    flat: dict[str, Any] = {}

    def walk(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                if prefix != "TRAINER." or key == node_of(cfg.TRAINER.NAME):
                    walk(value, f"{name}.")
            elif name not in _WHERE:
                flat[name] = value

    walk(as_dict(cfg), "")
    if flat.get("LOAD_EPOCH", -1) < 0:  # else it decides what is evaluated
        flat.pop("LOAD_EPOCH", None)
    if flat.get(_CACHE[0]) != "views":  # else the teacher cache changes no number
        flat = {name: value for name, value in flat.items() if name not in _CACHE}
    return flat


def fingerprint(cfg: CfgNode) -> str:
    """A hash of `relevant`: equal for two runs that must give the same numbers."""
    return hashlib.sha256(json.dumps(relevant(cfg), sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_claim(directory: str | Path, cfg: CfgNode) -> None:
    """Makes sure that a directory can be this run's.

    Raises:
        ValueError: it holds another run; the message names what differs.
        OSError: it cannot be written to.
    """
    directory = Path(directory)
    path = directory / "config.yaml"
    if path.is_file():
        earlier = CfgNode(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        before, now = relevant(earlier), json.loads(json.dumps(relevant(cfg), default=str))
        different = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        if different:
            shown = "; ".join(f"{key} is {now.get(key)!r}, was {before.get(key)!r}" for key in different[:3])
            raise ValueError(f"{directory} holds another run ({shown}): choose another --output-dir, or remove it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError("no permission, or a read-only disk")
    except OSError as error:
        raise OSError(f"cannot write to --output-dir {directory}: {error.strerror or error}") from error


def claim(directory: str | Path, cfg: CfgNode) -> None:
    """Writes the merged configuration, by which a directory is a run's. Raises what `check_claim` does."""
    check_claim(directory, cfg)
    write_atomic(Path(directory) / "config.yaml", yaml.safe_dump(as_dict(cfg), sort_keys=True))


def dataset_of(directory: str | Path) -> str | None:
    """The data set of a run, by its directory; None where that holds no run of ours."""
    path = Path(directory) / "config.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["DATASET"]["NAME"] if path.is_file() else None


def write_atomic(path: Path, text: str) -> None:
    """Writes a text file through a temporary one beside it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_result(directory: str | Path, config_hash: str) -> dict[str, Any]:
    """The results that a directory has, {} for none.

    Raises:
        ValueError: they are of another configuration.
    """
    path = Path(directory) / "results.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if earlier and earlier.get("config_hash") != config_hash:
        raise ValueError(
            f"{path} is the result of another configuration ({earlier.get('trainer')}, seed {earlier.get('seed')}): "
            "choose another --output-dir, or give all options as they were"
        )
    return earlier


def write_result(directory: str | Path, result: dict[str, Any]) -> Path:
    """Writes results.json; what training told stays where a run is evaluated again in its own directory.

    Raises:
        ValueError: there is one of another configuration.
    """
    path = Path(directory) / "results.json"
    earlier = check_result(directory, result["config_hash"])
    if result["eval_only"] and not earlier.get("eval_only", True):
        result = result | {key: earlier[key] for key in _OF_TRAINING}
    write_atomic(path, json.dumps(result, indent=1) + "\n")
    return path


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


SELECTION = {
    "last_step": "last epoch",
    "best_val": "best epoch on the validation images",
    "best_on_test_as_published": "best epoch on the TEST images of the first class group (uses test labels)",
}


def describe(trainer: Any, metrics: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Everything results.json holds; docs/results.md says what each entry means.

    Args:
        trainer: a PromptTrainer.
        metrics: class group -> measures, and "hm".
        seconds: time that the evaluation took.
    """
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    train_images, spent = len(trainer.train_loader_x.dataset), trainer.spent
    images = len(trainer.evaluation_loader.dataset) if trainer.evaluation_loader else train_images
    return {
        "format": FORMAT,
        "trainer": cfg.TRAINER.NAME,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "teacher": trainer.teacher_result(),
        "dataset": cfg.DATASET.NAME,
        "protocol": cfg.PROTOCOL or trainer.protocol(),
        "transductive": trainer.transductive,
        "template": trainer.template(),
        "learned_on": trainer.learned_on(),
        "shots": trainer.labelled_shots(),
        "fewshot_sha256": getattr(getattr(dataset, "fewshot", None), "sha256", None),
        "train_images": train_images,
        "unlabelled_images": trainer.unlabelled_images(),
        "seed": cfg.SEED,
        "epochs": trainer.max_epoch,
        "selection": SELECTION[cfg.TEST.FINAL_MODEL],
        "eval_only": cfg.EVAL_ONLY,
        "metrics": metrics,
        "learned_parameters": sum(parameter.numel() for parameter in trainer.prompts.parameters()),
        "train_seconds": spent["train_seconds"],
        "train_images_per_second": spent["train_images"] / max(spent["train_seconds"], 1e-9),
        "eval_images_per_second": images / max(seconds, 1e-9),
        "peak_memory_mb": peak_memory_mb(trainer.device),
        "config_hash": fingerprint(cfg),
        "settings": relevant(cfg),
        "data_root": Path(cfg.DATASET.ROOT).expanduser().absolute().as_posix(),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    } | environment(trainer.device)


def parameter_table(module: nn.Module) -> str:
    """The learned tensors by name: what is trained, and how much of it."""
    rows = [[name, tuple(value.shape), value.numel()] for name, value in module.named_parameters()]
    rows.append(["total", "", sum(row[2] for row in rows)])
    return tabulate(rows, headers=["learned", "shape", "parameters"])
