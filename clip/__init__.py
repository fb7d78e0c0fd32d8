"""Prompted CLIP on open_clip models; for files written for it, the names of OpenAI's package, as it has them.

`clip.load`, `clip._MODELS`, ... are those of clip/clip.py, imported when they are asked for: they give OpenAI's form of
a model (clip/model.py). Our own trainers take open_clip's by `clip.zoo.load_clip`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import nn

from clip.tokens import tokenize
from clip.zoo import available_models

__all__ = ["available_models", "load", "tokenize"]  # noqa: F822  load is found by __getattr__
_MODULES = ("clip", "model", "simple_tokenizer")  # of OpenAI's package, each an attribute of it
_OF_CLIP = ("load", "build_model", "_MODELS", "_download", "_transform", "_tokenizer")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"clip.{name}")
    if name in _OF_CLIP:
        return getattr(import_module("clip.clip"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def image_statistics(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (per channel, of [0, 1]) that a model's images are normalised with."""
    config = getattr(model.visual, "preprocess_cfg", {})
    return tuple(config.get("mean", OPENAI_DATASET_MEAN)), tuple(config.get("std", OPENAI_DATASET_STD))
