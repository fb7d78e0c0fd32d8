"""The parts of an image encoder, by the names of its tensors: its blocks, what lies behind them, its norms.

A block is a transformer's block or a residual network's; open_clip's Vision Transformer and ResNet are known here, and
timm's models say themselves how their tensors go together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import nn

from promptkd.model.parts import ImageTower

_STEM = {  # beginnings of the names before the first block
    VisionTransformer: ("class_embedding", "positional_embedding", "conv1.", "ln_pre."),
    ModifiedResNet: ("conv1.", "bn1.", "conv2.", "bn2.", "conv3.", "bn3."),
}


def blocks_of(visual: ImageTower) -> tuple[list[list[str]], list[str]]:
    """The names of the parameters of each block, the first block first, and of all that lies behind the last block.

    What lies behind: final norm, pooling and projection. A norm that timm counts to its last block is in that.

    Raises:
        ValueError: it is an image encoder of another kind.
    """
    names = [name for name, _ in visual.named_parameters()]
    for kind, stem in _STEM.items():
        if isinstance(visual, kind):
            blocks = _by_prefix(visual, names)
            inside = {name for block in blocks for name in block}
            return blocks, [name for name in names if name not in inside and not name.startswith(stem)]
    trunk = getattr(visual, "trunk", None)
    if not hasattr(trunk, "group_matcher"):
        raise ValueError(f"this image encoder is a {type(visual).__name__}, whose blocks are not known")
    return _of_timm(trunk, names)


def _by_prefix(visual: ImageTower, names: list[str]) -> list[list[str]]:
    """The names of each block of open_clip's own two encoders."""
    if isinstance(visual, VisionTransformer):
        prefixes = [f"transformer.resblocks.{number}." for number in range(len(visual.transformer.resblocks))]
    else:
        stages = ("layer1", "layer2", "layer3", "layer4")
        prefixes = [f"{stage}.{number}." for stage in stages for number in range(len(getattr(visual, stage)))]
    return [[name for name in names if name.startswith(prefix)] for prefix in prefixes]


def _of_timm(trunk: Any, names: list[str]) -> tuple[list[list[str]], list[str]]:
    """The groups that a timm model names: stem, blocks, and what fits none of its patterns, which is its head."""
    from timm.models import group_parameters

    matcher = trunk.group_matcher(coarse=False)
    given = [one for one in matcher.values() if one is not None]
    patterns = [part[0] for one in given if not isinstance(one, str) for part in one]
    patterns += [one for one in given if isinstance(one, str)]
    groups = group_parameters(trunk, matcher)
    _, *blocks = ([f"trunk.{name}" for name in groups[number]] for number in sorted(groups))  # the first is the stem
    known = {f"trunk.{name}" for name, _ in trunk.named_parameters() if any(re.match(one, name) for one in patterns)}
    blocks = [inside for block in blocks if (inside := [name for name in block if name in known])]
    grouped = known | {f"trunk.{name}" for name in groups[min(groups)]}
    return blocks, [name for name in names if name not in grouped]


def norm_names(visual: ImageTower) -> list[str]:
    """The names of the affine parameters of all norms (LayerNorm, BatchNorm, GroupNorm, RMSNorm and their likes)."""
    return [
        f"{name}.{part}" if name else part
        for name, module in visual.named_modules()
        if "norm" in type(module).__name__.lower()
        for part, value in module.named_parameters(recurse=False)
        if value.dim() == 1
    ]


def layers_of(visual: ImageTower) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each linear layer, attention and convolution without groups; an attention's own are its."""
    inside: tuple[str, ...] = ()
    for name, module in visual.named_modules():
        if inside and name.startswith(inside):
            continue
        if isinstance(module, nn.MultiheadAttention):
            inside = (*inside, f"{name}.")
            yield name, module
        elif isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield name, module


def place_in(module: nn.Module, path: str) -> nn.Module:
    """The module under a dotted path, made of empty ones where it is not there; "" is the module itself."""
    for part in path.split(".") if path else ():
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module
