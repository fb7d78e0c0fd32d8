"""Several teachers as one: the mixture of their class probabilities.

Two teachers in PromptKD, mixed equally or by confidence for each image, are the idea of TheProfessor (arXiv 2606.23897,
of which the abstract was to be had); what confidence is, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RULES = ("equal", "weights", "entropy", "margin")
_NO_MARGIN = 1e-6  # added to each margin: where all teachers waver they count alike


@dataclass(frozen=True)
class Mixture:
    """`p = sum_k w_k softmax(z_k / T)` of K teachers' logits z_k, each with the scale of its own model.

    Attributes:
        rule: of the weights. "equal": 1 / K; "weights": `weights`; by confidence, for each image: "entropy", as
            exp(-H(p_k)), 1 over the number of classes among which teacher k wavers, and "margin", as the distance of
            its two highest probabilities. The weights of an image have the sum 1.
        weights: K numbers of sum 1, of that rule.
        temperature: T.
    """

    rule: str = "equal"
    weights: tuple[float, ...] = ()
    temperature: float = 1.0

    def __call__(self, logits: Sequence[Tensor]) -> Tensor:
        """`T log p`: logits whose softmax at temperature T is the mixture; of one teacher its logits as they are.

        Args:
            logits: K of (B, C).

        Returns:
            (B, C) float32.
        """
        if len(logits) == 1:
            return logits[0]
        parts = self._log_probabilities(logits)  # (K, B, C)
        weights = self._weights(parts)  # (K, B)
        return self.temperature * (weights.log()[:, :, None] + parts).logsumexp(dim=0)

    def shares(self, logits: Sequence[Tensor]) -> Tensor:
        """The weights (K, B) of the teachers for each image; see `__call__`."""
        return self._weights(self._log_probabilities(logits))

    def _log_probabilities(self, logits: Sequence[Tensor]) -> Tensor:
        return torch.stack([(one.float() / self.temperature).log_softmax(dim=-1) for one in logits])

    def _weights(self, parts: Tensor) -> Tensor:
        """The weights (K, B) for log-probabilities (K, B, C)."""
        count, images, classes = parts.shape
        if self.rule == "weights":
            return parts.new_tensor(self.weights)[:, None].expand(count, images)
        if self.rule == "entropy":
            return (parts.exp() * parts).sum(dim=-1).softmax(dim=0)  # exp(-H_k) over their sum
        if self.rule == "margin" and classes > 1:
            highest = parts.exp().topk(2, dim=-1).values  # (K, B, 2)
            margin = highest[..., 0] - highest[..., 1] + _NO_MARGIN
            return margin / margin.sum(dim=0)
        return parts.new_full((count, images), 1 / count)

    def about(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {"mix": self.rule} | ({"weights": list(self.weights)} if self.rule == "weights" else {})
