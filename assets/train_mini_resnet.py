"""Train the bundled ResNet CLIP, clip/mini/mini-resnet, to see and to speak as mini-student does.

    python assets/train_mini_resnet.py

Both encoders are distilled: the image encoder gets mini-student's features of augmented pictures (of mini_pictures.py,
without stamps: never a picture of the Emoji data set), the text encoder those of names, keywords and class words in
templates. So it is a CLIP of mini-student's space with another kind of eye, for students that take no visual prompts.
The loss is 1 - cosine. Steps are counted, not timed; about 5 minutes of one core. Emoji's val split is looked at, its
test split is not. Needs what assets/make_emoji.py needs.
"""

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from mini_augment import augment
from mini_pictures import load
from mini_texts import CLASS_WORDS, PLAIN, TEMPLATES, Vocabulary, Words, encode_text
from mini_val import MEAN, STD, emoji_val, evaluate
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 12, "head_width": 32, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2},
}
RATE, WEIGHT_DECAY, BATCH = 3e-3, 0.05, 64
MINI = Path(__file__).resolve().parent.parent / "clip" / "mini"


def built(config: dict, rows: int) -> nn.Module:
    """An open_clip CLIP whose table has so many rows."""
    return open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"] | {"vocab_size": rows})


def known_vocabulary(ids: list[int]) -> Vocabulary:
    """The vocabulary of a bundled model's table."""
    vocabulary = Vocabulary([])
    vocabulary.ids, vocabulary.row = ids, {token: row for row, token in enumerate(ids)}
    return vocabulary


def batches(count: int, steps: int) -> Iterator[Tensor]:
    """Numbers of pictures (B,), each once an epoch, for so many steps."""
    left: list[Tensor] = []
    for _ in range(steps):
        left = left or list(torch.randperm(count).split(BATCH)[:-1])
        yield left.pop()


def learner(module: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, decay on matrices alone, with a warm-up of 100 steps and a cosine to 0."""
    matrices = [value for value in module.parameters() if value.dim() > 1]
    others = [value for value in module.parameters() if value.dim() < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )


def learn(
    name: str,
    steps: int,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss_of: Callable[[int], Tensor],
) -> None:
    """Takes steps on `loss_of(step)`, and prints the mean loss of every 200."""
    total, start = 0.0, time.time()
    for step in range(steps):
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 200 == 199:
            print(f"{name}, step {step + 1}, {time.time() - start:.0f} s: {total / 200:.3f}", flush=True)
            total = 0.0


def train_eye(clip: nn.Module, tutor: nn.Module, pixels: Tensor, steps: int) -> None:
    """The image encoder from mini-student's features of the same augmented pictures (N, 64, 64, 4)."""
    optimizer, schedule = learner(clip.visual, steps)
    turns = batches(len(pixels), steps)

    def loss_of(step: int) -> Tensor:
        images = augment(pixels[next(turns)], 0.6)  # (B, 3, 64, 64)
        with torch.no_grad():
            wanted = F.normalize(tutor.visual(images), dim=-1)
        return 1 - F.cosine_similarity(clip.visual(images), wanted).mean()

    learn("eye", steps, optimizer, schedule, loss_of)


def train_words(clip: nn.Module, tutor: nn.Module, vocabulary: Vocabulary, concepts: list[str], steps: int) -> None:
    """The text encoder from mini-student's features of concepts in templates; a third of the steps hear class words."""
    optimizer, schedule = learner(nn.ModuleList([clip.transformer, clip.token_embedding, clip.ln_final]), steps)
    optimizer.add_param_group({"params": [clip.positional_embedding, clip.text_projection], "weight_decay": 0.0})
    schedule.base_lrs.append(RATE)
    schedule.lr_lambdas.append(schedule.lr_lambdas[0])

    def loss_of(step: int) -> Tensor:
        words = random.choices(CLASS_WORDS if step % 3 == 0 else concepts, k=BATCH)
        texts = [(PLAIN if random.random() < 0.3 else random.choice(TEMPLATES)).format(word) for word in words]
        tokens = vocabulary(texts)
        with torch.no_grad():
            wanted = encode_text(tutor, *tokens)
        return 1 - F.cosine_similarity(encode_text(clip, *tokens), wanted).mean()

    learn("words", steps, optimizer, schedule, loss_of)


def save(clip: nn.Module, ids: list[int]) -> None:
    """Writes mini-resnet.safetensors (float16, rows of the table and their ids) and its open_clip JSON."""
    tensors = {
        name: (value.detach().half() if value.is_floating_point() else value).contiguous()
        for name, value in clip.state_dict().items()
    }
    tensors["token_ids"] = torch.tensor(ids, dtype=torch.int32)
    temporary = MINI / f".mini-resnet.{os.getpid()}"
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)
    os.replace(temporary, MINI / "mini-resnet.safetensors")
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest", "size": [64, 64]}
    text = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}, indent=2)
    (MINI / "mini-resnet.json").write_text(text + "\n")


def main() -> None:
    """Trains and writes mini-resnet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="of the image encoder; the text encoder takes half")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "promptkd-emoji")
    args = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    pictures = load(args.cache, with_stamps=False)
    stored = load_file(MINI / "mini-student.safetensors")
    ids = stored.pop("token_ids").tolist()
    tutor = built(json.loads((MINI / "mini-student.json").read_text())["model_cfg"], len(ids))
    tutor.load_state_dict({name: value.float() for name, value in stored.items()})
    tutor.requires_grad_(False).eval()
    clip, vocabulary = built(CONFIG, len(ids)), known_vocabulary(ids)
    clip.logit_scale.data = tutor.logit_scale.clone()
    known = [
        word for word in Words.of(pictures).concepts
        if all(token in vocabulary.row for template in TEMPLATES for token in vocabulary.encode(template.format(word)))
    ]  # fmt: skip
    print(f"{sum(value.numel() for value in clip.visual.parameters()):,} parameters see,", len(known), "concepts")
    train_words(clip, tutor, vocabulary, known, args.steps // 2)
    train_eye(clip, tutor, torch.from_numpy(pictures.pixels), args.steps)
    val = emoji_val()
    print("val", evaluate(clip, vocabulary, val), "mini-student", evaluate(tutor, vocabulary, val))
    save(clip, ids)


if __name__ == "__main__":
    main()
