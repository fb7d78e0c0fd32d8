"""Weights from a feature map's channel means, squeezed in between."""

from __future__ import annotations

from torch import Tensor, nn


class Attention(nn.Module):
    """Weights of `out_features` things for each image, which sum to 1 (DDG, arXiv 2205.13913, section 3.3).

    Args:
        in_channels: C of the feature map.
        out_features: number of weights.
        squeeze: width in between; None or 0 for C // 16.
        bias: of both linear layers.

    Raises:
        ValueError: fewer than 16 channels without a `squeeze`.
    """

    def __init__(self, in_channels: int, out_features: int, squeeze: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.squeeze = squeeze or in_channels // 16
        if self.squeeze < 1:
            raise ValueError(f"{in_channels} channels leave no width in between; give squeeze")
        self.fc1 = nn.Linear(in_channels, self.squeeze, bias=bias)
        self.fc2 = nn.Linear(self.squeeze, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_features)."""
        return self.fc2(self.fc1(x.mean((2, 3))).relu()).softmax(-1)
