"""Train the bundled CLIP pair, clip/mini/mini-teacher and mini-student, from scratch on captioned emoji and stamps.

    python assets/train_mini.py tutor   --stamps --minutes 5   # a convolutional helper, kept in the cache only
    python assets/train_mini.py student --stamps --minutes 12
    python assets/train_mini.py teacher --stamps --minutes 26

Both are plain open_clip CLIPs. They see the designs of assets/mini_pictures.py, never a picture of the Emoji data set.
Settings were chosen by looking at zero-shot accuracy on that data set's val split (printed here), never at its test
split. Needs what assets/make_emoji.py needs, and for the stamps apt-get and dpkg. clip/mini/README.md has the results.

The schedule follows the clock, so weights do not come out the same to the last bit. What is learned from a picture:
- its class word among all class words and its name among all names, as directions ("anchors") that are learned beside
  the CLIP and dropped in the end; and the tutor's tokens, features and answers (assets/mini_tutor.py);
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
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from make_emoji import SUBGROUPS
from mini_augment import augment
from mini_losses import Hints, look, said_losses, seen_losses, soft_cross_entropy
from mini_pictures import Pictures, load
from mini_texts import CLASS_WORDS, PLAIN, TEMPLATES, Vocabulary, Words, encode_text
from mini_tutor import WIDTH, Tutor
from mini_val import by_anchors, emoji_val, evaluate
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
