"""Image features of a pool by image and view, kept on disk for later epochs and runs: of what, and when they are read.

Un-normalised features are kept as they leave the encoder, so they serve any class vectors, KD_WEIGHT, temperature,
student or projector. docs/teacher-cache.md is for users.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor, nn
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.data.loading.views import SeededViews
from promptkd.model.class_vectors import weights_hash
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompts import Prompts
from promptkd.results.settings import relevant
from promptkd.teacher.cache_store import GIGA, Entry, Store, ViewFile, file_bytes

log = logging.getLogger(__name__)

MODES = ("", "exact", "views")
FORMAT = 1


class StoredFeatures:
    """Reads an encoder's features of a pool's images, or has them computed and keeps them.

    Args:
        entry: where they are.
        mode: "exact": every epoch has its views, and a batch is read or computed as a whole, because the last bits of
            a feature depend on the batch. "views": epoch e has the views of epoch e % views, and only images that are
            missing are computed. "weak": each image has one view, that of an evaluation.
        views: of an image, in the mode of that name.
        counts: "read" and "computed" images, counted on here.
    """

    def __init__(self, entry: Entry, mode: str, views: int, counts: dict[str, int]) -> None:
        self.entry, self.mode, self.views, self.counts = entry, mode, views, counts
        self.view = 0
        self._file: ViewFile | None = None
        self._keeps, self._complained = True, False

    def start_epoch(self, epoch: int) -> int:
        """Turns to the view of an epoch, and returns it: the epoch whose random numbers the loader takes.

        Of the mode "weak" there is the view 0 alone.
        """
        self.view = epoch if self.mode == "exact" else epoch % self.views
        if self._file:
            self._file.close()
        self._keeps, self._complained = True, False
        try:
            self._file = self.entry.find(self.view)
        except OSError as error:  # it was there when the run began
            self._file, self._keeps = None, False
            log.info(f"Stored features: {self.entry.path}: {error.strerror or error}: not used in this epoch")
        return self.view

    def features(self, rows: Tensor, images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The features (B, D) of a batch, on the images' device.

        Args:
            rows: (B,) numbers of the images in the pool.
            images: (B, 3, H, W), their views of this epoch.
            encode: (b, 3, H, W) -> (b, D).
        """
        numbers = rows.cpu().numpy()
        kept, present = self._read(numbers)
        if kept is not None and present.all():
            self.counts["read"] += len(numbers)
            return kept.to(images.device)
        if kept is None or self.mode == "exact" or not present.any():
            new = encode(images)  # (B, D)
            self._keep(numbers, new)
            return new
        missing = np.flatnonzero(~present)
        new = encode(images[torch.from_numpy(missing).to(images.device)])  # (b, D)
        self._keep(numbers[missing], new)
        self.counts["read"] += len(numbers) - len(missing)
        kept[torch.from_numpy(missing)] = new.cpu()
        return kept.to(images.device)

    def whole(self, width: int) -> Tensor | None:
        """The features (N, D) of all images in their order; None where one is missing, or D is not `width`."""
        if self._file and self._file.dim != width:
            log.info(f"Stored features: {self._file.path} is not of {width} channels: made anew")
            self._file.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
        kept, present = self._read(np.arange(self.entry.images))
        if kept is None or not present.all():
            return None
        self.counts["read"] += len(kept)
        return kept

    def keep(self, features: Tensor) -> None:
        """Keeps the features (N, D) of all images."""
        self._keep(np.arange(self.entry.images), features)

    def _read(self, numbers: np.ndarray) -> tuple[Tensor | None, np.ndarray]:
        if self._file is None:
            return None, np.zeros(len(numbers), bool)
        kept, present, damaged = self._file.read(numbers)
        if damaged and not self._complained:
            self._complained = True
            log.info(f"Stored features: {self._file.path} has damaged rows: they are made anew")
        return kept, present

    def _keep(self, numbers: np.ndarray, features: Tensor) -> None:
        self.counts["computed"] += len(numbers)
        if not self._keeps:
            return
        try:
            self._file = self._file or self.entry.make(self.view, features)
            if self._file:
                self._file.write(numbers, features)
                return
            size = file_bytes(self.entry.images, features.shape[1] * features.element_size()) / GIGA
            why = f"no room for a view of {size:.3g} GB below CACHE_GB {self.entry.store.limit / GIGA:g}"
        except OSError as error:
            why = error.strerror or str(error)
        self._keeps = False
        log.info(f"Stored features: {why} in {self.entry.store.folder}: what is computed now is not kept")

    def finish(self, device: torch.device) -> None:
        """Adds up the processes of a run, says what the cache did, and gives it back."""
        if distributed.world_size() > 1:
            both = torch.tensor([self.counts["read"], self.counts["computed"]], device=device)
            torch.distributed.all_reduce(both)
            self.counts["read"], self.counts["computed"] = both.tolist()
        log.info(f"Teacher images: {self.counts['read']} read from the cache, {self.counts['computed']} computed")
        self.close()

    def close(self) -> None:
        """Gives the files back; others may remove them from now on."""
        if self._file:
            self._file.close()
        self.entry.close()

    def result(self) -> dict[str, Any]:
        """What results.json says of it."""
        views = {"views": self.views} if self.mode == "views" else {}
        return {"mode": self.mode} | views | self.counts


def open_store(
    folder: Path, gigabytes: float, key: dict[str, Any], about: dict[str, Any], images: int, option: str
) -> Entry:
    """The entry of a folder that belongs to a key.

    Args:
        folder: of any number of entries, runs and processes.
        gigabytes: 10^9 bytes that all of them may take.
        key: everything that the features depend on, plain values.
        about: what its key.json says beside it.
        images: N.
        option: that names the folder, for the message.

    Raises:
        OSError: the folder cannot be written to.
    """
    try:
        return Entry(Store(folder, round(gigabytes * GIGA)), {"format": FORMAT} | key, about, images)
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"cannot write to {option} {folder}: {why}; choose another folder") from error


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
