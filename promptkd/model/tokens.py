"""Token ids of texts, exactly as in OpenAI's CLIP, and embeddings of prompts, cut behind the last read-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from promptkd.model.parts import Clip, TextTower
from promptkd.model.prompting import text_tower

CONTEXT_LENGTH = 77


@lru_cache(maxsize=1)
def tokenizer() -> SimpleTokenizer:
    """open_clip's BPE tokenizer with OpenAI's spelling of the two special tokens, so that ids agree on every string."""
    return spell_as_openai(SimpleTokenizer())


def spell_as_openai(bpe: SimpleTokenizer) -> SimpleTokenizer:
    """Makes a tokenizer read "<|startoftext|>" and "<|endoftext|>" in a text as the special tokens; returns it."""
    for token, number in {"<|startoftext|>": bpe.sot_token_id, "<|endoftext|>": bpe.eot_token_id}.items():
        bpe.encoder[token], bpe.decoder[number], bpe.cache[token] = number, token, token
    bpe.pat = regex.compile(
        bpe.pat.pattern.replace("<start_of_text>", r"<\|startoftext\|>").replace("<end_of_text>", r"<\|endoftext\|>"),
        regex.IGNORECASE,
    )
    return bpe


def tokenize(texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH, truncate: bool = False) -> Tensor:
    """Token ids of one or more texts, padded with zeros.

    Args:
        texts: a text, or C texts.
        context_length: L; 77 for every CLIP model of OpenAI.
        truncate: whether a text that is too long is cut, and ended with the end-of-text token.

    Returns:
        (C, L) int64.

    Raises:
        RuntimeError: a text is longer than the context (the type OpenAI's function raises).
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    bpe = tokenizer()
    ids = torch.zeros(len(texts), context_length, dtype=torch.long)
    for row, text in zip(ids, texts, strict=True):
        tokens = [bpe.sot_token_id, *bpe.encode(text), bpe.eot_token_id]
        if len(tokens) > context_length:
            if not truncate:
                shown = text if len(text) <= 120 else f"{text[:40]} ... {text[-60:]}"
                raise RuntimeError(
                    f"Input {shown} is too long for context length {context_length}: it has {len(tokens)} tokens; "
                    "shorten the class name or the template"
                )
            tokens = [*tokens[: context_length - 1], bpe.eot_token_id]
        row[: len(tokens)] = torch.tensor(tokens)
    return ids


def class_prompt(template: str, classname: str) -> str:
    """Fills `{}` of a template with a class name, whose underscores become spaces as in the published code."""
    return template.replace("{}", classname.replace("_", " "))


@dataclass(frozen=True)
class PromptTokens:
    """C prompts, embedded, and cut behind the last read-out (end-of-text token) among them.

    Example: "a photo of a cat." and "a photo of a polar bear." are (2, 9, d), with ends 7 and 8, 5 common tokens
    (start, a, photo, of, a) and names of 1 and 2 tokens.

    Attributes:
        embeddings: (C, L, d) token embeddings without positions.
        eot: (C,) positions of the read-outs, on the same device.
        ends: the same as numbers.
        common: number of first tokens that all prompts share, without any read-out.
        name_lengths: tokens of each class name, where the prompts were made from names.
    """

    embeddings: Tensor
    eot: Tensor
    ends: tuple[int, ...]
    common: int
    name_lengths: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.eot)

    def take(self, numbers: Sequence[int]) -> PromptTokens:
        """The prompts of these numbers, in this order, repeated where a number is repeated."""
        rows = torch.tensor(numbers, device=self.eot.device)
        lengths = tuple(self.name_lengths[row] for row in numbers) if self.name_lengths else ()
        ends = tuple(self.ends[row] for row in numbers)
        return PromptTokens(self.embeddings[rows], self.eot[rows], ends, self.common, lengths)


def embed(clip: Clip, texts: Sequence[str], name_lengths: Sequence[int] = (), truncate: bool = False) -> PromptTokens:
    """Embeds texts with a model's frozen token table.

    Args:
        clip: open_clip model whose text encoder is CLIP's transformer.
        texts: C texts.
        name_lengths: tokens of each class name, for `PromptTokens.name_lengths`.
        truncate: whether a text that is too long is cut.
    """
    tower = text_tower(clip)
    ids = tokenize(texts, tower.context_length, truncate)
    eot = _read_out_positions(tower, ids)
    if tower.attn_mask is not None:  # causal: nothing behind the last read-out can reach it
        ids = ids[:, : int(eot.max()) + 1]
    table = tower.token_embedding.weight
    ends = tuple(eot.tolist())
    common = min(int((ids == ids[0]).all(0).cumprod(0).sum()), *ends) if ends else 0
    with torch.no_grad():
        embeddings = tower.token_embedding(ids.to(table.device))  # (C, L, d)
        return PromptTokens(embeddings, eot.to(table.device), ends, common, tuple(name_lengths))


def _read_out_positions(tower: TextTower, ids: Tensor) -> Tensor:
    """The position at which a text tower reads each text's feature: (C, L) ids -> (C,)."""
    pool = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", "argmax")
    if pool == "last":
        return torch.full((len(ids),), ids.shape[1] - 1)
    if pool == "first":
        return torch.zeros(len(ids), dtype=torch.long)
    return ids.argmax(dim=-1)  # the end-of-text token has the highest id


def count_tokens(text: str) -> int:
    """The number of tokens of a text, without start and end."""
    return len(tokenizer().encode(text))
