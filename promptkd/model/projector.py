"""The projector of a student, from its image features into the space of the teacher's class vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PROJECTORS = ("mlp", "residual")


class ResidualProjector(nn.Module):
    """`W x + b + m(x)`: a linear map, and beside it the published projector m, whose last layer starts at 0. Ours.

    At its start it is the linear map, which can be set in closed form (promptkd.teacher.projector_start).

    Args:
        in_dim: D of the student's image features.
        out_dim: channels of the class vectors.
        n_layers: linear layers of m, 2 or 3.

    Raises:
        ValueError: another number of layers.
    """

    def __init__(self, in_dim: int, out_dim: int, n_layers: int) -> None:
        super().__init__()
        if n_layers < 2:
            raise ValueError(
                f"a residual of {n_layers} linear layer beside a linear map is a linear map: set PROJECT_LAYER 2 or 3, "
                "or PROJECTOR mlp with PROJECT_LAYER 1"
            )
        self.linear = nn.Linear(in_dim, out_dim)
        self.mlp = projector(in_dim, out_dim, n_layers)
        nn.init.zeros_(self.mlp[-1].weight)  # type: ignore[arg-type]  # a linear layer's
        nn.init.zeros_(self.mlp[-1].bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_dim) -> (B, out_dim)."""
        return self.linear(features) + self.mlp(features)


def make_projector(kind: str, in_dim: int, out_dim: int, n_layers: int) -> nn.Module:
    """A projector with its initial values.

    Args:
        kind: "mlp" (the method's) or "residual".
        in_dim, out_dim: channels of the student's image features, and of the class vectors.
        n_layers: linear layers, 1 to 3.

    Raises:
        ValueError: no such projector.
    """
    if kind == "residual":
        return ResidualProjector(in_dim, out_dim, n_layers)
    return projector(in_dim, out_dim, n_layers)


def projector(in_dim: int, out_dim: int, n_layers: int) -> nn.Sequential:
    """Linear layers with BatchNorm and ReLU between them: the same as the published 1x1 convolutions on 1x1 maps.

    Raises:
        ValueError: fewer than 1 or more than 3 layers.
    """
    if not 1 <= n_layers <= 3:
        raise ValueError(f"a projector of {n_layers} layers: PROJECT_LAYER is 1, 2 or 3")
    layers: list[nn.Module] = []
    for _ in range(n_layers - 1):
        linear = nn.Linear(in_dim, out_dim)
        # BatchNorm takes any constant away: this bias has no gradient, and what autograd finds is rounding noise.
        linear.bias.register_hook(torch.zeros_like)
        layers += [linear, nn.BatchNorm1d(out_dim), nn.ReLU()]
        in_dim = out_dim
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


def linear_part(module: nn.Module) -> nn.Linear | None:
    """The linear map that a projector is before anything is learned; None of one with hidden layers alone."""
    if isinstance(module, ResidualProjector):
        return module.linear
    if isinstance(module, nn.Sequential) and len(module) == 1 and isinstance(module[0], nn.Linear):
        return module[0]
    return None
