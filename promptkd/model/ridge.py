"""Ridge regression in closed form, from sums over batches: it takes the memory of a square of the channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class RidgeRegression:
    """The linear map that leads rows to rows with the least squares, gathered batch by batch in float64.

    `min_{W, b} mean_i |W x_i + b - y_i|^2 + strength v |W|^2`, where v is the mean variance of a channel of x: so one
    strength serves features of any size. It has one solution for any number of rows, also below that of channels.

    Args:
        inputs, targets: D and E, the channels of x and y.
        device: where they are.
    """

    def __init__(self, inputs: int, targets: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        shapes = ((inputs,), (targets,), (inputs, inputs), (inputs, targets))  # of x, of y, of x x^T and of x y^T
        self._sums = [torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes]

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Takes n pairs of rows: (n, D) and (n, E), of any float type."""
        x, y = inputs.double(), targets.double()
        self.count += len(x)
        for total, new in zip(self._sums, (x.sum(0), y.sum(0), x.t() @ x, x.t() @ y), strict=True):
            total += new

    def solve(self, strength: float, total: Callable[[Tensor], Tensor] = lambda value: value) -> tuple[Tensor, Tensor]:
        """W (E, D) and b (E,) in float64; `count` is that of all rows afterwards.

        Args:
            strength: above 0.
            total: gives the sum of a tensor over several processes, each of which has some of the rows.

        Raises:
            ValueError: there are no rows.
        """
        count = total(torch.tensor(float(self.count), dtype=torch.float64, device=self._sums[0].device))
        if not count:
            raise ValueError("a ridge regression of no rows")
        self.count = int(count)
        mean_x, mean_y, square, cross = (total(one) / count for one in self._sums)
        covariance = square - torch.outer(mean_x, mean_x)  # (D, D)
        variance = covariance.diagonal().mean()
        if variance <= 0:  # all rows are the same: nothing tells them apart
            return torch.zeros_like(cross).t(), mean_y
        covariance.diagonal().add_(strength * variance)
        weight = torch.linalg.solve(covariance, cross - torch.outer(mean_x, mean_y)).t()  # (E, D)
        return weight, mean_y - weight @ mean_x
