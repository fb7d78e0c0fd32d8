"""The transforms that torchvision does not have."""

from __future__ import annotations

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomCrop
from torchvision.transforms import functional as F


class Random2DTranslation:
    """With probability p, enlarge by 1/8 and crop at random; if not, resize only.

    Args:
        height, width: size of the result, pixels.
    """

    def __init__(
        self,
        height: int,
        width: int,
        p: float = 0.5,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ) -> None:
        self.size = (height, width)
        self.p = p
        self.interpolation = interpolation

    def __call__(self, img: Image.Image) -> Image.Image:
        """Transform a PIL image."""
        if torch.rand(()).item() >= self.p:
            return F.resize(img, list(self.size), self.interpolation)
        larger = [round(side * 1.125) for side in self.size]
        img = F.resize(img, larger, self.interpolation)
        return F.crop(img, *RandomCrop.get_params(img, self.size))


class Cutout:
    """Set square holes to zero (DeVries and Taylor, arXiv:1708.04552).

    Args:
        n_holes: number of holes.
        length: their side, pixels; a hole may reach over the border.
    """

    def __init__(self, n_holes: int = 1, length: int = 16) -> None:
        self.n_holes = n_holes
        self.length = length

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Transform an image (C, H, W)."""
        height, width = img.shape[1:]
        img = img.clone()
        for _ in range(self.n_holes):
            top = int(torch.randint(height, ())) - self.length // 2
            left = int(torch.randint(width, ())) - self.length // 2
            img[:, max(0, top) : max(0, top + self.length), max(0, left) : max(0, left + self.length)] = 0
        return img


class GaussianNoise:
    """With probability p, add noise of the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, std: float = 0.15, p: float = 0.5) -> None:
        self.mean = mean
        self.std = std
        self.p = p

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Transform an image (C, H, W)."""
        if torch.rand(()).item() >= self.p:
            return img
        return img + torch.randn_like(img) * self.std + self.mean


class InstanceNormalization:
    """Give each channel of the image mean 0 and variance 1."""

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = eps

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Transform an image (C, H, W)."""
        mean = img.mean(dim=(1, 2), keepdim=True)  # (C, 1, 1)
        std = img.std(dim=(1, 2), keepdim=True)  # (C, 1, 1)
        return (img - mean) / (std + self.eps)
