"""TFUP's cache (arXiv 2404.16339): representative images of each class, and classification by likeness to them.

Functions of tensors; what is compared are class distributions, whose small divergences need float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SOFTNESS = 10.0  # factor of the cosines in the distributions that are compared, as published


def class_probabilities(image_features: Tensor, class_weights: Tensor) -> Tensor:
    """`softmax(10 cos(f, w))` in float64: (N, D), (C, D), of any norm -> (N, C)."""
    cosines = F.normalize(image_features.double(), dim=-1) @ F.normalize(class_weights.double(), dim=-1).t()
    return (SOFTNESS * cosines).softmax(dim=-1)


def representatives(probabilities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The images that stand for each class: among the 2K likeliest, the K that are closest to all of these (sec. 3.2).

    The prototype score of candidate j is `sum_m KL(P_j || P_m)` over the candidates m. An image may stand for several
    classes. Equal values go by the order of the list.

    Args:
        probabilities: P, (N, C).
        count: K, images a class; all N where there are fewer.

    Returns:
        Numbers of images (C * min(K, N),), class by class, the best first; and the classes, of the same shape.
    """
    p = probabilities.double().clamp_min(torch.finfo(torch.float64).tiny)  # (N, C)
    entropy = (p * p.log()).sum(dim=-1)  # (N,), negative
    candidates, kept = min(2 * count, len(p)), min(count, len(p))
    rows = []
    for label in range(p.shape[1]):
        likeliest = p[:, label].argsort(descending=True, stable=True)[:candidates]  # (2K,)
        among = p[likeliest]
        score = candidates * entropy[likeliest] - among @ among.log().sum(dim=0)
        rows.append(likeliest[score.argsort(stable=True)[:kept]])
    labels = torch.arange(p.shape[1], device=p.device).repeat_interleave(kept)
    return torch.cat(rows), labels


@dataclass(frozen=True)
class FeatureCache:
    """Images of known class: J keys.

    Attributes:
        keys: (J, D) image features, of any norm.
        labels: (J,) of their classes.
    """

    keys: Tensor
    labels: Tensor

    def similarity(self, image_features: Tensor, class_weights: Tensor) -> Tensor:
        """Semantic similarity of T images and the keys: 2 for the closest class distribution, 0 for the furthest.

        Where all keys are equally far, all are the closest.

        Args:
            image_features: (T, D).
            class_weights: (C, D).

        Returns:
            (T, J) float64.
        """
        tiny = torch.finfo(torch.float64).tiny
        p = class_probabilities(image_features, class_weights).clamp_min(tiny)  # (T, C)
        q = class_probabilities(self.keys, class_weights).clamp_min(tiny)  # (J, C)
        divergence = (p * p.log()).sum(dim=-1, keepdim=True) - p @ q.log().t()  # KL(p || q), (T, J)
        least, most = divergence.min(dim=-1, keepdim=True).values, divergence.max(dim=-1, keepdim=True).values
        spread = most - least
        return 2 * (1 - (divergence - least) / torch.where(spread > 0, spread, torch.ones_like(spread)))

    def logits(self, image_features: Tensor, class_weights: Tensor, beta: float = 1.0) -> Tensor:
        """`sum_{j of class c} exp(-beta (1 - cos(f, k_j) sim_j))`: (T, D), (C, D) -> (T, C) float32."""
        similarity = self.similarity(image_features, class_weights).float()  # (T, J)
        cosines = F.normalize(image_features.float(), dim=-1) @ F.normalize(self.keys.float(), dim=-1).t()
        affinity = torch.exp(-beta * (1 - cosines * similarity))  # (T, J)
        return affinity @ F.one_hot(self.labels, len(class_weights)).to(affinity)
