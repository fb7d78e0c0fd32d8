"""CLIP under OpenAI's attribute names, around open_clip's modules, for trainer files written for OpenAI's package.

`design_details` is how the MaPLe repository asks for prompts inside the encoders; parameters have the names it saves
them under, so that trainers find "VPT" in them. No trainer of this project uses this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from open_clip.model import convert_weights_to_lp
from torch import Tensor, nn
from torch.nn import functional as F

from clip.prompting import encode_image, takes_visual_prompts
from clip.prompts import INIT_STD
from clip.zoo import from_state

__all__ = ["CLIP", "build_model", "convert_weights"]

CONFIG_ENTRY = "open_clip_config"  # entry of a state dict that holds its architecture, as the bytes of JSON


def build_model(state_dict: Mapping[str, Tensor], design_details: Mapping[str, Any] | None = None) -> CLIP:
    """A model with these weights, in half precision and evaluation mode, as OpenAI's function gives it.

    Args:
        state_dict: OpenAI's, or one that `_download` wrote.
        design_details: "trainer" (IVLP, VPT: prompts are parameters of the encoders; MaPLe: they are arguments; any
            other: none), "vision_depth", "vision_ctx", "language_depth", "language_ctx".

    Raises:
        ValueError: the tensors are no CLIP's, or visual prompts are asked for and it is no ViT.
    """
    state = dict(state_dict)
    stored = state.pop(CONFIG_ENTRY, None)
    model = CLIP(from_state(state, None if stored is None else json.loads(bytes(stored.tolist()))))
    design = dict(design_details or {})
    if design.get("trainer") in ("IVLP", "VPT"):
        model.add_prompts(**{k: int(design.get(k, 0)) for k in _DESIGN})
    convert_weights(model)
    return model.eval()


def convert_weights(model: nn.Module) -> None:
    """Puts convolutions, matrices and projections into half precision, in place; `.float()` undoes it."""
    convert_weights_to_lp(model)
    for module in model.modules():
        for name in ("text_projection", "proj"):
            if isinstance(parameter := getattr(module, name, None), nn.Parameter):
                parameter.data = parameter.data.half()


_DESIGN = ("vision_depth", "vision_ctx", "language_depth", "language_ctx")


class CLIP(nn.Module):
    """An open_clip model under OpenAI's attribute names; the modules are shared, not copied."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.visual = _Visual(model.visual) if takes_visual_prompts(model) else model.visual
        size = model.visual.image_size
        self.visual.input_resolution = int(size if isinstance(size, int) else size[0])
        self.transformer = _TextBlocks(model.transformer)
        self.token_embedding, self.ln_final = model.token_embedding, model.ln_final
        self.positional_embedding, self.text_projection = model.positional_embedding, model.text_projection
        self.logit_scale = model.logit_scale
        self.context_length, self.vocab_size = model.context_length, model.vocab_size
        self.requires_grad_(True)  # trainers freeze what they do not learn

    @property
    def dtype(self) -> torch.dtype:
        """Type of images and prompts."""
        return self.visual.conv1.weight.dtype

    def add_prompts(self, vision_depth: int, vision_ctx: int, language_depth: int, language_ctx: int) -> None:
        """Learnable tokens inside the encoders: at the input and before blocks 1 .. depth - 1."""
        if vision_depth and vision_ctx:
            if not isinstance(self.visual, _Visual):
                raise ValueError("visual prompts need a Vision Transformer: choose a ViT backbone")
            width = self.visual.conv1.out_channels
            self.visual.VPT = _random(vision_ctx, width)
            _add_deep(self.visual.transformer.resblocks, vision_depth, vision_ctx, width)
        if language_depth and language_ctx:
            _add_deep(self.transformer.resblocks, language_depth, language_ctx, self.ln_final.weight.shape[0])

    def encode_image(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), not normalised."""
        return self.visual(image.type(self.dtype))

    def encode_text(self, text: Tensor) -> Tensor:
        """Token ids (C, L) -> (C, D), not normalised."""
        x = self.token_embedding(text).type(self.dtype) + self.positional_embedding.type(self.dtype)  # (C, L, d)
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.ln_final(x).type(self.dtype)[torch.arange(len(x), device=x.device), text.argmax(dim=-1)]  # (C, d)
        return x @ self.text_projection

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) of images and (C, B) of texts."""
        image_features = F.normalize(self.encode_image(image), dim=-1)
        text_features = F.normalize(self.encode_text(text), dim=-1)
        logits = self.logit_scale.exp() * image_features @ text_features.t()
        return logits, logits.t()


class _Visual(nn.Module):
    """open_clip's ViT, whose prompts are parameters (IVLP, VPT) or arguments (MaPLe)."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_tower", visual)  # computes; its parameters are registered here, once
        for name, child in visual.named_children():
            self.add_module(name, child)
        for name, parameter in visual.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.output_dim, self.image_size = visual.output_dim, visual.image_size

    def forward(self, images: Tensor, shared: Tensor | None = None, deep: Sequence[Tensor] = ()) -> Tensor:
        """(B, 3, H, W), and MaPLe's prompts (n, d) -> (B, D)."""
        if shared is not None:
            return encode_image(self._tower, images, [shared, *deep])
        if hasattr(self, "VPT"):
            return encode_image(self._tower, images, [self.VPT, *_deep(self.transformer.resblocks)])
        return self._tower(images)


class _TextBlocks(nn.Module):
    """The text transformer, called on (L, N, D), or by MaPLe on [(L, N, D), deep prompts, how many were used]."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.resblocks, self.width, self.layers = transformer.resblocks, transformer.width, transformer.layers

    def forward(self, inputs: Tensor | Sequence[Any]) -> Any:
        """Replaces tokens 1 .. n before each block from the second on that has prompts."""
        listed = not isinstance(inputs, Tensor)
        x, deep = (inputs[0], list(inputs[1])) if listed else (inputs, _deep(self.resblocks))
        x = x.permute(1, 0, 2)  # (N, L, D)
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf"), device=x.device, dtype=x.dtype).triu_(1)
        for index, block in enumerate(self.resblocks):
            if 0 < index <= len(deep):
                prompt = deep[index - 1].to(x.dtype).expand(len(x), -1, -1)  # (N, n, D)
                x = torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)
            x = block(x, attn_mask=mask)
        x = x.permute(1, 0, 2)
        return [x, deep, len(deep)] if listed else x


def _random(n: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n, width) * INIT_STD)


def _add_deep(blocks: nn.Module, depth: int, n: int, width: int) -> None:
    for block in list(blocks)[1:depth]:
        block.VPT_shallow = _random(n, width)


def _deep(blocks: nn.Module) -> list[Tensor]:
    return [block.VPT_shallow for block in blocks if hasattr(block, "VPT_shallow")]
