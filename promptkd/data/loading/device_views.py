"""Training views whose last steps the device takes: workers decode and crop, the device resizes and normalises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import transforms as T
from torchvision.transforms import functional as TF
from yacs.config import CfgNode

from dassl.data.transforms import INTERPOLATION_MODES

SUPPORTED = ("random_resized_crop", "random_flip", "normalize")  # what a device does as torchvision does on the CPU


class Crop(NamedTuple):
    """A crop of its own size, as decoded: (3, h, w) uint8, and whether its view is mirrored."""

    pixels: Tensor
    mirrored: bool


class Crops:
    """The crops of a batch, laid end to end: one tensor comes from a worker, not one, and one open file, an image.

    Args:
        pixels: all values, (N,) uint8.
        shapes: (3, h, w) of each crop.
        mirrored: whether its view is.
    """

    def __init__(self, pixels: Tensor, shapes: Sequence[torch.Size], mirrored: Sequence[bool]) -> None:
        self.pixels, self.shapes, self.mirrored = pixels, shapes, mirrored

    @classmethod
    def of(cls, crops: Sequence[Crop]) -> Crops:
        """Lays crops end to end."""
        shapes, mirrored = [crop.pixels.shape for crop in crops], [crop.mirrored for crop in crops]
        return cls(torch.cat([crop.pixels.flatten() for crop in crops]), shapes, mirrored)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, part: slice) -> Crops:
        """Some that follow each other."""
        ends = [0, *accumulate(shape.numel() for shape in self.shapes)]
        start, stop, _ = part.indices(len(self))
        return Crops(self.pixels[ends[start] : ends[stop]], self.shapes[part], self.mirrored[part])

    def pin_memory(self) -> Crops:
        """For the DataLoader."""
        return Crops(self.pixels.pin_memory(), self.shapes, self.mirrored)

    def on(self, device: torch.device) -> Iterator[Crop]:
        """Each crop on a device, to which they go at once."""
        pieces = self.pixels.to(device, non_blocking=True).split([shape.numel() for shape in self.shapes])
        for piece, shape, mirrored in zip(pieces, self.shapes, self.mirrored, strict=True):
            yield Crop(piece.view(shape), mirrored)


class Cropping:
    """PIL image -> Crop, with the random numbers that torchvision's RandomResizedCrop and RandomHorizontalFlip draw.

    So crops and mirrored views are those that the CPU would make of the same seed, epoch and image.
    """

    def __init__(self, cfg: CfgNode) -> None:
        size, scale = tuple(cfg.INPUT.SIZE), tuple(cfg.INPUT.RRCROP_SCALE)
        self._draw = T.RandomResizedCrop(size, scale=scale)
        self._flips = "random_flip" in cfg.INPUT.TRANSFORMS

    def __call__(self, image: Image.Image) -> Crop:
        top, left, height, width = self._draw.get_params(image, self._draw.scale, self._draw.ratio)
        pixels = TF.pil_to_tensor(image.crop((left, top, left + width, top + height)))
        return Crop(pixels, self._flips and bool(torch.rand(1) < 0.5))


def finish(cfg: CfgNode, crops: Crops, device: torch.device) -> Tensor:
    """Crops on a device -> the batch (B, 3, H, W) that a model takes, as INPUT says."""
    mode, views = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION], []
    for crop in crops.on(device):
        view = TF.resize(crop.pixels, list(cfg.INPUT.SIZE), mode, antialias=True)  # (3, H, W) uint8
        views.append(view.flip(-1) if crop.mirrored else view)
    images = torch.stack(views).float() / 255  # (B, 3, H, W)
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        return images
    return TF.normalize(images, list(cfg.INPUT.PIXEL_MEAN), list(cfg.INPUT.PIXEL_STD))


def check_options(cfg: CfgNode) -> None:
    """Raises ValueError where INPUT.ON_DEVICE is asked for and a transform has no part on the device."""
    if not cfg.INPUT.ON_DEVICE:
        return
    wanted = list(cfg.INPUT.TRANSFORMS)
    others = [name for name in wanted if name not in SUPPORTED]
    if others or "random_resized_crop" not in wanted:
        raise ValueError(
            f"INPUT.ON_DEVICE True: INPUT.TRANSFORMS {tuple(wanted)} is not random_resized_crop with random_flip and "
            "normalize or without: set INPUT.ON_DEVICE False"
        )


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Dassl's batch, its crops end to end, since each has a size of its own."""
    crops = Crops.of([item["img"] for item in items])
    return default_collate([{key: item[key] for key in item if key != "img"} for item in items]) | {"img": crops}
