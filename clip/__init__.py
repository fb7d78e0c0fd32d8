"""The names of OpenAI's `clip` package, for trainer files that were written for it; and the bundled models (mini/).

`clip.load`, `clip._MODELS`, ... are in clip/clip.py, which is imported on first use; they give a model in OpenAI's form
(clip/model.py). The methods of this project take open_clip's form, from `promptkd.model.zoo.load_clip`.
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
