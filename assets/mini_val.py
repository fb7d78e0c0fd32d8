"""Zero-shot accuracy of the bundled CLIPs on the val split of Emoji (assets/train_mini.py)."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from make_emoji import SUBGROUPS
from mini_losses import look
from mini_texts import PLAIN, Vocabulary, encode_text
from PIL import Image
from torch import Tensor, nn

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


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
