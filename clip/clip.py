"""The functions that trainer files written for upstream CoOp, MaPLe or PromptSRC take from their `clip` package.

    from clip import clip
    url = clip._MODELS[name]; path = clip._download(url)
    model = clip.build_model(state_dict, design_details)

The model is that of clip/model.py. No trainer of this project uses either file.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.pretrained import get_pretrained_url
from open_clip.transform import image_transform
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from promptkd.files import replacing
from promptkd.model.tokens import tokenize, tokenizer
from promptkd.model.zoo import OPENAI, available_models, fetch, image_statistics, load_clip

from .model import CLIP, CONFIG_ENTRY, build_model, convert_weights

__all__ = ["available_models", "build_model", "load", "load_clip_to_cpu", "tokenize"]


class _Models(dict[str, str]):
    """OpenAI's name -> URL; any other name that `promptkd.model.zoo.load_clip` knows stands for itself."""

    def __missing__(self, name: str) -> str:
        return name


_MODELS = _Models({name: get_pretrained_url(architecture, "openai") for name, architecture in OPENAI.items()})


def __getattr__(name: str) -> Any:
    if name == "_tokenizer":  # made on first use: our trainers import this module as well
        return tokenizer()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _download(url: str, root: str | None = None) -> str:
    """The path of a local file that `torch.jit.load` or `torch.load` reads.

    Args:
        url: a value of `_MODELS`.
        root: OpenAI's download folder, which is not used: see `promptkd.model.zoo.weight_directories`.
    """
    if url.startswith(("http://", "https://")):
        checksum, url = url.split("/")[-2], str(fetch(url))
        if _sha256(Path(url)) == checksum:
            return url
    # `torch.jit.load` runs code of a file: any that no checksum vouches for is handed on as the plain tensors in it.
    model = load_clip(url)
    if model.config is None:
        raise ValueError(f"{url} is no plain CLIP: a trainer written for OpenAI's package cannot take it apart")
    state = model.state_dict()
    if model.config:
        state[CONFIG_ENTRY] = torch.tensor(list(json.dumps(model.config).encode()), dtype=torch.uint8)
    target = Path(tempfile.gettempdir()) / f"clip_{hashlib.sha256(url.encode()).hexdigest()[:16]}.pt"
    with replacing(target) as partial:
        torch.save(state, partial)
    return str(target)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**24):
            digest.update(part)
    return digest.hexdigest()


def load(
    name: str, device: str | torch.device | None = None, jit: bool = False, download_root: str | None = None
) -> tuple[CLIP, Callable[[Image.Image], Tensor]]:
    """A model by its name, and the transform for its images.

    Args:
        name: see `promptkd.model.zoo.load_clip`, whose errors it raises.
        device: of the model; None for CUDA where there is one. Except on a CPU, matrices are in half precision.
        jit: not used, the model is never TorchScript.
        download_root: not used, see `promptkd.model.zoo.weight_directories`.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = load_clip(name)
    transform = image_transform(model.visual.image_size, False, *image_statistics(model))
    wrapped = CLIP(model).to(device).eval()
    if device.type != "cpu":
        convert_weights(wrapped)
    return wrapped, transform


def _transform(n_px: int) -> Callable[[Image.Image], Tensor]:
    """The transform of images for OpenAI's models: PIL -> (3, n_px, n_px)."""
    return image_transform(n_px, is_train=False)


def load_clip_to_cpu(cfg: CfgNode) -> CLIP:
    """The backbone of a configuration as upstream's trainers/coop.py loads it: half matrices, on the CPU."""
    model = CLIP(load_clip(cfg.MODEL.BACKBONE.NAME))
    convert_weights(model)
    return model.eval()
