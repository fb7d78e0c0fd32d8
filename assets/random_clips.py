"""CLIPs of the published widths with random weights and few blocks, as OpenAI's files: to see whether code runs.

    python assets/random_clips.py FOLDER
    CLIP_CACHE=FOLDER promptkd foreign ...

writes ViT-B-16.pt (widths 768 and 512), ViT-B-32.pt, ViT-L-14.pt (1024 and 768) and RN50.pt as half-precision state
dicts of 224-pixel models. Numbers made with them say nothing of a method.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip.model import CLIP
from torch import Tensor

BLOCKS = 3
IMAGE = {"image_size": 224, "layers": BLOCKS}
MODELS = {
    "ViT-B-16": (512, IMAGE | {"width": 768, "patch_size": 16}, 512),
    "ViT-B-32": (512, IMAGE | {"width": 768, "patch_size": 32}, 512),
    "ViT-L-14": (768, IMAGE | {"width": 1024, "patch_size": 14}, 768),
    "RN50": (1024, IMAGE | {"width": 64, "layers": [1, 1, 1, 1], "head_width": 64, "patch_size": None}, 512),
}


def state_of(name: str, seed: int = 0) -> dict[str, Tensor]:
    """The state dict of a model, as OpenAI's, matrices in half precision."""
    torch.manual_seed(seed)
    joint, image, width = MODELS[name]
    text = {"context_length": 77, "vocab_size": 49408, "width": width, "heads": width // 64, "layers": BLOCKS}
    model = CLIP(joint, image, text, quick_gelu=True)
    state = {key: value.half() for key, value in model.state_dict().items() if key != "attn_mask"}
    numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    return state | {key: torch.tensor(value) for key, value in numbers.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the models into the folder that is given, those that are named after it or all."""
    folder, *names = argv if argv is not None else sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or MODELS:
        torch.save(state_of(name), Path(folder) / f"{name}.pt")


if __name__ == "__main__":
    main()
