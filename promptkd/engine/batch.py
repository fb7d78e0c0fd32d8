"""A training batch on the device."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B training images.

    Attributes:
        images: (B, 3, H, W), normalised as the model wants them.
        labels: (B,) of the classes that train; None for a method that learns without labels.
        index: (B,) numbers of the images in the training set, on the CPU.
    """

    images: Tensor
    labels: Tensor | None
    index: Tensor

    def __len__(self) -> int:
        return len(self.images)
