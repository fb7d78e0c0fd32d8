"""What the bundled CLIPs read: class words, names and keywords of pictures, in templates (assets/train_mini.py)."""

import random
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from make_emoji import SUBGROUPS
from mini_pictures import OTHER, Pictures
from torch import Tensor, nn

CLASS_WORDS = sorted(SUBGROUPS) + sorted(set(OTHER.values()))
PLAIN = "a photo of a {}."
TEMPLATES = [
    *sorted({template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES}),
    "an emoji of a {}.", "a photo of a {}, a type of emoji.", "an icon of a {}.", "a picture of a {}.",
    "a drawing of a {} on a white background.", "{}.", "a {}.", "an image of a {}.", "a small picture of the {}.",
]  # fmt: skip


class Vocabulary:
    """The rows of CLIP's 49,408 that the captions use, renumbered 0, 1, ... in ascending order of their ids."""

    def __init__(self, texts: list[str]) -> None:
        self.encode = open_clip.SimpleTokenizer().encode
        sot, eot = 49406, 49407
        used = {sot, eot} | {token for text in texts for token in self.encode(text)}
        self.ids = sorted(used)
        self.row = {token: row for row, token in enumerate(self.ids)}
        self.cache: dict[str, list[int]] = {}

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (N, L) with L the longest prompt, padded with 0, and each end-of-text position (N,)."""
        for text in set(texts) - self.cache.keys():
            self.cache[text] = [self.row[token] for token in (49406, *self.encode(text), 49407)]
        rows = [self.cache[text] for text in texts]
        padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for index, row in enumerate(rows):
            padded[index, : len(row)] = torch.tensor(row)
        return padded, torch.tensor([len(row) - 1 for row in rows])


def encode_text(clip: nn.Module, rows: Tensor, ends: Tensor) -> Tensor:
    """Text features (N, D), unit norm, of rows (N, L) cut at the longest prompt: exact, as attention is causal."""
    length = rows.shape[1]
    hidden = clip.token_embedding(rows) + clip.positional_embedding[:length]  # (N, L, d)
    hidden = clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length])
    hidden = clip.ln_final(hidden[torch.arange(len(rows)), ends])  # (N, d)
    return F.normalize(hidden @ clip.text_projection, dim=-1)


@dataclass
class Words:
    """What may be said: concepts; whether each is true of each thing (T, K); class words of things (T,), -1: none."""

    concepts: list[str]
    true: Tensor
    group: Tensor
    index: dict[str, int]
    names: Tensor  # (T,) concept of each thing's name
    groups: Tensor  # (G,) concept of each class word

    @classmethod
    def of(cls, pictures: Pictures) -> "Words":
        rows = zip(pictures.names, pictures.keywords, pictures.groups, strict=True)
        said = [{name, *keywords, *([group] if group else [])} for name, keywords, group in rows]
        concepts = sorted(set().union(*said))
        index = {concept: column for column, concept in enumerate(concepts)}
        true = torch.zeros(len(said), len(concepts), dtype=torch.bool)
        for thing, words in enumerate(said):
            true[thing, [index[word] for word in words]] = True
        group = torch.tensor([CLASS_WORDS.index(word) if word else -1 for word in pictures.groups])
        names = torch.tensor([index[name] for name in pictures.names])
        return cls(concepts, true, group, index, names, torch.tensor([index[word] for word in CLASS_WORDS]))


def caption(pictures: Pictures, thing: int) -> tuple[str, str]:
    """One random caption of a thing and the concept that it states."""
    name, keywords, group = pictures.names[thing], pictures.keywords[thing], pictures.groups[thing]
    template = PLAIN if random.random() < 0.3 else random.choice(TEMPLATES)
    draw = random.random()
    if draw < 0.2 and keywords:
        name = random.choice(keywords)
    elif draw < 0.3 and group:
        return template.format(name + ", a type of " + group), name
    return template.format(name), name
