"""Several contexts for the same classes, whose class vectors are averaged (UPL)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.model.prompting import shape_of
from promptkd.model.prompts import INIT_STD, Prompts
from promptkd.model.text import encode_texts
from promptkd.model.tokens import PromptTokens


class EnsemblePrompts(Prompts):
    """UPL's prompt ensemble (arXiv 2204.03649, section 3.4): M contexts that start at random, apart from each other.

    The image encoder has no prompts, so the mean of the members' logits is that of the mean of their unit vectors.

    Args:
        clip, n_text, position: see Prompts.
        members: M.
    """

    def __init__(self, clip: nn.Module, n_text: int, members: int, position: str = "end") -> None:
        super().__init__(clip, n_text=n_text, position=position)
        self.ctx = nn.Parameter(torch.randn(members, n_text, shape_of(clip).text_width) * INIT_STD)  # (M, n, d)

    def encode_members(self, clip: nn.Module, tokens: PromptTokens) -> Tensor:
        """Un-normalised text features of C classes with each context: (M, C, D)."""
        return encode_texts(clip, tokens, self.ctx, position=self.position, chunk=self.text_chunk)

    def encode_text(self, clip: nn.Module, tokens: PromptTokens) -> Tensor:
        """The mean of the members' unit vectors, which is not of unit norm: (C, D)."""
        return F.normalize(self.encode_members(clip, tokens).float(), dim=-1).mean(dim=0)
