"""One teacher of a run with what lies between the student's images and its logits: its view of them, and its cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from promptkd.engine.batch import Batch
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.parts import Clip
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import shape_of
from promptkd.model.zoo import image_statistics
from promptkd.teacher.cache import StoredFeatures

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel


@dataclass(frozen=True)
class ViewChange:
    """Images as another model wants them: of another size, normalised by other statistics.

    Attributes:
        size: pixels of a side; 0 leaves it.
        before, after: mean and standard deviation of each channel, of values in [0, 1].
    """

    size: int
    before: Statistics
    after: Statistics

    @classmethod
    def between(cls, cfg: CfgNode, clip: Clip) -> ViewChange | None:
        """What takes a run's images to a model's; None where they are the same."""
        before: Statistics = (tuple(cfg.INPUT.PIXEL_MEAN), tuple(cfg.INPUT.PIXEL_STD))
        after: Statistics = image_statistics(clip)
        wanted = shape_of(clip).resolution
        same = all(abs(a - b) <= 1e-4 for a, b in zip(sum(before, ()), sum(after, ()), strict=True))
        size = 0 if tuple(cfg.INPUT.SIZE) == (wanted, wanted) else wanted
        return None if same and not size else cls(size, before, before if same else after)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, size, size), float32; a view is resized whole, bicubic with antialiasing (ours).

        Normalising again is exact; what bicubic weights put outside of [0, 1] is cut off, as Pillow does.
        """
        (mean, std), (new_mean, new_std) = (
            [images.new_tensor(one, dtype=torch.float32)[:, None, None] for one in pair]
            for pair in (self.before, self.after)
        )
        with torch.autocast(images.device.type, enabled=False):
            pixels = images.float() * std + mean
            if self.size:
                pixels = F.interpolate(pixels, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
            return (pixels - new_mean) / new_std

    def __str__(self) -> str:
        parts = [f"resized to {self.size} px"] if self.size else []
        parts += ["normalised by its own mean and deviation"] if self.before != self.after else []
        return " and ".join(parts)


@dataclass
class Member:
    """A frozen teacher with class vectors.

    Attributes:
        teacher: the model.
        view: what takes a batch's images to its own; None where they are these.
        cache: its features of the training images, kept from before or for later.
        counts: "read" from the cache, and "computed" images.
    """

    teacher: PromptedClip
    view: ViewChange | None = None
    cache: StoredFeatures | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"read": 0, "computed": 0})

    @property
    def vectors(self) -> ClassVectors:
        """Its class vectors."""
        assert self.teacher.vectors is not None
        return self.teacher.vectors

    def encode(self, images: Tensor) -> Tensor:
        """Un-normalised features (B, D) of a run's images (B, 3, H, W)."""
        return self.teacher.image_features(images if self.view is None else self.view(images))

    def features(self, batch: Batch) -> Tensor:
        """Un-normalised features (B, D) of training images, from its cache where they are there."""
        if self.cache is None:
            return self.encode(batch.images)
        return self.cache.features(batch.index, batch.images, self.encode)

    def logits(self, images: Tensor) -> Tensor:
        """Its logits (B, C) of a run's images, by its own class vectors and scale."""
        return self.vectors.logits(self.encode(images))

    def about(self) -> dict[str, Any]:
        """What results.json says of it."""
        return dict(self.teacher.about) | ({"images": str(self.view)} if self.view else {})
