"""Train the bundled CLIP pair, clip/mini/mini-teacher and mini-student, from scratch on captioned emoji and stamps.

    python tools/train_mini.py tutor   --stamps --minutes 5   # a convolutional helper, kept in the cache only
    python tools/train_mini.py student --stamps --minutes 12
    python tools/train_mini.py teacher --stamps --minutes 26

Both are plain open_clip CLIPs. They see the designs of tools/mini_pictures.py, never a picture of the Emoji data set.
Settings were chosen by looking at zero-shot accuracy on that data set's val split (printed here), never at its test
split. Needs what tools/make_emoji.py needs, and for the stamps apt-get and dpkg. clip/mini/README.md has the results.

The schedule follows the clock, so weights do not come out the same to the last bit. What is learned from a picture:
- its class word among all class words and its name among all names, as directions ("anchors") that are learned beside
  the CLIP and dropped in the end; and the tutor's tokens, features and answers (tools/mini_tutor.py);
- in the second half, texts: its class word among all class words in one random template a step, and one caption of its
  name or keywords against those of other pictures, where every caption that is true of a picture counts as right.
  Texts learn the anchor of what they state too. Before pictures differ, texts could only learn to be alike.
Speed on CPU: prompts are encoded up to the longest one, and the vocabulary holds only the rows that captions use.
"""

import argparse
import json
import math
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from make_emoji import SUBGROUPS
from mini_pictures import OTHER, Pictures, load
from mini_tutor import WIDTH, Tutor
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
MODELS = {
    "student": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
    },
    "teacher": {
        "embed_dim": 192,
        "vision_cfg": {"image_size": 64, "layers": 6, "width": 192, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 192, "heads": 6, "layers": 4},
    },
}
LR, WEIGHT_DECAY, BATCH = 1e-3, 0.1, 64
EYES_ONLY = 0.5  # share of the time before texts join: until images differ, texts can only learn to be alike
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


def lines(rgba: Tensor, chosen: Tensor) -> Tensor:
    """Draw dark outlines round and in the pictures that `chosen` (B,) marks; rgba (B, 4, S, S) premultiplied, 0..1."""
    part = rgba[chosen]
    grey = part[:, :3].mean(1, keepdim=True) + 0.7 * part[:, 3:]  # (b, 1, S, S)
    edge = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)  # largest minus smallest of 3x3
    line = ((edge - 0.25) * 6).clamp_(0, 1)
    fade = torch.rand(len(part), 1, 1, 1).mul_(1.4).clamp_(max=1)  # how much of the fill's colour stays
    alpha = part[:, 3:]
    fill = part[:, :3] * fade + alpha * (1 - fade)
    rgba[chosen] = torch.cat([fill * (1 - line), torch.maximum(alpha, line)], 1)
    return rgba


def warp(rgba: Tensor) -> Tensor:
    """Random rotation, scale, stretch, shear, shift and flip, one per picture; (B, 4, S, S) to the same."""
    count = len(rgba)
    angle = torch.randn(count) * 0.15
    scale = torch.empty(count).uniform_(math.log(0.85), math.log(1.4)).exp_()  # above 1: smaller
    stretch = (torch.randn(count) * 0.08).exp()
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin, shear = angle.cos() * scale, angle.sin() * scale, torch.randn(count) * 0.08
    theta = torch.stack(
        [
            torch.stack([flip * cos * stretch, -sin + shear, torch.randn(count) * 0.08], 1),
            torch.stack([flip * sin, cos / stretch, torch.randn(count) * 0.08], 1),
        ],
        1,
    )  # (B, 2, 3)
    return F.grid_sample(rgba, F.affine_grid(theta, list(rgba.shape), align_corners=False), align_corners=False)


def recolour(rgb: Tensor) -> Tensor:
    """Random brightness, contrast, colour mixing (hue and saturation) and a light from one side; (B, 3, S, S), 0..1."""
    count, size = len(rgb), rgb.shape[-1]
    luma = torch.tensor([0.3, 0.59, 0.11]).expand(count, 3, 3)  # (B, 3, 3): rows that all give grey
    saturation = torch.empty(count, 1, 1).uniform_(0.3, 1.5)
    saturation[torch.rand(count) < 0.1] = 0
    mix = (torch.eye(3) + 0.12 * torch.randn(count, 3, 3)) @ (saturation * torch.eye(3) + (1 - saturation) * luma)
    gain = (torch.randn(count, 1, 1) * 0.2).exp()
    rgb = (mix @ rgb.flatten(2) * gain + torch.randn(count, 3, 1) * 0.05).view_as(rgb)
    ramp = torch.linspace(-1, 1, size)
    slope = torch.randn(count, 2, 1, 1, 1) * 0.2
    return rgb.mul_(1 + slope[:, 0] * ramp.view(1, 1, size, 1) + slope[:, 1] * ramp).clamp_(0, 1)


def augment(raw: Tensor, strength: float = 1.0) -> Tensor:
    """Make training images (B, 3, S, S), CLIP-normalised, of stored pictures (B, S, S, 4) uint8.

    strength (0..1) scales how many of them get lines, other colours, a tinted page and blur; all are warped.
    """
    rgba = raw.permute(0, 3, 1, 2).float().div_(255)
    rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    count = len(rgba)
    rgba = warp(lines(rgba, torch.rand(count) < 0.35 * strength))
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    rgb = torch.where((torch.rand(count) < 0.85 * strength).view(-1, 1, 1, 1), recolour(rgb), rgb)
    page = torch.ones(count, 3, 1, 1)
    tinted = torch.rand(count) < 0.35 * strength
    page[tinted] = torch.rand(int(tinted.sum()), 3, 1, 1)
    image = rgb * alpha.gt(0) + (1 - alpha) * page
    blurred = torch.rand(count) < 0.2 * strength
    image[blurred] = F.avg_pool2d(image[blurred], 3, 1, 1, count_include_pad=False)
    image += torch.randn(image.shape) * (torch.rand(count, 1, 1, 1) * 0.04)
    return (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


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


def emoji_val() -> tuple[Tensor, Tensor, list[str]]:
    """Emoji's val split: images (N, 3, 64, 64) normalised, labels (N,), designs."""
    with zipfile.ZipFile(Path(__file__).resolve().parent.parent / "datasets" / "emoji.zip") as archive:
        rows = json.loads(archive.read("emoji/split_zhou_Emoji.json"))["val"]
        images = [Image.open(BytesIO(archive.read(f"emoji/images/{path}"))).convert("RGB") for path, _, _ in rows]
    stacked = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 255
    stacked = (stacked - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return stacked, torch.tensor([label for _, label, _ in rows]), [path[:-4].rsplit("-", 1)[1] for path, _, _ in rows]


@torch.no_grad()
def evaluate(clip: nn.Module, vocabulary: Vocabulary, val: tuple[Tensor, Tensor, list[str]]) -> dict[str, float]:
    """Zero-shot accuracy in % on Emoji's val split, template "a photo of a {}.": all 20 classes, base, new, designs."""
    clip.eval()
    images, labels, designs = val
    text = encode_text(clip, *vocabulary([PLAIN.format(word) for word in sorted(SUBGROUPS)]))
    scores = torch.cat([F.normalize(clip.visual(part), dim=-1) @ text.T for part in images.split(64)])
    clip.train()
    hit = scores.argmax(1).eq(labels).float()
    base, new = labels < 10, labels >= 10
    result = {"all": hit.mean(), "base": scores[base, :10].argmax(1).eq(labels[base]).float().mean(),
              "new": scores[new, 10:].argmax(1).eq(labels[new] - 10).float().mean()}  # fmt: skip
    for design in sorted(set(designs)):
        result[design] = hit[torch.tensor([one == design for one in designs])].mean()
    return {name: round(100 * float(value), 1) for name, value in result.items()}


@torch.no_grad()
def by_anchors(clip: nn.Module, anchors: Tensor, val: tuple[Tensor, Tensor, list[str]]) -> float:
    """As `evaluate` over all 20 classes, by the class words' anchors (20, D): what the eye alone can do."""
    scores = torch.cat([look(clip.visual, part)[0] @ anchors.T for part in val[0].split(64)])
    return round(100 * scores.argmax(1).eq(val[1]).float().mean().item(), 1)


def build(kind: str, vocabulary: Vocabulary) -> nn.Module:
    """An open_clip CLIP with the vocabulary's rows only."""
    config = json.loads(json.dumps(MODELS[kind]))
    config["text_cfg"]["vocab_size"] = len(vocabulary.ids)
    clip = open_clip.CLIP(**config)
    with torch.no_grad():
        clip.logit_scale.fill_(math.log(12))
    return clip


def save(clip: nn.Module, vocabulary: Vocabulary, kind: str, out: Path) -> None:
    """Write mini-<kind>.safetensors (float16, used rows of the vocabulary and their ids) and its open_clip JSON."""
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in clip.state_dict().items()}
    tensors["token_ids"] = torch.tensor(vocabulary.ids, dtype=torch.int32)
    temporary = out / f".mini-{kind}.{os.getpid()}"
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)
    os.replace(temporary, out / f"mini-{kind}.safetensors")
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest", "size": [64, 64]}
    config = {"model_cfg": MODELS[kind], "preprocess_cfg": preprocess}
    (out / f"mini-{kind}.json").write_text(json.dumps(config, indent=2) + "\n")


def batches(pictures: Pictures, minutes: float) -> Iterator[tuple[float, int, Tensor, Tensor]]:
    """(share of the time that has passed, step, things (B,), augmented images (B, 3, S, S)) until the time is over.

    An epoch takes a third of the pictures outside the 20 classes: they train a general eye but cost as much.
    """
    things = torch.from_numpy(pictures.things)
    inside = torch.tensor([word in SUBGROUPS for word in pictures.groups])[things]
    start, step = time.time(), 0
    while True:
        order = torch.nonzero(inside | (torch.rand(len(inside)) < 0.33))[:, 0]
        for batch in order[torch.randperm(len(order))].split(BATCH)[:-1]:
            done = (time.time() - start) / (60 * minutes)
            if done >= 1:
                return
            raw = torch.from_numpy(pictures.pixels)[batch]
            yield done, step, things[batch], augment(raw, min(0.7, 0.2 + done))
            step += 1


def optimise(modules: list[nn.Module], free: list[nn.Parameter]) -> Callable[[Tensor, float, int], None]:
    """AdamW over the modules' weights, vectors and `free` without decay: a function of loss, share of time and step."""
    learned = [p for module in modules for p in module.parameters() if p.requires_grad]
    plain = [*free, *(p for p in learned if p.ndim < 2)]
    groups = [{"params": [p for p in learned if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
              {"params": plain, "weight_decay": 0.0}]  # fmt: skip
    optimiser = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98), fused=True)

    def update(loss: Tensor, done: float, step: int) -> None:
        for group in optimiser.param_groups:
            group["lr"] = LR * min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * done)))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*free, *learned], 1.0)
        optimiser.step()

    return update


class Log:
    """Mean of every named part of the loss since the last line."""

    def __init__(self) -> None:
        self.start, self.sums = time.time(), {}

    def add(self, parts: dict[str, Tensor]) -> None:
        for name, part in parts.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + part.item(), count + 1)

    def seconds(self) -> float:
        return time.time() - self.start

    def line(self, step: int, *more: object) -> None:
        means = {name: round(total / count, 2) for name, (total, count) in self.sums.items()}
        print(f"step {step + 1}, {time.time() - self.start:.0f} s:", means, *more, flush=True)
        self.sums = {}


def train_tutor(pictures: Pictures, minutes: float, path: Path) -> None:
    """Train the tutor on class words and names, and store it with its anchors."""
    words, (images, labels, _), log = Words.of(pictures), emoji_val(), Log()
    tutor = Tutor().to(memory_format=torch.channels_last)
    anchors = nn.Parameter(torch.randn(len(words.concepts), WIDTH))
    update = optimise([tutor], [anchors])
    for done, step, things, batch in batches(pictures, minutes):
        parts = seen_losses(tutor(batch)[0], F.normalize(anchors, dim=-1), words, things)
        update(sum(parts.values()), done, step)
        log.add(parts)
        if step % 300 == 299:
            with torch.no_grad():
                scores = tutor.eval()(images)[0] @ F.normalize(anchors[words.groups[:20]], dim=-1).T
            tutor.train()
            log.line(step, round(100 * scores.argmax(1).eq(labels).float().mean().item(), 1))
    torch.save({"tutor": tutor.state_dict(), "anchors": anchors.detach()}, path)


def train(kind: str, pictures: Pictures, minutes: float, stored: dict, out: Path) -> None:
    """Train one CLIP for about `minutes`; the cosine schedule follows the clock, so that it always ends at 0."""
    words, val = Words.of(pictures), emoji_val()
    ends = sorted({template.partition("{}")[2][:1] for template in TEMPLATES} | {","})  # BPE may join a mark to a word
    vocabulary = Vocabulary([*TEMPLATES, ", a type of", *(word + end for word in words.concepts for end in ends)])
    clip, log = build(kind, vocabulary), Log()
    hints = Hints(stored, MODELS[kind]["vision_cfg"]["width"], MODELS[kind]["embed_dim"])
    anchors = nn.Parameter(torch.randn(len(words.concepts), MODELS[kind]["embed_dim"]))
    update = optimise([clip, hints], [anchors])
    print(kind, f"{sum(p.numel() for p in clip.parameters()) / 1e6:.2f} M parameters,", len(vocabulary.ids), "tokens")
    for done, step, things, images in batches(pictures, minutes):
        (image, tokens), directions = look(clip.visual, images), F.normalize(anchors, dim=-1)
        parts = seen_losses(image, directions, words, things)
        parts |= hints.losses(images, image, tokens, directions, words)
        if done > EYES_ONLY:
            parts |= said_losses(clip, image, directions, vocabulary, pictures, words, things)
        update(sum(parts.values()), done, step)
        with torch.no_grad():
            clip.logit_scale.clamp_(max=math.log(50))
        log.add(parts)
        if step % 300 == 299:
            log.line(step, "val", evaluate(clip, vocabulary, val), "scale", round(clip.logit_scale.exp().item(), 1),
                     "by anchors", by_anchors(clip, directions[words.groups[:20]], val))  # fmt: skip
            save(clip, vocabulary, kind, out)
    log.line(step, "val", evaluate(clip, vocabulary, val), "scale", round(clip.logit_scale.exp().item(), 1))
    save(clip, vocabulary, kind, out)


def retell(kind: str, pictures: Pictures, minutes: float, out: Path) -> None:
    """Give a trained CLIP a new text encoder that never hears a class word, learned from names and keywords alone.

    The image encoder stays as it is, so its features are worth as much as before; what the small model lacks against
    its teacher is language, as small CLIPs do. That gap is what distillation has to close.
    """
    words, val = Words.of(pictures), emoji_val()
    ends = sorted({template.partition("{}")[2][:1] for template in TEMPLATES} | {","})
    vocabulary = Vocabulary([*TEMPLATES, ", a type of", *(word + end for word in words.concepts for end in ends)])
    clip, stored = build(kind, vocabulary), load_file(out / f"mini-{kind}.safetensors")
    clip.visual.load_state_dict(
        {name.removeprefix("visual."): part.float() for name, part in stored.items() if name.startswith("visual.")}
    )
    clip.visual.requires_grad_(False).eval()
    sayable = [index for index, concept in enumerate(words.concepts) if concept not in CLASS_WORDS]
    true = words.true[:, sayable].float()  # (T, K)
    things, views = torch.from_numpy(pictures.things), []
    able = true[things].any(1).nonzero()[:, 0]  # pictures that have a word left
    with torch.no_grad():
        for _ in range(2):
            parts = torch.from_numpy(pictures.pixels).split(64)
            views.append(torch.cat([F.normalize(clip.visual(augment(part, 0.3)), dim=-1) for part in parts]))  # (N, D)
    update, log = optimise([clip], []), Log()
    for step in count():
        done = log.seconds() / (60 * minutes)
        if done >= 1:
            break
        rows = able[torch.randint(len(able), (BATCH,))]
        image = views[step % len(views)][rows]
        said = torch.multinomial(true[things[rows]], 1)[:, 0]  # (B,) one true word each
        texts = [
            (PLAIN if random.random() < 0.3 else random.choice(TEMPLATES)).format(words.concepts[sayable[index]])
            for index in said
        ]
        logits = clip.logit_scale.exp() * image @ encode_text(clip, *vocabulary(texts)).T  # (B, B)
        right = true[things[rows]][:, said]  # (B, B)
        parts = {"caption": soft_cross_entropy(logits, right) + soft_cross_entropy(logits.T, right.T)}
        update(sum(parts.values()), done, step)
        log.add(parts)
        if step % 300 == 299:
            log.line(step, "val", evaluate(clip, vocabulary, val), "scale", round(clip.logit_scale.exp().item(), 1))
    save(clip, vocabulary, kind, out)


def main() -> None:
    """Train the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["tutor", *MODELS, "student-text"])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "promptkd-emoji")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "clip" / "mini")
    parser.add_argument("--stamps", action="store_true", help="add Tux Paint's captioned stamps")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pictures, tutor = load(args.cache, args.stamps), args.cache / "tutor.pt"
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    if args.kind == "tutor":
        train_tutor(pictures, args.minutes, tutor)
    elif args.kind == "student-text":
        retell("student", pictures, args.minutes, args.out)
    else:
        train(args.kind, pictures, args.minutes, torch.load(tutor, weights_only=True), args.out)


if __name__ == "__main__":
    main()
