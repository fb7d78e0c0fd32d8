"""Prompted CLIP on open_clip models; for files written for it, the names of OpenAI's package, as it has them.

`clip.load`, `clip._MODELS`, ... are those of clip/clip.py, imported when they are asked for: they give OpenAI's form of
a model (clip/model.py). Our own trainers take open_clip's by `promptkd.model.zoo.load_clip`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from promptkd.model.tokens import tokenize
from promptkd.model.zoo import available_models, image_statistics

__all__ = [  # noqa: F822  load is found by __getattr__
    "OPENAI_DATASET_MEAN",
    "OPENAI_DATASET_STD",
    "available_models",
    "image_statistics",
    "load",
    "tokenize",
]
_MODULES = ("clip", "model", "simple_tokenizer")  # of OpenAI's package, each an attribute of it
_OF_CLIP = ("load", "build_model", "_MODELS", "_download", "_transform", "_tokenizer")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _OF_CLIP:
        return getattr(import_module(f"{__name__}.clip"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
