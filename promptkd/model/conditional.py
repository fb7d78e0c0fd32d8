"""A context that a small network moves for each image (CoCoOp)."""

from __future__ import annotations

from torch import Tensor, nn

from promptkd.model.prompting import shape_of
from promptkd.model.prompts import Prompts
from promptkd.model.text import encode_texts
from promptkd.model.tokens import PromptTokens


class ConditionalPrompts(Prompts):
    """CoCoOp's context (arXiv 2203.05557, section 3.2): a small network moves it for each image.

    The network has a sixteenth of the image feature's channels inside, as published.

    Args:
        clip, n_text, phrase: see Prompts.
    """

    def __init__(self, clip: nn.Module, n_text: int, phrase: str = "") -> None:
        super().__init__(clip, n_text=n_text, phrase=phrase)
        shape = shape_of(clip)
        hidden = max(1, shape.embed_dim // 16)
        self.meta_net = nn.Sequential()
        self.meta_net.add_module("linear1", nn.Linear(shape.embed_dim, hidden))
        self.meta_net.add_module("relu", nn.ReLU())
        self.meta_net.add_module("linear2", nn.Linear(hidden, shape.text_width))

    def encode_text_for(self, clip: nn.Module, tokens: PromptTokens, image_features: Tensor) -> Tensor:
        """Text features of C classes for each of B images: (B, D) of unit norm -> (B, C, D), not normalised."""
        assert self.ctx is not None
        contexts = self.ctx + self.meta_net(image_features.to(self.ctx.dtype))[:, None]  # (B, n, d)
        return encode_texts(clip, tokens, contexts, chunk=self.text_chunk)
