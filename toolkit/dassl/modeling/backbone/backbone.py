"""What a backbone is."""

from __future__ import annotations

from torch import nn


class Backbone(nn.Module):
    """Images -> features; a subclass sets `self._out_features` to the width of the features."""

    _out_features: int

    @property
    def out_features(self) -> int:
        """Width of the features."""
        return self._out_features
