"""open_clip's standard transformer block in pieces, for callers that need its result for some tokens only.

A block of CLIP is x + attention(norm(x)), then x + MLP(norm(x)). The pieces are `project` (queries, keys and values of
all tokens), `project_apart` (queries of some tokens), `attend`, and `finish` (all that follows).
The whole block is computed from the same pieces: one product for queries, keys and values, whose result is read in
place (nn.MultiheadAttention copies it).

Shapes, for ViT-B/16's image encoder with 32 images: x is (B, L, d) = (32, 197, 768), with 12 heads of 64 channels:
queries, keys and values are (32, 12, 197, 64) each.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.model.parts import Block, TextTower

SCORES_AT_ONCE = 2**22  # of attention by products: 8 MiB, one image at least; fewer at a time gained nothing


def is_standard(block: Block) -> bool:
    """Whether a block is CLIP's standard one, which the functions below need: one packed projection, no key biases."""
    attention = getattr(block, "attn", None)
    return (
        type(block) is ResidualAttentionBlock
        and type(attention) is nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def whole(block: Block, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The result of a block for every token: (B, L, d) -> (B, L, d); a mask (L, L) is added to the scores."""
    if not is_standard(block):
        return block(x, attn_mask=mask)
    q, k, v = project(block, x).unbind()
    return finish(block, x, attend(q, k, v, None if mask is None else mask.to(q.dtype)))


def of_first_token(block: Block, x: Tensor) -> Tensor:
    """The result of a block for its first token alone: (B, L, d) -> (B, 1, d).

    It is the last block's for CLIP's class token, which alone is read. All tokens give keys and values, but only one
    query is asked and only one token passes the MLP.
    """
    if not is_standard(block):
        return block(x)[:, :1]
    q, k, v = project_apart(block, x, x[:, :1])
    return finish(block, x[:, :1], attend(q, k, v))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`softmax(q k^T / sqrt(c) + mask) v`: torch's scaled_dot_product_attention, or products of bfloat16 on a CPU.

    On a CPU torch's takes bfloat16 no quicker than float32 (measured with AVX512-BF16; docs/performance.md), where
    plain products are 2 to 3 times as quick. Their scores are rounded to bfloat16.

    Args:
        q: (B, heads, Q, c).
        k, v: (B, heads, L, c).
        mask: (Q, L), added to the scores.

    Returns:
        (B, heads, Q, c), whose heads lie side by side in memory: (B, Q, heads, c).
    """
    if mask is not None or q.dtype is not torch.bfloat16 or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    images = max(1, SCORES_AT_ONCE // (q.shape[1] * q.shape[2] * k.shape[2]))
    parts = zip(q.split(images), k.split(images), v.split(images), strict=True)
    return torch.cat([_by_products(*part) for part in parts]).transpose(1, 2)


def _by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of b images, (b, heads, Q, c) and (b, heads, L, c) twice -> (b, Q, heads, c)."""
    rows = [one.flatten(0, 1) for one in (q, k, v)]  # (b * heads, Q or L, c)
    none = q.new_zeros(1, 1, 1)
    scores = torch.baddbmm(none, rows[0], rows[1].transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), rows[2]).unflatten(0, q.shape[:2]).transpose(1, 2)


def project(block: Block, x: Tensor) -> Tensor:
    """Queries, keys and values: (B, L, d) -> (3, B, heads, L, d / heads), a view of one product.

    Example: (32, 197, 768) with 12 heads -> (3, 32, 12, 197, 64).
    """
    attention = block.attn
    packed = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)  # (B, L, 3 d)
    split = packed.unflatten(-1, (3, attention.num_heads, -1))  # (B, L, 3, heads, d / heads)
    return split.permute(2, 0, 3, 1, 4)


def project_apart(block: Block, x: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of some tokens, keys and values of all.

    Args:
        block: a standard block.
        x: (B, L, d), all tokens.
        asking: (B, Q, d), the tokens whose results are wanted.

    Returns:
        Queries (B, heads, Q, d / heads), keys and values (B, heads, L, d / heads).
    """
    attention, width = block.attn, x.shape[-1]
    # The packed weight (3 d, d) is that of the queries, the keys and the values, one below the other.
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q = F.linear(block.ln_1(asking), weight[:width], bias[:width])  # (B, Q, d)
    packed = F.linear(block.ln_1(x), weight[width:], bias[width:])  # (B, L, 2 d)
    k, v = packed.unflatten(-1, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    return q.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2), k, v


def finish(block: Block, x: Tensor, attended: Tensor) -> Tensor:
    """The part of a block behind attention.

    Args:
        block: a standard block.
        x: (B, L, d), the tokens before the block.
        attended: (B, heads, L, d / heads), the result of attention.

    Returns:
        (B, L, d), the tokens after the block.
    """
    joined = attended.transpose(1, 2).flatten(2)  # (B, L, d), the heads side by side
    x = x + block.ls_1(block.attn.out_proj(joined))
    expand, activate, contract = block.mlp
    hidden = expand(block.ln_2(x))
    # x sigmoid(1.702 x) is silu(1.702 x) / 1.702, which keeps one tensor for the backward pass where open_clip's
    # keeps two.
    hidden = F.silu(1.702 * hidden) / 1.702 if type(activate) is QuickGELU else activate(hidden)
    return x + block.ls_2(contract(hidden))


# Tower -> its mask, the mask's version when it was checked, whether it is causal.
_causal: WeakKeyDictionary[nn.Module, tuple[Tensor, int, bool]] = WeakKeyDictionary()


def causal(tower: TextTower) -> bool:
    """Whether no token of a text encoder sees a later one, and its blocks are standard."""
    mask: Tensor | None = getattr(tower, "attn_mask", None)
    if mask is None or not all(is_standard(block) for block in tower.transformer.resblocks):
        return False
    known = _causal.get(tower)
    if known is None or known[0] is not mask or known[1] != mask._version:  # compared once: it waits for the device
        known = mask, mask._version, bool(torch.equal(mask, torch.full_like(mask, float("-inf")).triu_(1)))
        _causal[tower] = known
    return known[2]
