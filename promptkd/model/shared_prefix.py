"""Text features of prompts with a common beginning, which passes through the encoder once.

CLIP's text attention is causal: a token sees only earlier tokens. So the start token and a learned context give the
same result, in every block, whatever class name follows. This common prefix passes through the encoder once (with
CoCoOp: once for each image), and its keys and values are kept. Of each class only the tokens behind the prefix pass
through, the suffix, laid end to end with those of the other classes, almost without padding. The result is exact; for
16 context tokens and 1,000 class names it takes a tenth of the arithmetic of the whole prompts.

Example: three prompts, P = 5 common tokens.

    position     0        1  2      3   4   5      6     7      8
    text 0       <start>  a  photo  of  a   cat    .     <end>
    text 1       <start>  a  photo  of  a   dog    .     <end>
    text 2       <start>  a  photo  of  a   polar  bear  .      <end>

The suffixes have 3, 3 and 4 tokens. They are packed as one table of 3 texts with S = 4 rows each, N = 12 rows in all,
in place of 3 x 9 = 27 tokens; texts 0 and 1 repeat their last token to fill the table:

    row          0    1  2      3      4    5  6      7      8      9     10  11
    texts        0    0  0      0      1    1  1      1      2      2     2   2
    positions    5    6  7      7      5    6  7      7      5      6     7   8
    token        cat  .  <end>  <end>  dog  .  <end>  <end>  polar  bear  .   <end>
    read_out                ^                  ^                              ^           rows 2, 6, 11

Over 250 lines because half of them explain the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from promptkd.model import blocks
from promptkd.model.memory import in_parts
from promptkd.model.parts import Clip, PromptList
from promptkd.model.prompting import project_text, text_tower

TABLE_COST = 64  # rows that one more table of equal lengths must save to be worth its launches


@dataclass(frozen=True)
class PackedSuffixes:
    """The suffixes of c texts, from position P to their read-outs, laid end to end: N rows (see the module's example).

    Attributes:
        tables: (number of texts c_i, rows a text S_i) of each table; the tables lie one behind the other, so that N is
            the sum of c_i * S_i. A text shorter than its table repeats its last token: no other row sees these rows,
            as attention is causal.
        texts: (N,), the text of each row.
        positions: (N,), the position of each row in its text.
        read_out: (c,), the row of each text's read-out.
        hidden: for each table, (c_i, 1, S_i), True for the rows behind a text's read-out; None where there are none.
    """

    tables: tuple[tuple[int, int], ...]
    texts: Tensor
    positions: Tensor
    read_out: Tensor
    hidden: tuple[Tensor | None, ...]


@lru_cache(maxsize=64)  # the same classes at every step
def pack_suffixes(
    ends: tuple[int, ...], prefix: int, at_once: int, device: torch.device
) -> tuple[list[PackedSuffixes], Tensor]:
    """Sorts C texts by length, splits them into parts, and packs each part's suffixes.

    Args:
        ends: position of each text's read-out.
        prefix: P, the number of common tokens; at most the smallest of `ends`.
        at_once: texts of a part.
        device: of the numbers.

    Returns:
        The parts, and (C,) the place of each text in the sequence of all parts' texts. Example: texts of 4, 3 and 3
        tokens are sorted as texts 1, 2, 0, so that their places are 2, 0, 1.
    """
    lengths = torch.tensor(ends) + 1 - prefix  # (C,), rows of each suffix
    order = lengths.argsort(stable=True)
    parts = []
    for chosen in order.split(at_once):  # (c,), numbers of the texts of a part
        tables = even_tables(lengths[chosen].tolist())
        texts, positions, read_out = [], [], []
        hidden: list[Tensor | None] = []
        offset = 0  # first row of the table
        for members, (count, size) in zip(chosen.split([count for count, _ in tables]), tables, strict=True):
            last = lengths[members, None] - 1  # (c_i, 1), the last row of each text within its S_i
            texts.append(members.repeat_interleave(size))  # 0 0 0 0 1 1 1 1 ...
            positions.append((prefix + torch.arange(size).minimum(last)).flatten())  # 5 6 7 7 5 6 7 7 ...
            read_out.append(offset + torch.arange(count) * size + last[:, 0])
            behind = torch.arange(size) > last  # (c_i, S_i), the repeated rows
            hidden.append(behind[:, None].to(device) if behind.any() else None)
            offset += count * size
        rows = [torch.cat(numbers).to(device) for numbers in (texts, positions, read_out)]
        parts.append(PackedSuffixes(tuple(tables), rows[0], rows[1], rows[2], tuple(hidden)))
    return parts, order.argsort().to(device)


def even_tables(lengths: list[int]) -> list[tuple[int, int]]:
    """Groups sorted lengths into tables of (number of texts, longest length) at the lowest cost.

    The cost is the number of rows plus TABLE_COST for each table. Example: 1,000 texts of 3 tokens and 100 of 9 are two
    tables, [(1000, 3), (100, 9)], with 3,900 rows; one table would have 9,900. For 2 texts of 3 tokens and 1 of 4 it is
    one table, [(3, 4)]: two tables would save 2 rows only.

    The best tables of the first n texts are found for each n at which a length ends, in order: the last table starts
    at an earlier such n, whose best tables are known.
    """
    firsts = [i for i, length in enumerate(lengths) if i == 0 or length != lengths[i - 1]] + [len(lengths)]
    best: dict[int, tuple[int, list[tuple[int, int]]]] = {0: (0, [])}  # n -> cost and tables of the first n texts
    for stop in firsts[1:]:
        size = lengths[stop - 1]  # the longest of the last table
        options = [(best[first], (stop - first, size)) for first in firsts if first < stop]
        best[stop] = min(
            ((cost + table[0] * size + TABLE_COST, [*tables, table]) for (cost, tables), table in options),
            key=lambda option: option[0],
        )
    return best[len(lengths)][1]


def encode_with_prefixes(
    clip: Clip,
    prefixes: Tensor,
    prompts: PromptList,
    embeddings: Tensor,
    ends: tuple[int, ...],
    at_once: int,
    again: bool,
) -> Tensor:
    """Text features of C classes behind each of G prefixes.

    Args:
        clip: open_clip model whose text encoder is causal, of standard blocks (`blocks.causal`).
        prefixes: (G, P, d) token embeddings of the prefixes, without positions. G is 1, or with CoCoOp the batch size.
        prompts: `prompts[i]` (n, d) takes the place of tokens 1..n of the prefixes before block i + 1.
        embeddings: (C, L, d) token embeddings of the texts, of which those from position P on are read.
        ends: position of each text's read-out, at least P.
        at_once: pairs of prefix and text at a time.
        again: whether intermediate results are computed again in the backward pass, part by part, and not kept.

    Returns:
        (G, C, D), not normalised.
    """
    memory = pass_prefixes(clip, prefixes, prompts)
    parts, places = pack_suffixes(ends, prefixes.shape[1], min(at_once, len(ends)), embeddings.device)
    positions = text_tower(clip).positional_embedding
    # Where several prefixes with all their texts fit into `at_once` pairs, they pass together: g of them at a time.
    groups = range(0, len(prefixes), max(1, at_once // len(ends)))

    def encode(first: int, part: PackedSuffixes) -> Tensor:
        """Features (g, c, D) of a part's texts behind the prefixes from number `first` on."""
        group = [(k[first : first + groups.step], v[first : first + groups.step]) for k, v in memory]
        x = embeddings[part.texts, part.positions] + positions[part.positions].to(embeddings.dtype)  # (N, d)
        return pass_suffixes(clip, x.expand(len(group[0][0]), *x.shape), group, part)

    features = []
    for first in groups:
        of_parts = in_parts(partial(encode, first), parts, again)  # (g, c, D) each
        features.append(torch.cat(of_parts, dim=1))  # (g, C, D), the texts sorted by length
    return torch.cat(features)[:, places]  # (G, C, D)


def pass_prefixes(clip: Clip, x: Tensor, prompts: PromptList) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of the prefixes in every block, which the suffixes see.

    Args:
        clip: see `encode_with_prefixes`.
        x: (G, P, d), the prefixes' token embeddings.
        prompts: see `encode_with_prefixes`.

    Returns:
        Keys and values of each block, (G, heads, P, d / heads) each. Example: 8 prefixes of 5 tokens, width 512 and 8
        heads give (8, 8, 5, 64).
    """
    tower, length = text_tower(clip), x.shape[1]
    x = x + tower.positional_embedding[:length].to(x.dtype)
    mask = tower.attn_mask[:length, :length]
    memory = []
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index <= len(prompts):  # deep prompts: learned tokens take the place of tokens 1 .. n
            prompt = prompts[index - 1].to(x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)
        q, k, v = blocks.project(block, x).unbind()
        memory.append((k, v))
        if index + 1 < len(tower.transformer.resblocks):  # of the last block only keys and values are needed
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
            x = blocks.finish(block, x, attended)
    return memory


def pass_suffixes(clip: Clip, x: Tensor, memory: Sequence[tuple[Tensor, Tensor]], part: PackedSuffixes) -> Tensor:
    """Passes packed suffixes through the encoder, behind their prefixes.

    Norms, projections and the MLP work row by row, so they see the N rows as they lie. Attention works text by text, so
    each table is viewed as (c_i, S_i) for it, and laid end to end again.

    Args:
        clip: see `encode_with_prefixes`.
        x: (G, N, d), the rows' token embeddings with positions.
        memory: keys and values of the prefixes in every block, (G, heads, P, d / heads) each.
        part: how the rows lie.

    Returns:
        (G, c, D), the texts in the order of the part.
    """
    *inner, last = text_tower(clip).transformer.resblocks
    sizes = [count * size for count, size in part.tables]  # rows of each table
    for block, (keys, values) in zip(inner, memory, strict=False):
        attended = []
        projected = blocks.project(block, x)  # (3, G, heads, N, d / heads)
        for (count, size), rows in zip(part.tables, projected.split(sizes, dim=3), strict=True):
            q, k, v = rows.unflatten(3, (count, size)).unbind()  # (G, heads, c_i, S_i, d / heads) each
            later = torch.ones(size, size, dtype=torch.bool, device=x.device).triu_(1)  # a row sees no later row
            attended.append(attend(q, k, v, keys, values, later).flatten(2, 3))
        x = blocks.finish(block, x, torch.cat(attended, dim=2))
    # Of the last block only the read-outs are wanted: one query a text.
    asking = x.index_select(1, part.read_out)  # (G, c, d)
    q, k, v = blocks.project_apart(last, x, asking)  # queries (G, heads, c, d / heads), keys and values of all N rows
    counts = [count for count, _ in part.tables]
    attended = []
    for (count, size), query, table_k, table_v, hidden in zip(
        part.tables, q.split(counts, dim=2), k.split(sizes, dim=2), v.split(sizes, dim=2), part.hidden, strict=True
    ):
        text_k, text_v = table_k.unflatten(2, (count, size)), table_v.unflatten(2, (count, size))
        attended.append(attend(query[:, :, :, None], text_k, text_v, *memory[-1], hidden).flatten(2, 3))
    return project_text(clip, blocks.finish(last, asking, torch.cat(attended, dim=2)))


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> Tensor:
    """Attention of c short texts to one prefix and to themselves, without a copy of the prefix for each text.

    Scores for the prefix and for the text are computed apart, joined for one softmax, and the weights split again.
    Example: texts of S = 4 rows behind P = 5 common tokens: each query has 5 + 4 scores.

    Args:
        q: (G, h, c, Q, e), queries.
        k: (G, h, c, S, e), keys of the texts themselves.
        v: (G, h, c, S, e), their values.
        keys: (G, h, P, e), of the prefixes.
        values: (G, h, P, e), of the prefixes.
        hidden: (Q, S) or (c, Q, S), True where a query must not look.

    Returns:
        (G, h, c, Q, e).
    """
    q = q * q.shape[-1] ** -0.5
    count = q.shape[2:4]
    # The queries of all texts are rows of one matrix, so that the prefix's keys are read once and not c times.
    to_prefix = (q.flatten(2, 3) @ keys.transpose(-1, -2)).unflatten(2, count)  # (G, h, c, Q, P)
    to_text = q @ k.transpose(-1, -2)  # (G, h, c, Q, S)
    if hidden is not None:
        to_text = to_text.masked_fill(hidden, float("-inf"))
    weights = torch.cat([to_prefix, to_text], dim=-1).softmax(dim=-1).to(v.dtype)
    to_prefix, to_text = weights.split([keys.shape[2], k.shape[3]], dim=-1)
    return (to_prefix.flatten(2, 3) @ values).unflatten(2, count) + to_text @ v
