"""A student whose image encoder itself learns: norms, last blocks, all of it, or low-rank changes of its layers.

CLIP stays frozen and comes in as an argument. What is learned of its image encoder are tensors under the encoder's own
names, and the encoder is walked with these in the place of its own (torch.func.functional_call): norms and blocks as
copies, LoRA (arXiv 2106.09685) as W + (alpha / r) B A. The running statistics of a BatchNorm stay CLIP's, in training
too (our choice: batches of 8 say little of them, and a step then is the same in parts and over processes).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from promptkd.model.parts import ImageTower
from promptkd.model.prompting import encode_image
from promptkd.model.prompts import StudentPrompts
from promptkd.model.towers import blocks_of, norm_names, place_in

LAST = "last:"
KINDS = ("norm", "lora", "last:N", "full")


class TunedStudent(StudentPrompts):
    """PromptKD's student without prompts: a tuned image encoder, then the projector.

    Args:
        clip: the student's CLIP, frozen; only its image encoder is read.
        teacher_dim, n_layers, kind: see StudentPrompts.
        tune: "norm", "last:N", "full" or "lora".
        rank, alpha, modules: of LoRA, see promptkd.model.lora.

    Raises:
        ValueError: the image encoder has no such parts; the message says what it has.
    """

    def __init__(
        self,
        clip: Any,
        teacher_dim: int,
        n_layers: int,
        kind: str,
        tune: str,
        rank: int = 0,
        alpha: float = 0.0,
        modules: tuple[str, ...] = (),
    ) -> None:
        super().__init__(clip, teacher_dim, 0, 0, n_layers, kind)
        self.tower: Any
        if tune == "lora":
            from promptkd.model.lora import LowRank

            self.tower = LowRank(clip.visual, rank, alpha, modules)
        else:
            self.tower = Copies(clip.visual, tuned_names(clip.visual, tune))

    def unprojected(self, clip: Any, images: Tensor) -> Tensor:
        """Features of the tuned image encoder: (B, 3, H, W) -> (B, D of the student's CLIP), un-normalised."""
        return encode_with(clip.visual, images, self.tower.weights(clip.visual))

    def merged(self, visual: ImageTower) -> ImageTower:
        """A copy of the image encoder that has the tuned weights itself."""
        visual = copy.deepcopy(visual)
        with torch.no_grad():
            for name, value in self.tower.weights(visual).items():
                visual.get_parameter(name).data = value.detach().clone()
        return visual


class Copies(nn.Module):
    """Copies of some of an encoder's parameters, which learn, under its names ("transformer.resblocks.0.ln_1.weight").

    Args:
        visual: an image encoder.
        names: of its parameters.
    """

    def __init__(self, visual: ImageTower, names: list[str]) -> None:
        super().__init__()
        for name in names:
            value = visual.get_parameter(name).detach().float().clone()
            if value.dim() == 4 and not isinstance(visual, VisionTransformer):  # quicker so, see Precision.store
                value = value.contiguous(memory_format=torch.channels_last)
            path, _, leaf = name.rpartition(".")
            place_in(self, path).register_parameter(leaf, nn.Parameter(value))

    def weights(self, visual: ImageTower) -> dict[str, Tensor]:
        """Name -> the tensor that takes the place of the encoder's."""
        return dict(self.named_parameters())


class _Walk(nn.Module):
    """`encode_image` as a module, whose parameters can be replaced for one call."""

    def __init__(self, visual: ImageTower) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        return encode_image(self.visual, images)


def encode_with(visual: ImageTower, images: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Image features of an encoder with some of its weights replaced: (B, 3, H, W) -> (B, D), not normalised.

    Not for several threads at once: the weights are in the encoder while it computes.
    """
    return functional_call(_Walk(visual), {f"visual.{name}": value for name, value in weights.items()}, (images,))


def tuned_names(visual: ImageTower, tune: str) -> list[str]:
    """The names of the parameters that "norm", "last:N" or "full" tunes.

    Raises:
        ValueError: the encoder has no such parts; the message says what it has.
    """
    if tune == "full":
        return [name for name, _ in visual.named_parameters()]
    if tune == "norm":
        if not (names := norm_names(visual)):
            raise ValueError(f"TUNE norm: this image encoder ({type(visual).__name__}) has no norms with weights")
        return names
    blocks, behind = blocks_of(visual)
    count = int(tune.removeprefix(LAST))
    if not 1 <= count <= len(blocks):
        raise ValueError(
            f"TUNE {tune}: this image encoder has {len(blocks)} blocks, set last:1 to last:{len(blocks)} "
            "(projector tunes none, full all and what is before them)"
        )
    return [name for block in blocks[-count:] for name in block] + behind


def is_tune(word: str) -> bool:
    """Whether a word names a way to tune the encoder: norm, lora, full, or last: and a number."""
    return word in KINDS[:2] + KINDS[3:] or (word.startswith(LAST) and word.removeprefix(LAST).isdecimal())
