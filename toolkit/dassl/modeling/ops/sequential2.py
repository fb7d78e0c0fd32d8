"""A chain of modules that take several inputs."""

from __future__ import annotations

from typing import Any

from torch import nn


class Sequential2(nn.Sequential):
    """nn.Sequential whose modules may give a tuple, which the next one takes as its arguments."""

    def forward(self, *inputs: Any) -> Any:
        """The last module's output."""
        value: Any = inputs
        for module in self:
            value = module(*value) if isinstance(value, tuple) else module(value)
        return value
