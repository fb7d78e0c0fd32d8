"""Text features of prompts that begin alike, at the cost of what differs.

CLIP's text attention is causal: what the start token and a learned context come to, at any depth, does not depend on
the class name behind them. So the common beginning passes through the encoder once (CoCoOp: once for each image), and
of each class only its own tokens do, laid end to end without padding. The result is exact; for 16 context tokens and
1,000 names it is a tenth of the arithmetic of the whole prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from clip import blocks
from clip.memory import in_parts
from clip.prompting import project_text, text_tower


@dataclass(frozen=True)
class Endings:
    """The tokens of c texts from position `start` to their read-outs, laid end to end: N rows, at most S a text.

    `texts` (N,) and `positions` (N,) say which token a row is. `grid` (c * S,) gives the row at each place of a padded
    (c, S) table, `cells` (N,) the place of each row in it. `read_out` (c,) is each text's last row, `lengths` (c,) its
    number of rows.
    """

    start: int
    texts: Tensor
    positions: Tensor
    grid: Tensor
    cells: Tensor
    read_out: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)


@lru_cache(maxsize=64)  # the same classes at every step
def lay_out(ends: tuple[int, ...], start: int, at_once: int, device: torch.device) -> tuple[list[Endings], Tensor]:
    """Splits C texts, sorted by length so that tables hold little padding, into parts of `at_once`.

    Args:
        ends: position at which each text is read out.
        start: tokens of the common beginning, at most the smallest of `ends`.
        at_once: texts of a part.
        device: where the numbers are needed.

    Returns:
        The parts, and the place of each text in the parts, one after the other: (C,).
    """
    read_out = torch.tensor(ends)
    order = read_out.argsort(stable=True) if len(ends) > at_once else torch.arange(len(ends))
    parts = []
    for texts in order.split(at_once):
        lengths = read_out[texts] + 1 - start  # (c,)
        inside = torch.arange(int(lengths.max())) < lengths[:, None]  # (c, S)
        text, place = inside.nonzero(as_tuple=True)  # (N,) each
        # places behind a text hold its last row once more: causal attention never looks there
        grid = (lengths.cumsum(0) - lengths)[:, None] + torch.arange(inside.shape[1]).minimum(lengths[:, None] - 1)
        cells = inside.flatten().nonzero()[:, 0]
        numbers = (texts[text], place + start, grid.flatten(), cells, lengths.cumsum(0) - 1, lengths)
        parts.append(Endings(start, *(number.to(device) for number in numbers)))
    return parts, order.argsort().to(device)


def encode_endings(
    clip: nn.Module,
    beginning: Tensor,
    prompts: Sequence[Tensor],
    embeddings: Tensor,
    ends: tuple[int, ...],
    at_once: int,
    again: bool,
) -> Tensor:
    """Text features of C classes behind G beginnings.

    Args:
        clip: open_clip model whose text encoder is causal, of standard blocks (`blocks.causal`).
        beginning: (G, P, d) token embeddings of the common beginning, without positions.
        prompts: `prompts[i]` (n, d) takes the place of tokens 1..n of the beginning before block i + 1.
        embeddings: (C, L, d) token embeddings of the texts, read from position P on.
        ends: position at which each text is read out, at least P.
        at_once: pairs of beginning and text at a time.
        again: compute inner results again in the backward pass, part by part, instead of keeping them.

    Returns:
        (G, C, D), not normalised.
    """
    memory = pass_beginning(clip, beginning, prompts)
    parts, places = lay_out(ends, beginning.shape[1], min(at_once, len(ends)), embeddings.device)
    positions = text_tower(clip).positional_embedding
    groups = range(0, len(beginning), max(1, at_once // len(ends)))

    def encode(first: int, part: Endings) -> Tensor:
        own = [(k[first : first + groups.step], v[first : first + groups.step]) for k, v in memory]
        x = embeddings[part.texts, part.positions] + positions[part.positions].to(embeddings.dtype)  # (N, d)
        return pass_endings(clip, x.expand(len(own[0][0]), *x.shape), own, part)

    features = [torch.cat(in_parts(lambda part, f=first: encode(f, part), parts, again), dim=1) for first in groups]
    return torch.cat(features)[:, places]  # (G, C, D)


def pass_beginning(clip: nn.Module, x: Tensor, prompts: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values that the endings see, of every block: (G, P, d) -> (G, heads, P, d / heads) each."""
    tower, length = text_tower(clip), x.shape[1]
    x = x + tower.positional_embedding[:length].to(x.dtype)
    mask = tower.attn_mask[:length, :length]
    memory = []
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index <= len(prompts):
            prompt = prompts[index - 1].to(x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)
        q, k, v = blocks.project(block, x).unbind()
        memory.append((k, v))
        if index + 1 < len(tower.transformer.resblocks):
            attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
            x = blocks.finish(block, x, attended)
    return memory


def pass_endings(clip: nn.Module, x: Tensor, memory: Sequence[tuple[Tensor, Tensor]], part: Endings) -> Tensor:
    """The rows of c texts through the encoder, seeing a beginning's keys and values: (G, N, d) -> (G, c, D)."""
    *inner, last = text_tower(clip).transformer.resblocks
    size = part.grid.numel() // len(part)  # S
    behind = torch.ones(size, size, dtype=torch.bool, device=x.device).triu_(1)
    for block, (keys, values) in zip(inner, memory, strict=False):
        q, k, v = (table.index_select(2, part.grid).unflatten(2, (len(part), size)) for table in project(block, x))
        attended = attend(q, k, v, keys, values, behind).flatten(2, 3)  # (G, heads, c S, d / heads)
        x = blocks.finish(block, x, attended.index_select(2, part.cells))
    # of the last block only the read-outs are wanted
    asking = x.index_select(1, part.read_out)  # (G, c, d)
    q, k, v = blocks.project_apart(last, x, asking)
    k, v = (table.index_select(2, part.grid).unflatten(2, (len(part), size)) for table in (k, v))
    behind = (torch.arange(size, device=x.device) >= part.lengths[:, None])[:, None]  # (c, 1, S)
    attended = attend(q[:, :, :, None], k, v, *memory[-1], behind).flatten(2, 3)  # (G, heads, c, d / heads)
    return project_text(clip, blocks.finish(last, asking, attended))


def project(block: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values of rows, each laid out for `index_select`."""
    return tuple(blocks.project(block, x).contiguous())


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, behind: Tensor) -> Tensor:
    """Attention of c short texts to one beginning and to themselves, without a copy of the beginning for each text.

    Args:
        q: (G, h, c, Q, e); k, v: (G, h, c, S, e) of the texts themselves.
        keys, values: (G, h, P, e) of the beginning.
        behind: (Q, S) or (c, Q, S), True where a query must not look.

    Returns:
        (G, h, c, Q, e).
    """
    q = q * q.shape[-1] ** -0.5
    count = q.shape[2:4]
    first = (q.flatten(2, 3) @ keys.transpose(-1, -2)).unflatten(2, count)  # (G, h, c, Q, P)
    own = (q @ k.transpose(-1, -2)).masked_fill(behind, float("-inf"))  # (G, h, c, Q, S)
    weights = torch.cat([first, own], dim=-1).softmax(dim=-1).to(v.dtype)
    first, own = weights.split([keys.shape[2], k.shape[3]], dim=-1)
    return (first.flatten(2, 3) @ values).unflatten(2, count) + own @ v
