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

from promptkd.model import blocks
from promptkd.model.memory import in_parts
from promptkd.model.prompting import project_text, text_tower

TABLE_COST = 64  # rows that one more table of equal lengths must save to be worth its launches


@dataclass(frozen=True)
class Endings:
    """The tokens of c texts from position P to their read-outs, laid end to end: N rows.

    `tables` says how the rows lie: c_1 texts of S_1 rows each, then c_2 of S_2, ... A text that is shorter than its
    table repeats its last row, which no other row sees: attention is causal. `texts` (N,) and `positions` (N,) say
    which token a row is, `read_out` (c,) is each text's row to read, `behind` the places (c_i, 1, S_i) of a table
    behind them, None where there are none.
    """

    tables: tuple[tuple[int, int], ...]
    texts: Tensor
    positions: Tensor
    read_out: Tensor
    behind: tuple[Tensor | None, ...]


@lru_cache(maxsize=64)  # the same classes at every step
def lay_out(ends: tuple[int, ...], start: int, at_once: int, device: torch.device) -> tuple[list[Endings], Tensor]:
    """Sorts C texts by length and splits them into parts of `at_once`.

    Args:
        ends: position at which each text is read out.
        start: tokens of the common beginning, at most the smallest of `ends`.
        at_once: texts of a part.
        device: where the numbers are needed.

    Returns:
        The parts, and the place of each text in the parts, one after the other: (C,).
    """
    lengths = torch.tensor(ends) + 1 - start  # (C,)
    order = lengths.argsort(stable=True)
    parts = []
    for chosen in order.split(at_once):
        tables = even_tables(lengths[chosen].tolist())
        texts, positions, read_out, behind, offset = [], [], [], [], 0
        for rows, (count, size) in zip(chosen.split([count for count, _ in tables]), tables, strict=True):
            last = lengths[rows, None] - 1  # (c_i, 1)
            texts.append(rows.repeat_interleave(size))
            positions.append((start + torch.arange(size).minimum(last)).flatten())
            read_out.append(offset + torch.arange(count) * size + last[:, 0])
            hidden = torch.arange(size) > last
            behind.append(hidden[:, None].to(device) if hidden.any() else None)
            offset += count * size
        rows = (torch.cat(numbers).to(device) for numbers in (texts, positions, read_out))
        parts.append(Endings(tuple(tables), *rows, tuple(behind)))
    return parts, order.argsort().to(device)


def even_tables(lengths: list[int]) -> list[tuple[int, int]]:
    """Groups sorted lengths into tables (count, longest) so that rows, and TABLE_COST for each table, are fewest."""
    firsts = [i for i, length in enumerate(lengths) if i == 0 or length != lengths[i - 1]] + [len(lengths)]
    best: dict[int, tuple[int, list[tuple[int, int]]]] = {0: (0, [])}
    for stop in firsts[1:]:
        size = lengths[stop - 1]
        options = [(best[first], (stop - first, size)) for first in firsts if first < stop]
        best[stop] = min(
            ((cost + table[0] * size + TABLE_COST, [*tables, table]) for (cost, tables), table in options),
            key=lambda option: option[0],
        )
    return best[len(lengths)][1]


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
    sizes = [count * size for count, size in part.tables]
    for block, (keys, values) in zip(inner, memory, strict=False):
        attended = []
        for (count, size), rows in zip(part.tables, blocks.project(block, x).split(sizes, dim=3), strict=True):
            q, k, v = rows.unflatten(3, (count, size)).unbind()  # (G, heads, c_i, S_i, d / heads) each
            behind = torch.ones(size, size, dtype=torch.bool, device=x.device).triu_(1)
            attended.append(attend(q, k, v, keys, values, behind).flatten(2, 3))
        x = blocks.finish(block, x, torch.cat(attended, dim=2))
    asking = x.index_select(1, part.read_out)  # (G, c, d): of the last block only the read-outs are wanted
    q, k, v = blocks.project_apart(last, x, asking)
    counts = [count for count, _ in part.tables]
    attended = []
    for (count, size), own, *rows, behind in zip(
        part.tables, q.split(counts, dim=2), k.split(sizes, dim=2), v.split(sizes, dim=2), part.behind, strict=True
    ):
        own_k, own_v = (table.unflatten(2, (count, size)) for table in rows)
        attended.append(attend(own[:, :, :, None], own_k, own_v, *memory[-1], behind).flatten(2, 3))
    return project_text(clip, blocks.finish(last, asking, torch.cat(attended, dim=2)))


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, behind: Tensor | None) -> Tensor:
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
    own = q @ k.transpose(-1, -2)  # (G, h, c, Q, S)
    if behind is not None:
        own = own.masked_fill(behind, float("-inf"))
    weights = torch.cat([first, own], dim=-1).softmax(dim=-1).to(v.dtype)
    first, own = weights.split([keys.shape[2], k.shape[3]], dim=-1)
    return (first.flatten(2, 3) @ values).unflatten(2, count) + own @ v
