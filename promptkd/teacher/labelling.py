"""The zero-shot pass of one or several CLIPs over images without labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.teacher.pool import Pool


def zero_shot(name: str, template: str, precision: Precision) -> PromptedClip:
    """A CLIP with a hand-written template, frozen."""
    about = {"backbone": name, "trainer": "ZeroshotCLIP", "source": name}
    return PromptedClip(load_clip(name), PromptSpec(), precision, templates=[template], about=about).freeze()


@torch.no_grad()
def mean_probabilities(
    pool: Pool, labellers: Sequence[str], classnames: Sequence[str], template: str, precision: Precision
) -> Tensor:
    """Class probabilities (N, C) of the weak views, float32 on the CPU: the mean over the labelling CLIPs.

    Each sees the images at its own size, and has its own scale; what is averaged are probabilities, not logits (UPL,
    arXiv 2204.03649, section 3.4).

    Raises:
        ValueError: no such CLIP.
    """
    total = torch.zeros(len(pool), len(classnames))
    for name in labellers:
        model = zero_shot(name, template, precision)
        features = pool.weak_features(model)  # (N, D)
        vectors = model.class_vectors(classnames).to("cpu")
        total += vectors.logits(features).softmax(dim=-1)
    return total / len(labellers)
