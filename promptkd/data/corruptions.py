"""Common corruptions of images: ImageNet-C's kinds (Hendrycks and Dietterich, arXiv 1903.12261) at five severities.

Strengths are those of ImageNet-C. What differs, and is ours: corruptions are applied to the image as the model sees it,
after resizing and cropping; lengths of blurs are in proportion to 224 pixels; motion goes along the diagonal; glass
blur, frost, snow, spatter and the elastic transform are not here (frost needs photographs). Noise follows from the
image's pixels, so each method sees the same.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import functional as TF

REFERENCE = 224  # pixels, for which ImageNet-C's lengths are


def corrupted(pixels: Tensor, kind: str, severity: int) -> Tensor:
    """Images with a corruption: (B, 3, H, W) in [0, 1] -> the same.

    Args:
        pixels: of B images.
        kind: one of KINDS.
        severity: 1 to 5.
    """
    corrupt, strengths = KINDS[kind]
    images = [corrupt(image, strengths[severity - 1], _generator(image, kind, severity)) for image in pixels.cpu()]
    return torch.stack(images).clamp(0, 1).to(pixels)


def _generator(image: Tensor, kind: str, severity: int) -> torch.Generator:
    """Random numbers that follow from an image's pixels, as 8-bit numbers, and from what is done to it."""
    seed = zlib.crc32((image * 255).round().to(torch.uint8).numpy().tobytes(), zlib.crc32(f"{kind}{severity}".encode()))
    return torch.Generator().manual_seed(seed)


def _normal(image: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(image.shape, generator=random)


def _gaussian_noise(image: Tensor, std: float, random: torch.Generator) -> Tensor:
    return image + std * _normal(image, random)


def _shot_noise(image: Tensor, photons: float, random: torch.Generator) -> Tensor:
    return torch.poisson(image * photons, generator=random) / photons


def _impulse_noise(image: Tensor, share: float, random: torch.Generator) -> Tensor:
    drawn = torch.rand(image.shape, generator=random)  # salt, pepper, or the value as it is
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn < share, 1.0, image))


def _speckle_noise(image: Tensor, std: float, random: torch.Generator) -> Tensor:
    return image + image * std * _normal(image, random)


def _blurred(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with a kernel (k, k) of odd size, edges repeated."""
    margin = kernel.shape[-1] // 2
    padded = F.pad(image[None], (margin,) * 4, mode="replicate")
    return F.conv2d(padded, (kernel / kernel.sum()).expand(3, 1, -1, -1), groups=3)[0]


def _gaussian_kernel(sigma: float) -> Tensor:
    place = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    line = torch.exp(-(place**2) / (2 * sigma**2))
    return line[:, None] * line[None, :]


def _gaussian_blur(image: Tensor, sigma: float, random: torch.Generator) -> Tensor:
    return _blurred(image, _gaussian_kernel(sigma * image.shape[-1] / REFERENCE))


def _defocus_blur(image: Tensor, radius: float, random: torch.Generator) -> Tensor:
    length = max(radius * image.shape[-1] / REFERENCE, 0.5)
    place = torch.arange(-math.ceil(length), math.ceil(length) + 1)
    distance = (place[:, None] ** 2 + place[None, :] ** 2).sqrt()
    return _blurred(image, (length + 0.5 - distance).clamp(0, 1))  # a disk, whose edge is smooth


def _motion_blur(image: Tensor, strength: tuple[float, float], random: torch.Generator) -> Tensor:
    radius, sigma = (max(value * image.shape[-1] / REFERENCE, 0.5) for value in strength)
    length = 2 * math.ceil(radius)
    place = torch.arange(-length, length + 1)
    # It fades along the way, which goes from each pixel to one side.
    return _blurred(image, torch.diag(torch.where(place >= 0, torch.exp(-(place**2) / (2 * sigma**2)), 0.0)))


def _zoom_blur(image: Tensor, strength: tuple[float, float], random: torch.Generator) -> Tensor:
    most, step = strength
    layers, size = [image], list(image.shape[-2:])
    for number in range(1, round((most - 1) / step)):
        larger = [round(side * (1 + number * step)) for side in size]
        layers.append(TF.center_crop(TF.resize(image, larger, antialias=True), size))
    return torch.stack(layers).mean(dim=0)


def _fog(image: Tensor, strength: tuple[float, float], random: torch.Generator) -> Tensor:
    """A plasma of halving scales over the image, which loses contrast."""
    amount, decay = strength
    height, width = image.shape[-2:]
    plasma, share, cells = torch.zeros(height, width), 1.0, 2
    while cells <= max(height, width):
        noise = torch.rand((1, 1, cells, cells), generator=random)
        plasma += share * F.interpolate(noise, (height, width), mode="bilinear", align_corners=False)[0, 0]
        share, cells = share / decay, 2 * cells
    plasma = (plasma - plasma.min()) / (plasma.max() - plasma.min())
    most = float(image.max())
    return (image + amount * plasma) * most / (most + amount)


def _brightness(image: Tensor, added: float, random: torch.Generator) -> Tensor:
    value = image.amax(dim=0, keepdim=True)  # of hue, saturation, value
    return torch.where(value > 0, image * (value + added).clamp(max=1) / value.clamp(min=1e-6), added)


def _contrast(image: Tensor, factor: float, random: torch.Generator) -> Tensor:
    mean = image.mean(dim=(1, 2), keepdim=True)
    return (image - mean) * factor + mean


def _saturate(image: Tensor, strength: tuple[float, float], random: torch.Generator) -> Tensor:
    factor, added = strength
    value = image.amax(dim=0, keepdim=True)
    saturation = (value - image.amin(dim=0, keepdim=True)) / value.clamp(min=1e-6)
    wanted = (saturation * factor + added).clamp(0, 1)
    return value - (value - image) * wanted / saturation.clamp(min=1e-6)


def _pixelate(image: Tensor, factor: float, random: torch.Generator) -> Tensor:
    size = list(image.shape[-2:])
    small = TF.resize(image, [max(round(side * factor), 1) for side in size], antialias=True)
    return TF.resize(small, size, interpolation=TF.InterpolationMode.NEAREST)


def _jpeg_compression(image: Tensor, quality: int, random: torch.Generator) -> Tensor:
    array = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    content = io.BytesIO()
    Image.fromarray(array).save(content, "JPEG", quality=quality)
    decoded = np.array(Image.open(content).convert("RGB"))
    return torch.from_numpy(decoded).permute(2, 0, 1).float() / 255


# Kind -> what does it, and its strength by severity.
KINDS: dict[str, tuple[Callable[..., Tensor], tuple]] = {
    "gaussian_noise": (_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": (_speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "gaussian_blur": (_gaussian_blur, (1, 2, 3, 4, 6)),
    "defocus_blur": (_defocus_blur, (3, 4, 6, 8, 10)),
    "motion_blur": (_motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": (_zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    "fog": (_fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "saturate": (_saturate, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (_jpeg_compression, (25, 18, 15, 10, 7)),
}
