"""Training crops whose last steps run on the device: workers decode and crop, the device resizes and normalises.

The option is INPUT.ON_DEVICE. Crops differ in size until the device resizes them, so that a batch on its way is no
tensor (B, 3, H, W): its crops travel as one long row of bytes, a CropBatch.
"""

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

SUPPORTED = ("random_resized_crop", "random_flip", "normalize")  # steps that a device takes as torchvision does


class Crop(NamedTuple):
    """A crop as decoded, (3, h, w) uint8 of any size, and whether its view is mirrored."""

    pixels: Tensor
    mirrored: bool


class CropBatch:
    """The crops of a batch, laid end to end.

    A worker hands over one tensor, in place of one tensor (and one open file) an image. Example: crops of 100 x 80 and
    50 x 60 pixels are a row of 3 * 100 * 80 + 3 * 50 * 60 = 33,000 bytes and the shapes (3, 100, 80), (3, 50, 60).

    Args:
        pixels: all values, (N,) uint8.
        shapes: (3, h, w) of each crop.
        mirrored: whether its view is mirrored.
    """

    def __init__(self, pixels: Tensor, shapes: Sequence[torch.Size], mirrored: Sequence[bool]) -> None:
        self.pixels, self.shapes, self.mirrored = pixels, shapes, mirrored

    @classmethod
    def of(cls, crops: Sequence[Crop]) -> CropBatch:
        """Lays crops end to end."""
        shapes, mirrored = [crop.pixels.shape for crop in crops], [crop.mirrored for crop in crops]
        return cls(torch.cat([crop.pixels.flatten() for crop in crops]), shapes, mirrored)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, part: slice) -> CropBatch:
        """The crops of a slice, without a copy of their pixels."""
        ends = [0, *accumulate(shape.numel() for shape in self.shapes)]
        start, stop, _ = part.indices(len(self))
        return CropBatch(self.pixels[ends[start] : ends[stop]], self.shapes[part], self.mirrored[part])

    def pin_memory(self) -> CropBatch:
        """A copy in pinned memory; the DataLoader calls it."""
        return CropBatch(self.pixels.pin_memory(), self.shapes, self.mirrored)

    def on(self, device: torch.device) -> Iterator[Crop]:
        """Yields each crop on a device, to which all go in one copy."""
        pieces = self.pixels.to(device, non_blocking=True).split([shape.numel() for shape in self.shapes])
        for piece, shape, mirrored in zip(pieces, self.shapes, self.mirrored, strict=True):
            yield Crop(piece.view(shape), mirrored)


class CropTransform:
    """PIL image -> Crop, with the random numbers that torchvision's RandomResizedCrop and RandomHorizontalFlip draw.

    So crops and mirrored views are those that the CPU would make for the same seed, epoch and image.
    """

    def __init__(self, cfg: CfgNode) -> None:
        size, scale = tuple(cfg.INPUT.SIZE), tuple(cfg.INPUT.RRCROP_SCALE)
        self._crop = T.RandomResizedCrop(size, scale=scale)
        self._flips = "random_flip" in cfg.INPUT.TRANSFORMS

    def __call__(self, image: Image.Image) -> Crop:
        top, left, height, width = self._crop.get_params(image, list(self._crop.scale), list(self._crop.ratio))
        pixels = TF.pil_to_tensor(image.crop((left, top, left + width, top + height)))
        return Crop(pixels, self._flips and bool(torch.rand(1) < 0.5))


def on_device(cfg: CfgNode, images: Tensor | CropBatch, device: torch.device) -> Tensor:
    """A loader's images on a device: as they are, or crops that are finished there."""
    if isinstance(images, CropBatch):
        return finished_views(cfg, images, device)
    return images.to(device, non_blocking=True)


def finished_views(cfg: CfgNode, crops: CropBatch, device: torch.device) -> Tensor:
    """Resizes, mirrors and normalises crops on a device, by the options of INPUT: the model's batch (B, 3, H, W)."""
    mode, views = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION], []
    for crop in crops.on(device):
        view = TF.resize(crop.pixels, list(cfg.INPUT.SIZE), mode, antialias=True)  # (3, H, W) uint8
        views.append(view.flip(-1) if crop.mirrored else view)
    images = torch.stack(views).float() / 255  # (B, 3, H, W)
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        return images
    return TF.normalize(images, list(cfg.INPUT.PIXEL_MEAN), list(cfg.INPUT.PIXEL_STD))


def check_options(cfg: CfgNode) -> None:
    """Raises ValueError where INPUT.ON_DEVICE is set and a transform has no part on the device."""
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
    """Joins Dassl's items into a batch, whose "img" is a CropBatch."""
    crops = CropBatch.of([item["img"] for item in items])
    return default_collate([{key: item[key] for key in item if key != "img"} for item in items]) | {"img": crops}
