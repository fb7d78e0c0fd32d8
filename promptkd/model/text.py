"""Text features of prompts with a learned context in the place of some words, for all methods."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from promptkd.model.blocks import causal
from promptkd.model.memory import in_parts, texts_at_once
from promptkd.model.parts import Clip, PromptList
from promptkd.model.prompting import encode_text, shape_of, text_tower
from promptkd.model.shared_prefix import encode_with_prefixes
from promptkd.model.tokens import PromptTokens


def encode_texts(
    clip: Clip,
    tokens: PromptTokens,
    contexts: Tensor | None = None,
    prompts: PromptList = (),
    position: str = "end",
    each: bool = False,
    chunk: int = 0,
) -> Tensor:
    """Text features of C classes with each of G contexts.

    Where all texts begin alike, the beginning is computed once (shared_prefix.py); where the backward pass would keep
    too much, texts are encoded in parts that are computed again (memory.py). Neither changes the result.

    Args:
        clip: open_clip model whose text encoder is CLIP's transformer.
        tokens: C prompts.
        contexts: (G, n, d), or None for the words as they are.
        prompts: deep prompts, see `prompting.encode_text`.
        position: of the class name, see `insert_context`.
        each: whether the contexts are class-specific (G = C): class i is encoded with context i alone.
        chunk: TRAIN.TEXT_CHUNK, see `memory.texts_at_once`.

    Returns:
        (G, C, D), not normalised; (1, C, D) with `each` or without contexts.
    """
    shape = shape_of(clip)
    groups = 1 if contexts is None or each else len(contexts)
    count, like = groups * len(tokens), tokens.embeddings if contexts is None else contexts
    has_prefix = position == "end" and not each and causal(text_tower(clip))
    length: float = tokens.embeddings.shape[1]  # tokens that are computed for one text alone
    if has_prefix:
        length = sum(tokens.ends) / len(tokens) + 1 - tokens.common
    at_once, again = texts_at_once(chunk, count, length, shape.text_width, shape.text_layers, like)
    if has_prefix:
        prefixes = tokens.embeddings[:1, : tokens.common]  # (1, P, d)
        if contexts is not None:
            prefixes = replace_words(prefixes.expand(groups, -1, -1), contexts)  # (G, P, d)
        return encode_with_prefixes(clip, prefixes, prompts, tokens.embeddings, tokens.ends, at_once, again)

    def encode(pairs: range) -> Tensor:
        """Features (p, D) of p pairs of context and class; pair number g * C + c is context g with class c."""
        part = tokens.take([pair % len(tokens) for pair in pairs])
        embeddings = part.embeddings
        if contexts is not None:
            rows = torch.tensor([pair if each else pair // len(tokens) for pair in pairs], device=contexts.device)
            embeddings = insert_context(part, contexts[rows], position)
        return encode_text(clip, embeddings, part.eot, prompts)

    parts = [range(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    return torch.cat(in_parts(encode, parts, again)).unflatten(0, (groups, len(tokens)))


def replace_words(embeddings: Tensor, contexts: Tensor) -> Tensor:
    """Puts contexts in the place of tokens 1..n: (C, L, d), (C or 1, n, d) -> (C, L, d)."""
    contexts = contexts.to(embeddings.dtype).expand(len(embeddings), -1, -1)
    return torch.cat([embeddings[:, :1], contexts, embeddings[:, 1 + contexts.shape[1] :]], dim=1)


def insert_context(tokens: PromptTokens, ctx: Tensor, position: str = "end") -> Tensor:
    """Puts a context in the place of its placeholder words.

    Args:
        tokens: prompts "<words> <class name>.", with n words as placeholders of the context.
        ctx: (n, d) for all prompts, or (C, n, d) with one for each.
        position: "end": context, name; "middle": half, name, half; "front": name, context (CoOp, arXiv 2109.01134,
            equations 2 and 3).

    Returns:
        (C, L, d).
    """
    x, n = tokens.embeddings, ctx.shape[-2]
    ctx = ctx.to(x.dtype).expand(len(x), -1, -1)  # (C, n, d)
    before = {"end": n, "middle": n // 2, "front": 0}[position]
    if before == n:
        return replace_words(x, ctx)
    places = _places(tokens.name_lengths, x.shape[1], n, before, x.device)  # (C, L)
    return torch.cat([x, ctx], dim=1).gather(1, places[:, :, None].expand(-1, -1, x.shape[-1]))


@lru_cache(maxsize=64)  # the same classes at every step
def _places(lengths: tuple[int, ...], size: int, n: int, before: int, device: torch.device) -> Tensor:
    """For each token of the result, its place in the row "text, context", from which `gather` takes it.

    Example: a text of L = 8 tokens with n = 4 placeholders and a name of 2 tokens, "<start> X X X X polar bear <end>",
    and the context "c1 c2 c3 c4" behind it at places 8 to 11. With `before` = 2 the result is

        <start>  c1  c2  polar  bear  c3  c4  <end>
        0        8   9   5      6     10  11  7         the places

    Args:
        lengths: tokens of each name, which follows the n placeholders.
        size: L, tokens of a text.
        n: tokens of a context.
        before: context tokens in front of the name.
        device: of the result.

    Returns:
        (C, L) int64.
    """
    token, names = torch.arange(size), torch.tensor(lengths)[:, None]  # (L,), (C, 1)
    places = token.expand(len(lengths), -1)  # start token, and all behind context and name: as in the text
    places = torch.where((token >= 1) & (token <= before), size + token - 1, places)  # first part of the context
    places = torch.where((token > before) & (token <= before + names), token + n - before, places)  # the name
    # The second part of the context, behind the name.
    places = torch.where((token > before + names) & (token <= n + names), size + token - 1 - names, places)
    return places.to(device)
