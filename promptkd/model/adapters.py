"""TFUP-T's adapters (arXiv 2404.16339, section 3.4): a residual for each class, a small network on image features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from promptkd.model.prompting import shape_of
from promptkd.model.prompts import Prompts
from promptkd.model.tokens import PromptTokens

TEXT_RATIO, IMAGE_RATIO = 0.5, 0.2  # how much of what is learned enters, as published


class AdapterPrompts(Prompts):
    """Class vectors `w' = (1 - 0.5) W + 0.5 R`, image features `f' = 0.2 A(f) + 0.8 f`; nothing else of CLIP changes.

    Args:
        clip: the frozen model.
        n_classes: C.

    Attributes:
        class_weights: W, (C, D), un-normalised features of the texts; a buffer, filled by the method.
    """

    class_weights: Tensor

    def __init__(self, clip: nn.Module, n_classes: int) -> None:
        super().__init__(clip)
        width = shape_of(clip).embed_dim
        self.register_buffer("class_weights", torch.zeros(n_classes, width))
        self.text_adapter = nn.ParameterDict({"res": nn.Parameter(torch.zeros(n_classes, width))})  # R
        linear = [nn.Linear(width, width // 4, bias=False), nn.Linear(width // 4, width, bias=False)]
        layers = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU())
        self.image_adapter = nn.ModuleDict({"fc": layers})  # A

    @property
    def learns_text(self) -> bool:
        return True

    @property
    def adapted_weights(self) -> Tensor:
        """w', (C, D), un-normalised."""
        return (1 - TEXT_RATIO) * self.class_weights + TEXT_RATIO * self.text_adapter["res"]

    def adapt(self, image_features: Tensor) -> Tensor:
        """f' of CLIP's own features: (B, D) -> (B, D), both un-normalised."""
        features = image_features.to(self.class_weights.dtype)
        return IMAGE_RATIO * self.image_adapter["fc"](features) + (1 - IMAGE_RATIO) * features

    def encode_text(self, clip: nn.Module, tokens: PromptTokens) -> Tensor:
        """w' of the classes that it was made for, which must be these: (C, D).

        Raises:
            ValueError: another number of classes.
        """
        if len(tokens) != len(self.class_weights):
            raise ValueError(
                f"adapters of {len(self.class_weights)} classes say nothing of {len(tokens)} others: evaluate the "
                "classes that they were trained on"
            )
        return self.adapted_weights

    def encode_image(self, clip: Any, images: Tensor) -> Tensor:
        """f': (B, 3, H, W) -> (B, D), not normalised."""
        return self.adapt(super().encode_image(clip, images))
