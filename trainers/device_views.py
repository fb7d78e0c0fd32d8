"""Training views whose last steps the device takes: workers decode and crop, the device resizes and normalises."""

from __future__ import annotations

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


def finish(cfg: CfgNode, crops: list[Crop], device: torch.device) -> Tensor:
    """Crops on a device -> the batch (B, 3, H, W) that a model takes, as INPUT says."""
    mode, views = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION], []
    for crop in crops:
        pixels = crop.pixels.to(device, non_blocking=True)
        view = TF.resize(pixels, list(cfg.INPUT.SIZE), mode, antialias=True)  # (3, H, W) uint8
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
    """Dassl's batch, its crops as a list, since each has a size of its own."""
    crops = [item["img"] for item in items]
    return default_collate([{key: item[key] for key in item if key != "img"} for item in items]) | {"img": crops}
