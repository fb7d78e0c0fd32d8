"""torch.compile of a frozen image encoder, an option for GPUs: it costs a minute at the start (docs/performance.md)."""

from __future__ import annotations

from functools import partial

import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from promptkd.model.prompting import walk_image

VARIANTS = 32  # of one function: student and teacher, with and without gradients, and each batch size


def compile_image_encoder(clip: nn.Module, graphs: bool = True) -> None:
    """Compiles the walk through the blocks of a model's image encoder; `encode_image` then uses it.

    Shapes are static: each batch size, and training and evaluation, are compiled on first use. On CUDA the launches of
    a whole walk are replayed as one graph ("reduce-overhead"), unless `graphs` is False: gradients that add up over
    parts of a batch would lie in the graph's memory, which the next part writes to. An image encoder that is no Vision
    Transformer is left as it is, which a line says.

    Raises:
        ValueError: torch.compile does not work on this machine; the message says what is missing.
    """
    device = clip.logit_scale.device
    if not isinstance(clip.visual, VisionTransformer):
        print(f"MODEL.COMPILE: this image encoder is a {type(clip.visual).__name__}, which is not compiled")
        return
    mode = "reduce-overhead" if device.type == "cuda" and graphs else "default"
    limits = torch._dynamo.config  # beyond its limit a function silently runs uncompiled
    limits.cache_size_limit = max(limits.cache_size_limit, VARIANTS)
    build = partial(torch.compile, dynamic=False, mode=mode)
    try:
        build(torch.square)(torch.ones(4, device=device))
    except Exception as error:  # a compiler, its headers or Triton may be missing, each with a type of its own
        raise ValueError(
            f"MODEL.COMPILE True: torch.compile does not work here ({' '.join(str(error).split())[:200]}): "
            "install what it misses (a C++ compiler; for CUDA also Triton), or set MODEL.COMPILE False"
        ) from error
    clip.visual.compiled_walk = build(walk_image)
