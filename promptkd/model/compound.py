"""Visual prompts that are linear maps of the text prompts (MaPLe)."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from promptkd.model.prompting import encode_image, shape_of
from promptkd.model.prompts import Prompts, check_text, check_vision


class CompoundPrompts(Prompts):
    """MaPLe (arXiv 2210.03117, section 3.2): each visual prompt is a linear map of its block's text prompt.

    Args:
        clip, n_text, phrase: see Prompts.
        depth: blocks of both encoders whose prompts are learned.

    Raises:
        ValueError: the model takes no such prompts, or has fewer blocks.
    """

    def __init__(self, clip: nn.Module, n_text: int, depth: int, phrase: str = "") -> None:
        shape = shape_of(clip)
        check_vision(clip, depth, "PROMPT_DEPTH")
        check_text(clip, n_text, depth, "PROMPT_DEPTH")
        super().__init__(clip, n_text=n_text, depth_text=depth, phrase=phrase)
        # The first block's map and one more, of which those of all deeper blocks start as copies.
        first, deeper = (nn.Linear(shape.text_width, shape.vision_width) for _ in range(2))
        self.projections = nn.ModuleList([first, *(copy.deepcopy(deeper) for _ in range(depth - 1))])

    def encode_image(self, clip: Any, images: Tensor) -> Tensor:
        """Un-normalised image features: (B, 3, H, W) -> (B, D)."""
        return encode_image(clip.visual, images, self.visual_prompts())

    def visual_prompts(self) -> list[Tensor]:
        """The visual prompts of each block, the maps of its text prompts: (n, d) each."""
        prompts = zip(self.projections, [self.ctx, *self.text_prompts], strict=True)
        return [project(prompt) for project, prompt in prompts]
