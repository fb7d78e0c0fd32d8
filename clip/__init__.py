"""Prompted CLIP on open_clip models; `load`, `tokenize` and `available_models` are as in OpenAI's package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import image_transform
from torch import nn

from clip.tokens import tokenize
from clip.zoo import available_models, load_clip

__all__ = ["available_models", "load", "tokenize"]


def load(name: str, device: str | torch.device = "cpu") -> tuple[nn.Module, Callable]:
    """A frozen CLIP and the transform that its images need (a PIL image -> (3, H, W)).

    Args:
        name: see `clip.zoo.load_clip`, whose errors it raises.
        device: where the model goes.
    """
    model = load_clip(name).to(device)
    mean, std = image_statistics(model)
    return model, image_transform(model.visual.image_size, is_train=False, mean=mean, std=std)


def image_statistics(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (per channel, of [0, 1]) that a model's images are normalised with."""
    config = getattr(model.visual, "preprocess_cfg", {})
    return tuple(config.get("mean", OPENAI_DATASET_MEAN)), tuple(config.get("std", OPENAI_DATASET_STD))
