"""torch.compile of a frozen image encoder, an option for GPUs: it costs a minute at the start (docs/performance.md)."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch
from open_clip.transformer import VisionTransformer

from promptkd.model.parts import Clip
from promptkd.model.prompting import walk_image

log = logging.getLogger(__name__)

VARIANTS = 32  # compiled forms of one function: student, teacher; with, without gradients; each batch size


def compile_image_encoder(clip: Clip, graphs: bool = True) -> None:
    """Compiles the walk through the blocks of a model's image encoder; `encode_image` then uses it.

    Shapes are static: each batch size, and training and evaluation, are compiled on first use. On CUDA the launches of
    a whole walk are replayed as one graph ("reduce-overhead"), unless `graphs` is False: gradients that add up over
    parts of a batch would lie in the graph's memory, which the next part writes to. An image encoder that is no Vision
    Transformer is left as it is, with a line.

    Raises:
        ValueError: torch.compile does not work on this machine; the message has its error and the options.
    """
    device = clip.logit_scale.device
    if not isinstance(clip.visual, VisionTransformer):
        log.info("MODEL.COMPILE: this image encoder is a %s, which is not compiled", type(clip.visual).__name__)
        return
    mode = "reduce-overhead" if device.type == "cuda" and graphs else "default"
    limits: Any = torch._dynamo.config  # a function with more compiled forms than its limit runs uncompiled, silently
    limits.cache_size_limit = max(limits.cache_size_limit, VARIANTS)
    build = partial(torch.compile, dynamic=False, mode=mode)
    try:
        build(torch.square)(torch.ones(4, device=device))
    except Exception as error:  # a compiler, its headers or Triton may be missing, each with another type of error
        raise ValueError(
            f"MODEL.COMPILE True: torch.compile does not work here ({' '.join(str(error).split())[:200]}): "
            "install what it misses (a C++ compiler; for CUDA also Triton), or set MODEL.COMPILE False"
        ) from error
    clip.visual.compiled_walk = build(walk_image)
