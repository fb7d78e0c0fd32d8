"""CLIP under OpenAI's attribute names, around open_clip's modules, for trainer files written for OpenAI's package.

`design_details` is the MaPLe repository's way to ask for prompts inside the encoders; the parameters have its names, in
which trainers search for "VPT". No trainer of this project uses this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from open_clip.model import CLIP as OpenClip
from open_clip.model import convert_weights_to_lp
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import LayerNorm as PlainLayerNorm
from open_clip.transformer import LayerNormFp32 as LayerNorm
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.bounded import parse_json
from promptkd.model.blocks import is_standard
from promptkd.model.clip_config import check_config
from promptkd.model.parts import Block, Clip, ImageTower
from promptkd.model.prompting import takes_visual_prompts
from promptkd.model.prompts import INIT_STD
from promptkd.model.zoo import from_state

__all__ = [  # those that OpenAI's clip/model.py has as well
    "CLIP",
    "LayerNorm",
    "ModifiedResNet",
    "QuickGELU",
    "ResidualAttentionBlock",
    "Transformer",
    "VisionTransformer",
    "build_model",
    "convert_weights",
]

CONFIG_ENTRY = "open_clip_config"  # entry of a state dict with its architecture, as the bytes of JSON


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
    config = None if stored is None else check_config(parse_json(bytes(stored.tolist()).decode(), CONFIG_ENTRY))
    model = CLIP(from_state(state, config))
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
    """OpenAI's form of an open_clip model, whose modules it takes over: that model is not to be used afterwards.

    Raises:
        ValueError: the model is no plain CLIP.
    """

    def __init__(self, model: Clip) -> None:
        super().__init__()
        if not isinstance(model, OpenClip) or not all(map(is_standard, model.transformer.resblocks)):
            raise ValueError(f"{type(model).__name__} is no plain CLIP: OpenAI's package has no form for it")
        for module in model.modules():
            if type(module) is PlainLayerNorm:  # it refuses half tokens with float32 weights
                module.__class__ = LayerNorm
        # A tower that OpenAI's package does not have (pooled otherwise, timm's) stays open_clip's.
        self.visual = VisionTransformer(model.visual) if _reads_class_token(model) else model.visual
        size = model.visual.image_size
        self.visual.input_resolution = int(size if isinstance(size, int) else size[0])
        self.context_length, self.vocab_size = model.context_length, model.vocab_size
        self.transformer = Transformer(model.transformer, self.build_attention_mask(), text_layer=True)
        self.token_embedding, self.ln_final = model.token_embedding, model.ln_final
        self.positional_embedding, self.text_projection = model.positional_embedding, model.text_projection
        self.logit_scale = model.logit_scale
        self.requires_grad_(True)  # trainers freeze all but their learned parameters

    @property
    def dtype(self) -> torch.dtype:
        """Type of images and prompts."""
        return self.visual.conv1.weight.dtype

    def build_attention_mask(self) -> Tensor:
        """The causal mask (L, L) that is added to the scores of texts: no token sees a later one."""
        return torch.full((self.context_length, self.context_length), float("-inf")).triu_(1)

    def add_prompts(self, vision_depth: int, vision_ctx: int, language_depth: int, language_ctx: int) -> None:
        """Learnable tokens inside the encoders: at the input and before blocks 1 .. depth - 1."""
        if vision_depth and vision_ctx:
            if not isinstance(self.visual, VisionTransformer):
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


class VisionTransformer(nn.Module):
    """The image encoder, whose prompts are parameters (IVLP, VPT) or arguments (MaPLe)."""

    def __init__(self, visual: ImageTower) -> None:
        super().__init__()
        self.conv1 = visual.conv1
        self.class_embedding, self.positional_embedding = visual.class_embedding, visual.positional_embedding
        self.ln_pre, self.ln_post, self.proj = visual.ln_pre, visual.ln_post, visual.proj
        self.transformer = Transformer(visual.transformer)
        self.output_dim, self.image_size = visual.output_dim, visual.image_size

    def forward(self, images: Tensor, shared: Tensor | None = None, deep: Sequence[Tensor] = ()) -> Tensor:
        """(B, 3, H, W), and MaPLe's prompts (n, d) -> (B, D), or (B, d) where `proj` is None."""
        x = self.conv1(images).flatten(2).transpose(1, 2)  # (B, patches, d)
        first = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype)
        prompt = getattr(self, "VPT", None) if shared is None else shared
        if prompt is not None:
            x = torch.cat([x, prompt.to(x.dtype).expand(len(x), -1, -1)], dim=1)  # (B, 1 + patches + n, d)
        x = self.ln_pre(x).permute(1, 0, 2)
        x = self.transformer(x if shared is None else [x, deep, 0])
        x = self.ln_post((x if shared is None else x[0])[0])  # (B, d)
        return x if self.proj is None else x @ self.proj


class Transformer(nn.Module):
    """Blocks on (L, N, d), each of which can be called by itself, or by MaPLe on [(L, N, d), deep prompts, 0]."""

    def __init__(self, transformer: Any, attn_mask: Tensor | None = None, text_layer: bool = False) -> None:
        super().__init__()
        self.width, self.layers = transformer.width, transformer.layers
        blocks = enumerate(transformer.resblocks)
        self.resblocks = nn.Sequential(*(ResidualAttentionBlock(b, i, attn_mask, text_layer) for i, b in blocks))

    def forward(self, inputs: Tensor | Sequence[Any]) -> Any:
        """(L, N, d) -> (L, N, d), or MaPLe's list, with the number of its prompts that were used."""
        return self.resblocks(inputs)


class ResidualAttentionBlock(nn.Module):
    """A block on (L, N, d) of open_clip's parts, with its mask and the prompts that it begins with.

    Args:
        block: open_clip's.
        index: its number; the first block's prompts are in its input.
        attn_mask: (L, L), added to the scores; another may take its place, also one of (N * heads, L, L).
        text_layer: whether prompts (n, d) take the place of tokens 1 .. n, and not of the last n.
    """

    def __init__(self, block: Block, index: int, attn_mask: Tensor | None, text_layer: bool) -> None:
        super().__init__()
        self.attn, self.ln_1, self.mlp, self.ln_2 = block.attn, block.ln_1, block.mlp, block.ln_2
        self.ls_1, self.ls_2 = block.ls_1, block.ls_2
        self.attn.batch_first = False  # the order of its input, as OpenAI's: (L, N, d); the weights are the same
        self.attn_mask, self.text_layer, self.first_layer = attn_mask, text_layer, index == 0

    def attention(self, x: Tensor) -> Tensor:
        """(L, N, d) after the norm -> (L, N, d)."""
        mask = self.attn_mask
        if mask is not None:
            mask = self.attn_mask = mask.to(dtype=x.dtype, device=x.device)  # goes there once
            mask = mask[..., : len(x), : len(x)]  # texts may be cut after their last word
        return self.attn(x, x, x, need_weights=False, attn_mask=mask)[0]

    def forward(self, inputs: Tensor | Sequence[Any]) -> Any:
        """(L, N, d) -> (L, N, d); [(L, N, d), prompts, how many were used] -> the same, after this block.

        Raises:
            ValueError: another list.
        """
        if isinstance(inputs, Tensor):
            return self._walk(inputs, getattr(self, "VPT_shallow", None))
        if len(inputs) != 3:
            raise ValueError(f"a block takes tokens, or MaPLe's list of 3; a list of {len(inputs)} is of another CLIP")
        x, deep, used = inputs
        prompted = not self.first_layer and used < len(deep)
        return [self._walk(x, deep[used] if prompted else None), deep, used + prompted]

    def _walk(self, x: Tensor, prompt: Tensor | None) -> Tensor:
        if prompt is not None:
            n = prompt.shape[-2]
            prompt = prompt.to(x.dtype).expand(x.shape[1], -1, -1).permute(1, 0, 2)  # (n, N, d)
            x = torch.cat([x[:1], prompt, x[1 + n :]] if self.text_layer else [x[:-n], prompt])
        x = x + self.ls_1(self.attention(self.ln_1(x)))
        return x + self.ls_2(self.mlp(self.ln_2(x)))


def _reads_class_token(model: Clip) -> bool:
    """Whether the image encoder is a ViT of standard blocks whose feature is its class token, as OpenAI's are."""
    visual = model.visual
    return (
        takes_visual_prompts(model)
        and (visual.attn_pool, visual.pool_type) == (None, "tok")
        and all(map(is_standard, visual.transformer.resblocks))
    )


def _random(n: int, width: int) -> nn.Parameter:
    """Learnable tokens (n, width) from a normal distribution."""
    return nn.Parameter(torch.randn(n, width) * INIT_STD)


def _add_deep(blocks: Iterable[nn.Module], depth: int, n: int, width: int) -> None:
    """Adds learnable tokens (n, width) before blocks 1 .. depth - 1."""
    for block in list(blocks)[1:depth]:
        block.VPT_shallow = _random(n, width)
