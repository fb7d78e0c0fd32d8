"""How pictures are varied before the bundled CLIPs see them (assets/train_mini.py)."""

import math

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def lines(rgba: Tensor, chosen: Tensor) -> Tensor:
    """Draw dark outlines round and in the pictures that `chosen` (B,) marks; rgba (B, 4, S, S) premultiplied, 0..1."""
    part = rgba[chosen]
    grey = part[:, :3].mean(1, keepdim=True) + 0.7 * part[:, 3:]  # (b, 1, S, S)
    edge = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)  # largest minus smallest of 3x3
    line = ((edge - 0.25) * 6).clamp_(0, 1)
    fade = torch.rand(len(part), 1, 1, 1).mul_(1.4).clamp_(max=1)  # how much of the fill's colour stays
    alpha = part[:, 3:]
    fill = part[:, :3] * fade + alpha * (1 - fade)
    rgba[chosen] = torch.cat([fill * (1 - line), torch.maximum(alpha, line)], 1)
    return rgba


def warp(rgba: Tensor) -> Tensor:
    """Random rotation, scale, stretch, shear, shift and flip, one per picture; (B, 4, S, S) to the same."""
    count = len(rgba)
    angle = torch.randn(count) * 0.15
    scale = torch.empty(count).uniform_(math.log(0.85), math.log(1.4)).exp_()  # above 1: smaller
    stretch = (torch.randn(count) * 0.08).exp()
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin, shear = angle.cos() * scale, angle.sin() * scale, torch.randn(count) * 0.08
    theta = torch.stack(
        [
            torch.stack([flip * cos * stretch, -sin + shear, torch.randn(count) * 0.08], 1),
            torch.stack([flip * sin, cos / stretch, torch.randn(count) * 0.08], 1),
        ],
        1,
    )  # (B, 2, 3)
    return F.grid_sample(rgba, F.affine_grid(theta, list(rgba.shape), align_corners=False), align_corners=False)


def recolour(rgb: Tensor) -> Tensor:
    """Random brightness, contrast, colour mixing (hue and saturation) and a light from one side; (B, 3, S, S), 0..1."""
    count, size = len(rgb), rgb.shape[-1]
    luma = torch.tensor([0.3, 0.59, 0.11]).expand(count, 3, 3)  # (B, 3, 3): rows that all give grey
    saturation = torch.empty(count, 1, 1).uniform_(0.3, 1.5)
    saturation[torch.rand(count) < 0.1] = 0
    mix = (torch.eye(3) + 0.12 * torch.randn(count, 3, 3)) @ (saturation * torch.eye(3) + (1 - saturation) * luma)
    gain = (torch.randn(count, 1, 1) * 0.2).exp()
    rgb = (mix @ rgb.flatten(2) * gain + torch.randn(count, 3, 1) * 0.05).view_as(rgb)
    ramp = torch.linspace(-1, 1, size)
    slope = torch.randn(count, 2, 1, 1, 1) * 0.2
    return rgb.mul_(1 + slope[:, 0] * ramp.view(1, 1, size, 1) + slope[:, 1] * ramp).clamp_(0, 1)


def augment(raw: Tensor, strength: float = 1.0) -> Tensor:
    """Make training images (B, 3, S, S), CLIP-normalised, of stored pictures (B, S, S, 4) uint8.

    strength (0..1) scales how many of them get lines, other colours, a tinted page and blur; all are warped.
    """
    rgba = raw.permute(0, 3, 1, 2).float().div_(255)
    rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    count = len(rgba)
    rgba = warp(lines(rgba, torch.rand(count) < 0.35 * strength))
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    rgb = torch.where((torch.rand(count) < 0.85 * strength).view(-1, 1, 1, 1), recolour(rgb), rgb)
    page = torch.ones(count, 3, 1, 1)
    tinted = torch.rand(count) < 0.35 * strength
    page[tinted] = torch.rand(int(tinted.sum()), 3, 1, 1)
    image = rgb * alpha.gt(0) + (1 - alpha) * page
    blurred = torch.rand(count) < 0.2 * strength
    image[blurred] = F.avg_pool2d(image[blurred], 3, 1, 1, count_include_pad=False)
    image += torch.randn(image.shape) * (torch.rand(count, 1, 1, 1) * 0.04)
    return (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
