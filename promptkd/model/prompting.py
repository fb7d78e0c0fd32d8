"""Prompted CLIP: an open_clip model's own blocks, walked with prompts as arguments.

The methods of the field keep one copy of CLIP's transformer each. All those copies are one transformer that is given
different tokens, so the tokens are arguments here: VPT (arXiv 2203.12119, eq. 4-8) for images, CoOp (arXiv 2109.01134,
eq. 3) and MaPLe (arXiv 2210.03117, eq. 4-6) for text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from promptkd.model import blocks
from promptkd.model.parts import Clip, ImageTower, PromptList, TextTower


@dataclass(frozen=True)
class ClipShape:
    """The sizes a prompt learner needs, all read from a model: widths in channels, depths in blocks, pixels."""

    embed_dim: int
    resolution: int
    vision_width: int
    vision_layers: int
    text_width: int
    text_layers: int
    context_length: int
    target_dim: int = 0  # channels of the class vectors that a student's features are compared to


def shape_of(clip: Clip) -> ClipShape:
    """Reads the sizes of an open_clip model; depth and width of a tower that takes no prompts are 0."""
    visual, text = clip.visual, text_tower(clip)
    size = visual.image_size
    vit = isinstance(visual, VisionTransformer)
    prompted_text = takes_text_prompts(clip)
    return ClipShape(
        embed_dim=_embed_dim(visual, text),
        resolution=int(size if isinstance(size, int) else size[0]),
        vision_width=visual.conv1.out_channels if vit else 0,
        vision_layers=len(visual.transformer.resblocks) if vit else 0,
        text_width=text.token_embedding.embedding_dim if prompted_text else 0,
        text_layers=len(text.transformer.resblocks) if prompted_text else 0,
        context_length=int(getattr(text, "context_length", 0)),
    )


def _embed_dim(visual: ImageTower, text: TextTower) -> int:
    """Channels of image features; the text encoder tells them where the image encoder does not (timm's towers)."""
    for tower in (visual, text):
        if hasattr(tower, "output_dim"):
            return int(tower.output_dim)
    projection = text.text_projection
    return int(projection.out_features if isinstance(projection, nn.Linear) else projection.shape[-1])


def text_tower(clip: Clip) -> TextTower:
    """The module that owns the text encoder's parts: open_clip's CLIP itself, or the `.text` of its other models."""
    return getattr(clip, "text", clip)


def takes_text_prompts(clip: Clip) -> bool:
    """Whether the text encoder is CLIP's transformer, whose token embeddings can be replaced by learned ones."""
    text = text_tower(clip)
    plain = isinstance(text, (CLIP, TextTransformer)) and getattr(text, "token_embedding", None) is not None
    words = isinstance(getattr(clip, "tokenizer", None), HFTokenizer)  # a vocabulary of its own (SigLIP)
    return plain and not words and getattr(text, "cls_emb", None) is None


def takes_visual_prompts(clip: Clip) -> bool:
    """Whether the image encoder is a Vision Transformer, to whose tokens learned ones can be added."""
    return isinstance(clip.visual, VisionTransformer)


def encode_image(visual: ImageTower, images: Tensor, prompts: PromptList = ()) -> Tensor:
    """Image features with visual prompts.

    Args:
        visual: image tower of an open_clip model (any tower where `prompts` is empty).
        images: (B, 3, H, W), normalised as the model wants them.
        prompts: `prompts[0]` (n, d) joins after the patch tokens and passes through ln_pre with them; `prompts[i]`
            takes the place of those n tokens before block i.

    Returns:
        (B, D), not normalised.
    """
    if not isinstance(visual, VisionTransformer) or not visual.transformer.batch_first:
        return visual(images)
    class_token_only = visual.attn_pool is None and visual.pool_type == "tok"
    walk = getattr(visual, "compiled_walk", walk_image)
    pooled, _ = visual._pool(walk(visual, visual._embeds(images), list(prompts), class_token_only))  # (B, d)
    return pooled if visual.proj is None else pooled @ visual.proj


def walk_image(visual: ImageTower, x: Tensor, prompts: Sequence[Tensor], class_token_only: bool) -> Tensor:
    """Embedded patches through the blocks: (B, 1 + patches, d) -> the same, or (B, 1, d) of the class token."""
    patches = x.shape[1]
    if prompts:
        # ln_pre works token by token, so the prompt may pass through it alone, once for the whole batch.
        x = torch.cat([x, _for_batch(visual.ln_pre(prompts[0]), x)], dim=1)  # (B, 1 + patches + n, d)
    *inner, last = visual.transformer.resblocks
    for index, block in enumerate(inner):
        if 0 < index < len(prompts):
            x = torch.cat([x[:, :patches], _for_batch(prompts[index], x)], dim=1)
        x = blocks.whole(block, x)
    if len(inner) < len(prompts) and inner:
        x = torch.cat([x[:, :patches], _for_batch(prompts[len(inner)], x)], dim=1)
    return blocks.of_first_token(last, x) if class_token_only else blocks.whole(last, x)[:, :patches]


def encode_text(clip: Clip, embeddings: Tensor, eot: Tensor, prompts: PromptList = ()) -> Tensor:
    """Text features from token embeddings, with deep prompts.

    Args:
        clip: open_clip model whose text encoder is CLIP's transformer.
        embeddings: (C, L, d) token embeddings without positions. Attention is causal, so L need only reach the last
            end-of-text token of the batch: nothing after it can change the result.
        eot: (C,) position at which each text is read out.
        prompts: `prompts[i]` (n, d) takes the place of tokens 1..n before block i + 1.

    Returns:
        (C, D), not normalised.
    """
    tower = text_tower(clip)
    length = embeddings.shape[1]
    x = embeddings + tower.positional_embedding[:length].to(embeddings.dtype)  # (C, L, d)
    mask = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index <= len(prompts):
            prompt = prompts[index - 1]
            x = torch.cat([x[:, :1], _for_batch(prompt, x), x[:, 1 + prompt.shape[0] :]], dim=1)
        x = blocks.whole(block, x, mask)
    return project_text(clip, x[torch.arange(len(x), device=x.device), eot])


def project_text(clip: Clip, x: Tensor) -> Tensor:
    """The last step of a text encoder, norm and projection of the tokens that are read out: (..., d) -> (..., D)."""
    tower = text_tower(clip)
    x = tower.ln_final(x)
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def _for_batch(prompt: Tensor, x: Tensor) -> Tensor:
    """(n, d) or (B, n, d) -> (B, n, d) in the type of x, without copying."""
    return prompt.to(x.dtype).expand(x.shape[0], *prompt.shape[-2:])
