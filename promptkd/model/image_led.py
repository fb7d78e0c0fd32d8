"""Text prompts that are linear maps of the visual prompts (FAP)."""

from __future__ import annotations

from torch import Tensor, nn

from promptkd.model.prompting import shape_of
from promptkd.model.prompts import Prompts, check_text
from promptkd.model.text import encode_texts
from promptkd.model.tokens import PromptTokens


class ImageLedPrompts(Prompts):
    """FAP (arXiv 2403.14774): each block's text prompt is a linear map of its visual prompt.

    Args:
        clip: see Prompts.
        n_vision: tokens of each encoder.
        depth: blocks of both encoders with learned tokens.

    Raises:
        ValueError: the model takes no such prompts, or has fewer blocks.
    """

    def __init__(self, clip: nn.Module, n_vision: int, depth: int) -> None:
        shape = shape_of(clip)
        check_text(clip, n_vision, depth, "PROMPT_DEPTH")
        super().__init__(clip, n_vision=n_vision, depth_vision=depth)
        self.text_maps = nn.ModuleList(nn.Linear(shape.vision_width, shape.text_width) for _ in range(depth))

    @property
    def n_text(self) -> int:
        """Context tokens, as many as visual ones."""
        return len(self.vision_prompts[0])

    @property
    def learns_text(self) -> bool:
        """Always: with the visual prompts and the maps."""
        return True

    @property
    def depth_text(self) -> int:
        """Text blocks that see tokens of their own, the input included."""
        return len(self.text_maps)

    def encode_text(self, clip: nn.Module, tokens: PromptTokens) -> Tensor:
        """Un-normalised text features (C, D) of prompted classes."""
        context, *deep = (project(prompt) for project, prompt in zip(self.text_maps, self.vision_prompts, strict=True))
        return encode_texts(clip, tokens, context[None], deep, self.position, False, self.text_chunk)[0]
