"""All that a deployed model computes, as one module: pixels in; probabilities, features and logits out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import LayerNormFp32
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.model.class_vectors import ClassVectors
from promptkd.model.prompted_clip import PromptedClip

OUTPUTS = ("probabilities", "features", "logits")


class DeployedModel(nn.Module):
    """A model with its normalisation, prompts, class vectors and scale inside.

    Args:
        model: on the CPU; it stays as it is.
        vectors: of the C classes.
        mean, std: of the three channels, for values from 0 to 1.
        instance_norm: whether each channel of each image is brought to mean 0 and deviation 1 after that.
        half: whether encoder and prompts are stored and computed in float16; the rest is float32.
    """

    mean: Tensor
    std: Tensor
    vectors: Tensor

    def __init__(
        self,
        model: PromptedClip,
        vectors: ClassVectors,
        mean: Sequence[float],
        std: Sequence[float],
        instance_norm: bool = False,
        half: bool = False,
    ) -> None:
        super().__init__()
        visual, prompts = model.clip.visual, model.prompts
        self.visual = in_half(visual) if half else visual
        self.prompts: Any = in_half(prompts) if half else prompts
        self.half_precision, self.instance_norm = half, instance_norm
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        features = vectors.features.detach().float()
        self.register_buffer("vectors", F.normalize(features, dim=-1) if vectors.kind == "unit" else features)  # (C, D)
        self.scale = float(model.logit_scale)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> probabilities (B, C), features (B, D), logits (B, C), all float32."""
        pixels = self.normalized(images.permute(0, 3, 1, 2).float() / 255)  # (B, 3, H, W)
        # Prompts ask a CLIP for its image encoder alone, which this module has.
        features = self.prompts.encode_image(self, pixels.half() if self.half_precision else pixels).float()  # (B, D)
        logits = self.scale * (F.normalize(features, dim=-1) @ self.vectors.t())
        return logits.softmax(dim=-1), features, logits

    def normalized(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) from 0 to 1 -> a model's input."""
        normal = (pixels - self.mean) / self.std
        if not self.instance_norm:
            return normal
        middle = normal.mean(dim=(2, 3), keepdim=True)
        deviation = normal.std(dim=(2, 3), keepdim=True)
        return (normal - middle) / (deviation + 1e-8)


def in_half(module: nn.Module) -> nn.Module:
    """A copy of a module in float16; norms that compute in float32 keep their weights in it."""
    halved = copy.deepcopy(module).half()
    for part in halved.modules():
        if isinstance(part, LayerNormFp32):
            part.float()
    return halved


def example_pixels(size: tuple[int, int]) -> Tensor:
    """Pixels by which the module is traced: (2, H, W, 3) uint8; a batch of 1 would be taken for the only possible."""
    height, width = size
    numbers = torch.arange(2 * height * width * 3) * 7919 % 256
    return numbers.reshape(2, height, width, 3).to(torch.uint8)
