"""open_clip's standard transformer block in pieces, for walks that need less than a whole block of every token.

The whole block is computed from the same pieces: one product for queries, keys and values, whose result is read in
place (nn.MultiheadAttention copies it), and F.scaled_dot_product_attention.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F


def is_standard(block: nn.Module) -> bool:
    """Whether a block is CLIP's own, which the functions below know: one packed projection, no biases on keys."""
    attention = getattr(block, "attn", None)
    return (
        type(block) is ResidualAttentionBlock
        and type(attention) is nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def whole(block: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """A block of every token: (B, L, d), mask (L, L) added to the scores -> (B, L, d)."""
    if not is_standard(block):
        return block(x, attn_mask=mask)
    q, k, v = project(block, x).unbind()
    mask = None if mask is None else mask.to(q.dtype)
    return finish(block, x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


def of_first_token(block: nn.Module, x: Tensor) -> Tensor:
    """The result of a block for its first token alone: (B, L, d) -> (B, 1, d). All tokens give keys and values."""
    if not is_standard(block):
        return block(x)[:, :1]
    q, k, v = project_apart(block, x, x[:, :1])
    return finish(block, x[:, :1], F.scaled_dot_product_attention(q, k, v))


def project(block: nn.Module, x: Tensor) -> Tensor:
    """Queries, keys and values: (B, L, d) -> (3, B, heads, L, d / heads), a view of one product."""
    attention = block.attn
    packed = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)  # (B, L, 3 d)
    return packed.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)


def project_apart(block: nn.Module, x: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of some tokens, keys and values of all: (B, L, d), (B, Q, d) -> (B, heads, Q or L, d / heads) each."""
    attention, width = block.attn, x.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q = F.linear(block.ln_1(asking), weight[:width], bias[:width])  # (B, Q, d)
    packed = F.linear(block.ln_1(x), weight[width:], bias[width:])  # (B, L, 2 d)
    k, v = packed.unflatten(-1, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    return q.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2), k, v


def finish(block: nn.Module, x: Tensor, attended: Tensor) -> Tensor:
    """What follows attention: (B, L, d) and (B, heads, L, d / heads) -> (B, L, d)."""
    x = x + block.ls_1(block.attn.out_proj(attended.transpose(1, 2).flatten(2)))
    expand, activate, contract = block.mlp
    hidden = expand(block.ln_2(x))
    # x sigmoid(1.702 x) is silu(1.702 x) / 1.702, which keeps one tensor for the backward pass where open_clip's
    # keeps two.
    hidden = F.silu(1.702 * hidden) / 1.702 if type(activate) is QuickGELU else activate(hidden)
    return x + block.ls_2(contract(hidden))


_causal: WeakKeyDictionary[nn.Module, tuple[Tensor, int, bool]] = WeakKeyDictionary()  # mask, its version, the answer


def causal(tower: nn.Module) -> bool:
    """Whether no token of a text encoder sees one behind it, and its blocks are standard."""
    mask = getattr(tower, "attn_mask", None)
    if mask is None or not all(is_standard(block) for block in tower.transformer.resblocks):
        return False
    known, version, answer = _causal.get(tower, (None, 0, False))
    if known is not mask or version != mask._version:  # asked of the device once, as the answer would be waited for
        answer = bool(torch.equal(mask, torch.full_like(mask, float("-inf")).triu_(1)))
        _causal[tower] = mask, mask._version, answer
    return answer
