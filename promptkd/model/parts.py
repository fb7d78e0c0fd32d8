"""Names of an open_clip model's parts, for type hints.

The parts are nn.Modules. PyTorch declares an nn.Module's attributes as "Tensor or Module", so that a type checker could
follow none of `clip.visual.transformer.resblocks`: to it these names mean Any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

Clip: TypeAlias = Any  # a model: open_clip.model.CLIP, CustomTextCLIP, CoCa
ImageTower: TypeAlias = Any  # its image encoder: VisionTransformer, ModifiedResNet, TimmModel
TextTower: TypeAlias = Any  # the module with the text encoder's parts: the CLIP itself, or a TextTransformer
Block: TypeAlias = Any  # a transformer block: ResidualAttentionBlock or another

PromptList: TypeAlias = Sequence[Tensor] | nn.ParameterList  # learned tokens of each block, (n, d) or (B, n, d)
