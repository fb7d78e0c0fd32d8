"""Class vectors in closed form, from texts and the features of a few labelled images: no gradient, any image tower.

A linear classifier `w_c . x + b_c` of the images' unit features x is found, and becomes one direction for each class,
which is added to the class's text. Its weights are those of a ridge regression to the labels, of Gaussians with a
shared covariance (GDA: Wang et al., ICLR 2024, arXiv 2402.04087), or class means. That all of it ends in one unit
vector a class, which is compared by cosine like any other class vector here, is ours, and how: `add_to_texts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from promptkd.model.class_vectors import ClassVectors, has_text
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.ridge import RidgeRegression

METHODS = ("gda", "ridge", "mean")


@dataclass(frozen=True)
class Directions:
    """What labelled images say of C classes, in float64.

    Attributes:
        rows: (C, D), one direction for each class, of sum 0 over the classes and root-mean-square norm 1.
        common: (D,), the unit vector to which all images are near: the direction of their mean.
    """

    rows: Tensor
    common: Tensor


def find_directions(features: Tensor, labels: Tensor, classes: int, method: str, strength: float) -> Directions:
    """The directions of a linear classifier.

    A cosine has no bias b_c; it is put into the direction, as the multiple of `common` that comes nearest to b_c on the
    images: all of them have a similar share of it. What all directions have in common is taken away: it decides nothing
    between these classes, and the mean of their logits stays that of their texts, to which classes that have texts
    alone are compared.

    Args:
        features: (N, D) of any norm.
        labels: (N,) from 0 to C - 1, at least one of each.
        classes: C.
        method: "gda", "ridge" or "mean".
        strength: of the shrinkage of gda or of the ridge, above 0.

    Raises:
        ValueError: a class has no image, or the images tell no class from another.
    """
    x = F.normalize(features.double(), dim=-1)
    counts = torch.bincount(labels, minlength=classes)
    if empty := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(f"{len(empty)} of {classes} classes have no labelled image, first number {empty[0]}")
    mean = x.mean(dim=0)
    if method == "ridge":
        regression = RidgeRegression(x.shape[1], classes)
        regression.add(x, F.one_hot(labels, classes))
        weights, biases = regression.solve(strength)
    else:
        means = torch.zeros(classes, x.shape[1], dtype=x.dtype).index_add_(0, labels, x) / counts[:, None]
        centred = means - mean  # (C, D)
        weights = _whitened(centred, x - means[labels], strength) if method == "gda" else centred
        biases = -0.5 * (weights * centred).sum(dim=1) - weights @ mean
    common = F.normalize(mean, dim=0)
    share = x @ common  # (N,)
    rows = weights + (biases * share.mean() / share.square().mean())[:, None] * common
    rows = rows - rows.mean(dim=0)
    size = rows.square().sum(dim=1).mean().sqrt()
    if not size > 1e-12:
        raise ValueError("the labelled images tell no class from another: are all their features the same?")
    return Directions(rows / size, common)


def _whitened(means: Tensor, within: Tensor, strength: float) -> Tensor:
    """`P m_c` with GDA's precision matrix P up to its scale, `((N - 1) S + strength tr(S) I)^-1` (arXiv 2402.04087).

    Strength 1 is the paper's estimate (by Kubokawa and Srivastava), for fewer images than channels too.

    Args:
        means: m_c, (C, D), centred.
        within: (N, D), images less the mean of their class, of the covariance S.
    """
    number, channels = within.shape
    covariance = within.t() @ within / number
    trace = covariance.trace().clamp(min=1e-12)  # one image a class: nothing is known of S, and P is I
    matrix = (number - 1) * covariance + strength * trace * torch.eye(channels, dtype=within.dtype)
    return torch.linalg.solve(matrix, means.t()).t() * trace


def add_to_texts(texts: Tensor | None, directions: Directions, weight: float) -> Tensor:
    """Class vectors (C, D) of unit norm: `t_c + (1 - weight) / weight a_c + g u`, normalised.

    a_c are the directions, and u what all images are near to; g, the same for all classes, is such that the vectors lie
    as near to u, in the mean, as the texts do. So neither these classes nor those with texts alone gain by it.

    Args:
        texts: t_c, (C, D) of unit norm; None: the directions alone.
        directions: of the same classes.
        weight: of the texts, from 0 (the directions alone) to 1 (the texts as they are).
    """
    if texts is None or weight == 0:
        return F.normalize(directions.rows, dim=-1).float()
    if weight == 1:
        return texts.float()
    texts, common = texts.double(), directions.common
    sums = texts + (1 - weight) / weight * directions.rows
    wanted = (texts @ common).mean()
    low, high = -1e3, 1e3
    for _ in range(80):  # the nearness grows with g
        middle = (low + high) / 2
        near = (F.normalize(sums + middle * common, dim=-1) @ common).mean()
        low, high = (middle, high) if near < wanted else (low, middle)
    return F.normalize(sums + (low + high) / 2 * common, dim=-1).float()


def every_fourth(labels: Tensor) -> Tensor:
    """A choice (N,) of every fourth image of each class, of fewer than four the last; of one image none.

    Args:
        labels: (N,), from 0 on.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().flatten()
        if len(rows) > 1:
            chosen[rows[min(3, len(rows) - 1) :: 4]] = True
    return chosen


def described(vectors: Tensor, classnames: Sequence[str], scale: float, source: dict[str, str]) -> ClassVectors:
    """Class vectors (C, D) with names, scale and origin, to which a hash of them is added as "weights"."""
    digest = hashlib.sha256(vectors.contiguous().numpy().tobytes()).hexdigest()[:16]
    return ClassVectors(tuple(classnames), vectors, scale, source | {"weights": digest})


def completed(stored: ClassVectors, model: PromptedClip, classnames: Sequence[str]) -> ClassVectors:
    """Stored class vectors, and for names that have none a model's of their texts; as stored without a text encoder.

    Args:
        stored: of some classes, on the model's device.
        model: of the same CLIP, with hand-written templates and no class vectors of its own.
        classnames: all names that are wanted.
    """
    missing = [name for name in dict.fromkeys(classnames) if name not in stored.classnames]
    if not missing or not has_text(model.clip):
        return stored
    texts = model.class_vectors(missing).features.to(stored.features)
    names = (*stored.classnames, *missing)
    return replace(stored, classnames=names, features=torch.cat([stored.features, texts]))
