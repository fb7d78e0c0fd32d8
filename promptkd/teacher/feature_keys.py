"""What stored image features depend on, as plain values: encoder, images, transform, arithmetic, batches.

Names and values are those under which features lie on disks: a change makes all of them anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import fields
from typing import Any

import PIL
import torch
import torchvision
from torch import nn
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.data.loading.views import SeededViews
from promptkd.model.class_vectors import weights_hash
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompts import Prompts
from promptkd.results.settings import relevant


def encoder_key(teacher: PromptedClip) -> dict[str, str]:
    """What makes image features: weights and build of the image tower, and the learned prompts that enter it."""
    visual: nn.Module = teacher.clip.visual
    prompts = teacher.prompts
    plain = type(prompts).encode_image is Prompts.encode_image
    parts = nn.ModuleList([visual, prompts.vision_prompts if plain else prompts])
    build = [(name, type(module).__name__, _settings(module)) for name, module in visual.named_modules()]
    digest = hashlib.sha256(json.dumps(build, sort_keys=True).encode()).hexdigest()[:16]
    return {"weights": weights_hash(parts), "build": digest}


def precision_key(precision: Precision) -> dict[str, str]:
    """The arithmetic of an encoder."""
    return {f.name: str(getattr(precision, f.name)) for f in fields(precision) if f.name != "device"}


def images_key(data: SeededViews) -> dict[str, Any]:
    """The images in their order: path below the data root, size, and the time of the last change of any kind.

    Unlike the time of modification, that one cannot be carried along by what puts another file in the place of one.
    """
    digest, below = hashlib.sha256(), os.path.join(data.root, "")
    for item in data.data_source:
        status, path = os.stat(item.impath), item.impath
        # relpath is ten times as slow as stat, and there may be a million
        path = path[len(below) :] if path.startswith(below) else os.path.relpath(path, data.root)
        line = f"{path}\0{status.st_size}\0{status.st_ctime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))  # a name may be of any bytes
    return {"number": len(data), "files": digest.hexdigest()}


def transform_key(cfg: CfgNode, data: SeededViews) -> dict[str, Any]:
    """How a file becomes a view: options that have a say, who reads it, and the libraries that do the work."""
    loaders = ("DATALOADER.TRAIN_X.", "DATALOADER.TRAIN_U.", "DATALOADER.TEST.")  # in which order and batches, not how
    settings = {k: v for k, v in relevant(cfg).items() if k.startswith(("INPUT.", "DATALOADER."))}
    return {
        "options": {k: v for k, v in settings.items() if not k.startswith(loaders)},
        "reader": _reader(data.items),
        "versions": {"torchvision": torchvision.__version__, "pillow": PIL.__version__, "torch": torch.__version__},
    }


def _reader(items: Any) -> str:
    """Whose way of reading a file it is; an option that keeps images decoded changes nothing of it."""
    kind = type(items).__qualname__
    if kind == "DecodedImages":
        kind = "UserImages" if items.upright else "DatasetWrapper"
    # The names under which stored features lie.
    return {"UserImages": "OwnImages", "PublishedImages": "DatasetWrapper"}.get(kind, kind)


def batches_key(cfg: CfgNode, device: torch.device) -> dict[str, Any]:
    """What the last bits of a feature depend on: the batch it is computed in, and the machine's way to multiply."""
    students = ("MODEL.BACKBONE.", "MODEL.HEAD.", "MODEL.INIT_WEIGHTS", "TRAIN.TEXT_CHUNK")
    settings = {k: v for k, v in relevant(cfg).items() if k.startswith(("TRAIN.", "MODEL.", "DATALOADER.TRAIN_X."))}
    if device.type == "cuda":
        machine = [torch.cuda.get_device_name(device), str(torch.backends.cudnn.version())]
    else:
        machine = [platform.machine(), torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())]
    return {
        "options": {k: v for k, v in settings.items() if not k.startswith(students)},
        "processes": distributed.world_size(),
        "machine": [device.type, *machine],
        "matmul": torch.get_float32_matmul_precision(),
    }


def _settings(module: nn.Module) -> dict[str, Any]:
    """A module's own settings, as heads or the way of pooling: what weights do not tell."""
    settings = {key: value for key, value in vars(module).items() if key[0] != "_" and key != "training"}
    return {key: value for key, value in settings.items() if _plain(value)}


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_plain(one) for one in value)
    return isinstance(value, (bool, int, float, str, type(None)))
