"""Where an image encoder looks: the attention of its class token in the last block, over the patches of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from promptkd.model import blocks

if TYPE_CHECKING:
    from promptkd.model.prompted_clip import PromptedClip


def has_attention(model: PromptedClip) -> bool:
    """Whether `attention_maps` can be asked for: a Vision Transformer with standard blocks, read at its class token."""
    visual = model.clip.visual
    return (
        isinstance(visual, VisionTransformer)
        and visual.transformer.batch_first
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not hasattr(visual, "compiled_walk")
        and blocks.is_standard(visual.transformer.resblocks[-1])
    )


@torch.no_grad()
def attention_maps(model: PromptedClip, images: Tensor) -> Tensor:
    """The share of the class token's attention that falls on each patch, in the last block, the mean over its heads.

    The token's attention to itself and to learned tokens is left out: a map's sum is what is left for the patches.

    Args:
        model: see `has_attention`.
        images: (B, 3, H, W), as the model wants them.

    Returns:
        (B, rows, columns) of the patch grid, each 0 to 1.
    """
    visual = model.clip.visual
    last = visual.transformer.resblocks[-1]
    seen: list[Tensor] = []  # what ln_1 gives: for all tokens, and for the first alone
    handle = last.ln_1.register_forward_hook(lambda module, given, result: seen.append(result))
    try:
        model.image_features(images.to(model.device))
    finally:
        handle.remove()
    tokens = max(seen, key=lambda one: one.shape[1])  # (B, L, d): class, patches, learned tokens
    attention, width = last.attn, tokens.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    queries = F.linear(tokens[:, :1], weight[:width], bias[:width])  # (B, 1, d)
    keys = F.linear(tokens, weight[width : 2 * width], bias[width : 2 * width])  # (B, L, d)
    q, k = (one.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for one in (queries, keys))
    shares = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().softmax(dim=-1).mean(dim=1)[:, 0]  # (B, L)
    rows, columns = visual.grid_size
    return shares[:, 1 : 1 + rows * columns].unflatten(1, (rows, columns))
