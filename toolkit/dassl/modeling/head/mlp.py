"""A multi-layer perceptron between backbone and classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from dassl.utils import check_availability

from .build import HEAD_REGISTRY

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


class MLP(nn.Sequential):
    """Linear, batch norm, activation, dropout for each hidden layer: (B, in_features) -> (B, out_features).

    Raises:
        ValueError: unknown activation, or no hidden layer.
    """

    def __init__(
        self,
        in_features: int,
        hidden_layers: Sequence[int] | int,
        activation: str = "relu",
        bn: bool = True,
        dropout: float = 0.0,
    ) -> None:
        widths = [hidden_layers] if isinstance(hidden_layers, int) else list(hidden_layers)
        if not widths:
            raise ValueError("MODEL.HEAD.HIDDEN_LAYERS is empty; give the width of each hidden layer")
        check_availability(activation, ACTIVATIONS)
        layers: list[nn.Module] = []
        for width in widths:
            layers.append(nn.Linear(in_features, width))
            if bn:
                layers.append(nn.BatchNorm1d(width))
            layers.append(ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            in_features = width
        super().__init__(*layers)
        self.out_features = in_features


@HEAD_REGISTRY.register()
def mlp(**kwargs: Any) -> MLP:
    """Build an MLP."""
    return MLP(**kwargs)
