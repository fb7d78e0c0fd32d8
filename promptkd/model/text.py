"""Texts with a learned context in the place of some words: how each method's prompts pass through the text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from promptkd.model.blocks import causal
from promptkd.model.memory import in_parts, texts_at_once
from promptkd.model.prompting import encode_text, shape_of, text_tower
from promptkd.model.shared_prefix import encode_endings
from promptkd.model.tokens import PromptTokens


def encode_texts(
    clip: nn.Module,
    tokens: PromptTokens,
    contexts: Tensor | None = None,
    prompts: Sequence[Tensor] = (),
    position: str = "end",
    each: bool = False,
    chunk: int = 0,
) -> Tensor:
    """Text features of C classes with each of G contexts.

    Where all texts begin alike the beginning is computed once; where the backward pass would keep too much, texts are
    encoded in parts that are computed again (clip.memory). Neither changes the result.

    Args:
        clip: open_clip model whose text encoder is CLIP's transformer.
        tokens: C prompts.
        contexts: (G, n, d), or None for the words as they are.
        prompts: deep prompts, see clip.prompting.encode_text.
        position: where the class name stands, see insert_context.
        each: the contexts are one for each class (G = C), of which each class sees its own alone.
        chunk: TRAIN.TEXT_CHUNK, see clip.memory.texts_at_once.

    Returns:
        (G, C, D), with `each` and without contexts (1, C, D); not normalised.
    """
    shape = shape_of(clip)
    groups = 1 if contexts is None or each else len(contexts)
    count, like = groups * len(tokens), tokens.embeddings if contexts is None else contexts
    alike = position == "end" and not each and causal(text_tower(clip))
    length: float = tokens.embeddings.shape[1]
    if alike:  # the common beginning is computed once, the rest of each text without padding
        length = sum(tokens.ends) / len(tokens) + 1 - tokens.common
    at_once, again = texts_at_once(chunk, count, length, shape.text_width, shape.text_layers, like)
    if alike:
        first = tokens.embeddings[:1, : tokens.common]  # (1, P, d)
        if contexts is not None:
            first = replace_words(first.expand(groups, -1, -1), contexts)
        return encode_endings(clip, first, prompts, tokens.embeddings, tokens.ends, at_once, again)

    def encode(pairs: range) -> Tensor:
        """Numbers of p pairs of context and class -> (p, D)."""
        part = tokens.take([pair % len(tokens) for pair in pairs])
        embeddings = part.embeddings
        if contexts is not None:
            rows = torch.tensor([pair if each else pair // len(tokens) for pair in pairs], device=contexts.device)
            embeddings = insert_context(part, contexts[rows], position)
        return encode_text(clip, embeddings, part.eot, prompts)

    parts = [range(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    return torch.cat(in_parts(encode, parts, again)).unflatten(0, (groups, len(tokens)))


def replace_words(embeddings: Tensor, contexts: Tensor) -> Tensor:
    """Contexts in the place of tokens 1..n: (C, L, d), (C or 1, n, d) -> (C, L, d)."""
    contexts = contexts.to(embeddings.dtype).expand(len(embeddings), -1, -1)
    return torch.cat([embeddings[:, :1], contexts, embeddings[:, 1 + contexts.shape[1] :]], dim=1)


def insert_context(tokens: PromptTokens, ctx: Tensor, position: str = "end") -> Tensor:
    """Puts a context in the place of the words that stand for it.

    Args:
        tokens: prompts "<words> <class name>.", n words in place of the context.
        ctx: (n, d) for all, or (C, n, d) for each prompt.
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
    """Where each token of "start, part of the context, name, rest of the context, rest" stands in "text, context".

    Args:
        lengths: tokens of each name; it stands behind the n words of the text.
        size: L, tokens of a text.
        n: tokens of a context.
        before: how many of them come before the name.
        device: where the numbers are needed.

    Returns:
        (C, L) int64.
    """
    place, names = torch.arange(size), torch.tensor(lengths)[:, None]  # (L,), (C, 1)
    found = place.expand(len(lengths), -1)
    found = torch.where((place >= 1) & (place <= before), size + place - 1, found)
    found = torch.where((place > before) & (place <= before + names), place + n - before, found)
    found = torch.where((place > before + names) & (place <= n + names), size + place - 1 - names, found)
    return found.to(device)
