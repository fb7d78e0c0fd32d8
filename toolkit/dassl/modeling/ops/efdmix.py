"""EFDMix: the sorted values of two images are mixed (Zhang et al., arXiv 2203.07740, equation 10)."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import Tensor, nn

from .mixing import StyleMixing, choose, switch, switched


class EFDMix(StyleMixing):
    """Mixes the values of each channel by rank: its whole distribution, not only mean and deviation."""

    def mixed(self, x: Tensor, share: Tensor, partners: Tensor) -> Tensor:
        """As `StyleMixing.mixed`."""
        flat = x.flatten(2)  # (B, C, HW)
        values, order = flat.sort(-1)
        matched = values[partners].gather(-1, order.argsort(-1))  # the partner's value of each pixel's rank
        return (flat + (matched - flat.detach()) * (1 - share[:, None, None])).view_as(x)


def deactivate_efdmix(m: nn.Module) -> None:
    """Switch a EFDMix off; for `model.apply`."""
    switch(m, EFDMix, False)


def activate_efdmix(m: nn.Module) -> None:
    """Switch a EFDMix on; for `model.apply`."""
    switch(m, EFDMix, True)


def random_efdmix(m: nn.Module) -> None:
    """Have a EFDMix mix with any image; for `model.apply`."""
    choose(m, EFDMix, "random")


def crossdomain_efdmix(m: nn.Module) -> None:
    """Have a EFDMix mix with the batch's other half; for `model.apply`."""
    choose(m, EFDMix, "crossdomain")


def run_without_efdmix(model: nn.Module) -> AbstractContextManager[None]:
    """All EFDMix of a model off meanwhile, on afterwards."""
    return switched(model, EFDMix, False)


def run_with_efdmix(model: nn.Module, mix: str | None = None) -> AbstractContextManager[None]:
    """All EFDMix of a model on meanwhile, off afterwards; `mix` is chosen first where it is given."""
    return switched(model, EFDMix, True, mix)
