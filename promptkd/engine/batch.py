"""A training batch on the device."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B training images.

    Attributes:
        images: (B, 3, H, W), normalised as the model wants them; (B, 0) of a run that reads stored features instead.
        labels: (B,) of the classes that train; None for a method that learns without labels.
        index: (B,) numbers of the images in the training set, on the CPU.
    """

    images: Tensor
    labels: Tensor | None
    index: Tensor

    @property
    def known_labels(self) -> Tensor:
        """The labels (B,), of a method that learns from them."""
        assert self.labels is not None, "the method's supervision says that it reads no labels"
        return self.labels

    def __len__(self) -> int:
        return len(self.images)
