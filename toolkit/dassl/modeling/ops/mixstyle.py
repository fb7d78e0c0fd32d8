"""MixStyle: channel means and deviations of two images are mixed (Zhou et al., arXiv 2104.02008, section 3.2)."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import Tensor, nn

from .mixing import StyleMixing, choose, switch, switched


class MixStyle(StyleMixing):
    """Mixes the mean and the standard deviation of each channel; no gradient goes through them."""

    def mixed(self, x: Tensor, share: Tensor, partners: Tensor) -> Tensor:
        """As `StyleMixing.mixed`."""
        share = share[:, None, None, None]
        mean = x.mean((2, 3), keepdim=True).detach()  # (B, C, 1, 1)
        deviation = (x.var((2, 3), keepdim=True) + self.eps).sqrt().detach()
        plain = (x - mean) / deviation
        return plain * deviation[partners].lerp(deviation, share) + mean[partners].lerp(mean, share)


def deactivate_mixstyle(m: nn.Module) -> None:
    """Switch a MixStyle off; for `model.apply`."""
    switch(m, MixStyle, False)


def activate_mixstyle(m: nn.Module) -> None:
    """Switch a MixStyle on; for `model.apply`."""
    switch(m, MixStyle, True)


def random_mixstyle(m: nn.Module) -> None:
    """Have a MixStyle mix with any image; for `model.apply`."""
    choose(m, MixStyle, "random")


def crossdomain_mixstyle(m: nn.Module) -> None:
    """Have a MixStyle mix with the batch's other half; for `model.apply`."""
    choose(m, MixStyle, "crossdomain")


def run_without_mixstyle(model: nn.Module) -> AbstractContextManager[None]:
    """All MixStyle of a model off meanwhile, on afterwards."""
    return switched(model, MixStyle, False)


def run_with_mixstyle(model: nn.Module, mix: str | None = None) -> AbstractContextManager[None]:
    """All MixStyle of a model on meanwhile, off afterwards; `mix` is chosen first where it is given."""
    return switched(model, MixStyle, True, mix)
