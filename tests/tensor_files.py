"""Small files as OpenAI, PyTorch and attackers write them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

# OpenAI's files tell the heads by the width: 64 channels each.
OPENAI = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 40, "width": 64, "heads": 1, "layers": 1},
}


class OpenAIForm(nn.Module):
    """A CLIP with the three numbers that OpenAI's archives hold beside the weights, and a tensor that is no weight."""

    def __init__(self) -> None:
        super().__init__()
        model = CLIP(**OPENAI, quick_gelu=True).eval()
        for name, value in model.named_children():
            setattr(self, name, value)
        self.positional_embedding, self.text_projection = model.positional_embedding, model.text_projection
        self.logit_scale = model.logit_scale
        self.constant = torch.ones(3)
        for name, number in (("input_resolution", 32), ("context_length", 12), ("vocab_size", 40)):
            self.register_buffer(name, torch.tensor(number))

    def forward(self, images: Tensor) -> Tensor:
        return self.visual(images) * self.constant.sum() * self.logit_scale.exp()


def openai_archive(path: Path) -> Path:
    """Writes a TorchScript archive with the names of OpenAI's ViT-B/16, its matrices in half precision."""
    torch.manual_seed(5)
    model = OpenAIForm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, torch.ones(1, 3, 32, 32), check_trace=False)
        for parameter in traced.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.half()
        traced.save(str(path))
    return path
