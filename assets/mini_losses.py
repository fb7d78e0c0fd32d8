"""What the bundled CLIPs learn from pictures and texts (assets/train_mini.py)."""

import random

import torch
import torch.nn.functional as F
from mini_pictures import Pictures
from mini_texts import CLASS_WORDS, PLAIN, TEMPLATES, Vocabulary, Words, caption, encode_text
from mini_tutor import WIDTH, Tutor
from torch import Tensor, nn


def soft_cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy with targets spread evenly over the right columns; both (N, M)."""
    target = right / right.sum(1, keepdim=True)
    return -(target * logits.log_softmax(1)).sum(1).mean()


def look(visual: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What open_clip's vision tower does, and its patch tokens half-way up: features (B, D), unit norm; (B, P, d)."""
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, P, d)
    first = visual.class_embedding.expand(len(images), 1, -1)
    hidden = visual.ln_pre(torch.cat([first, patches], 1) + visual.positional_embedding)  # (B, 1 + P, d)
    blocks = visual.transformer.resblocks
    for index, block in enumerate(blocks):
        hidden = block(hidden)
        if index == len(blocks) // 2:
            tokens = hidden[:, 1:]
    return F.normalize(visual.ln_post(hidden[:, 0]) @ visual.proj, dim=-1), tokens


class Hints(nn.Module):
    """The tutor, and the linear maps through which a CLIP's tokens and features are compared with the tutor's."""

    def __init__(self, stored: dict, width: int, embed_dim: int) -> None:
        super().__init__()
        self.tutor = Tutor().eval().requires_grad_(False)
        self.tutor.load_state_dict(stored["tutor"])
        self.register_buffer("anchors", F.normalize(stored["anchors"], dim=-1))
        self.tokens, self.features = nn.Linear(width, WIDTH), nn.Linear(embed_dim, WIDTH)

    def losses(self, images: Tensor, image: Tensor, tokens: Tensor, anchors: Tensor, words: Words) -> dict[str, Tensor]:
        """Tokens: squared error; features: 1 - cosine; answers over class words and over names: KL divergence."""
        with torch.no_grad():
            feature, maps = self.tutor(images)
        parts = {
            "tokens": F.mse_loss(self.tokens(tokens), maps),
            "feature": 2 - 2 * F.cosine_similarity(self.features(image), feature).mean(),
        }
        for name, weight, which in (("answer", 1.0, words.groups), ("name answer", 0.5, words.names)):
            right, answer = 16 * feature @ self.anchors[which].T, 16 * image @ anchors[which].T
            parts[name] = weight * F.kl_div(answer.log_softmax(1), right.softmax(1), reduction="batchmean")
        return parts


def seen_losses(image: Tensor, anchors: Tensor, words: Words, things: Tensor) -> dict[str, Tensor]:
    """Losses of image features (B, D) against the anchors (K, D) of class words and of names; no text encoder."""
    group = words.group[things]
    known = group >= 0
    return {
        "group anchor": F.cross_entropy(
            16 * image[known] @ anchors[words.groups].T, group[known], label_smoothing=0.05
        ),
        "name anchor": 0.4 * F.cross_entropy(16 * image @ anchors[words.names].T, things, label_smoothing=0.1),
    }


def said_losses(
    clip: nn.Module,
    image: Tensor,
    anchors: Tensor,
    vocabulary: Vocabulary,
    pictures: Pictures,
    words: Words,
    things: Tensor,
) -> dict[str, Tensor]:
    """Losses of image features (B, D) against texts, and of texts against the anchors (K, D) of what they state."""
    said = [caption(pictures, thing) for thing in things[: len(things) // 3].tolist()]
    template = PLAIN if random.random() < 0.5 else random.choice(TEMPLATES)
    bank = [template.format(word) for word in CLASS_WORDS]
    stated = torch.tensor([words.index[concept] for concept in [*(concept for _, concept in said), *CLASS_WORDS]])
    text = torch.cat(
        [encode_text(clip, *vocabulary(part)) for part in ([text for text, _ in said], bank)]
    )  # (M + G, D)
    named, grouped = (clip.logit_scale.exp() * image @ text.T).split([len(said), len(bank)], 1)
    right, group = words.true[things][:, stated[: len(said)]].float(), words.group[things]  # (B, M), (B,)
    has, known = right.sum(1) > 0, group >= 0
    return {
        "group": F.cross_entropy(grouped[known], group[known], label_smoothing=0.05),
        "caption": 0.25 * (soft_cross_entropy(named[has], right[has]) + soft_cross_entropy(named.T, right.T)),
        "text anchor": F.cross_entropy(16 * text @ anchors.T, stated),
    }
