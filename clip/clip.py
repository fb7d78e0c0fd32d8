"""What trainer files written for upstream CoOp, MaPLe or PromptSRC take from their `clip` package.

    from clip import clip
    url = clip._MODELS[name]; path = clip._download(url)
    model = clip.build_model(state_dict, design_details)

The model is that of clip/model.py. No trainer of this project uses either file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.pretrained import get_pretrained_url
from open_clip.transform import image_transform
from yacs.config import CfgNode

from clip import image_statistics
from clip.model import CLIP, CONFIG_ENTRY, build_model, convert_weights
from clip.tokens import tokenize, tokenizer
from clip.zoo import OPENAI, available_models, fetch, load_clip

__all__ = ["available_models", "build_model", "load", "load_clip_to_cpu", "tokenize"]


class _Models(dict[str, str]):
    """OpenAI's name -> URL; any other name that `clip.zoo.load_clip` knows stands for itself."""

    def __missing__(self, name: str) -> str:
        return name


_MODELS = _Models({name: get_pretrained_url(architecture, "openai") for name, architecture in OPENAI.items()})


def __getattr__(name: str) -> Any:
    if name == "_tokenizer":  # made when it is asked for: our own trainers import this module, too
        return tokenizer()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _download(url: str, root: str | None = None) -> str:
    """A local file that `torch.jit.load` or `torch.load` reads.

    Args:
        url: a value of `_MODELS`.
        root: OpenAI's download folder; weights are looked for and kept where `clip.zoo.weight_directories` says.
    """
    if url.startswith(("http://", "https://")):
        return str(fetch(url))
    path = Path(url)
    if path.suffix == ".pt" and path.is_file() and not path.with_suffix(".json").is_file():
        return url
    model = load_clip(url)
    if model.config is None:
        raise ValueError(f"{url} is no plain CLIP: a trainer written for OpenAI's package cannot take it apart")
    state = model.state_dict()
    if model.config:
        state[CONFIG_ENTRY] = torch.tensor(list(json.dumps(model.config).encode()), dtype=torch.uint8)
    target = Path(tempfile.gettempdir()) / f"clip_{hashlib.sha256(url.encode()).hexdigest()[:16]}.pt"
    partial = target.with_suffix(f".{os.getpid()}.part")
    torch.save(state, partial)
    os.replace(partial, target)
    return str(target)


def load(
    name: str, device: str | torch.device = "cpu", jit: bool = False, download_root: str | None = None
) -> tuple[CLIP, Callable]:
    """A model by its name, and the transform that its images need; float32 on a CPU. `jit` is not read."""
    model = load_clip(name)
    transform = image_transform(model.visual.image_size, False, *image_statistics(model))
    wrapped = CLIP(model).to(device)
    if torch.device(device).type != "cpu":
        convert_weights(wrapped)
    return wrapped.eval(), transform


def load_clip_to_cpu(cfg: CfgNode) -> CLIP:
    """The backbone of a configuration as upstream's trainers/coop.py loads it: half matrices, on the CPU."""
    model = CLIP(load_clip(cfg.MODEL.BACKBONE.NAME))
    convert_weights(model)
    return model.eval()
