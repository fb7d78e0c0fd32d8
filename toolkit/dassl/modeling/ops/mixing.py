"""What MixStyle and EFDMix share: when they mix, with whom, and their switches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

MIXES = ("random", "crossdomain")


class StyleMixing(nn.Module):
    """In training, gives each image of a batch some of another's style; a subclass says what a style is.

    Args:
        p: probability that a batch is mixed.
        alpha: both parameters of the Beta distribution of an image's share of its own style.
        eps: added to variances.
        mix: "random" for any other image, "crossdomain" for one of the batch's other half, which is of another domain.

    Raises:
        ValueError: another `mix`, when it is used.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = 1e-6, mix: str = "random") -> None:
        super().__init__()
        self.p, self.alpha, self.eps, self.mix = p, alpha, eps, mix
        self.beta = torch.distributions.Beta(alpha, alpha)
        self._activated = True

    def extra_repr(self) -> str:
        """The arguments, for print."""
        return f"p={self.p}, alpha={self.alpha}, eps={self.eps}, mix={self.mix}"

    def set_activation_status(self, status: bool = True) -> None:
        """Switch the mixing on or off."""
        self._activated = status

    def update_mix_method(self, mix: str = "random") -> None:
        """Choose with whom an image is mixed from now on."""
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape; unchanged in evaluation, where switched off, and with probability 1 - p."""
        if not self.training or not self._activated or random.random() > self.p:
            return x
        share = self.beta.sample((len(x),)).to(x)  # (B,)
        return self.mixed(x, share, self._partners(len(x)))

    def mixed(self, x: Tensor, share: Tensor, partners: Tensor) -> Tensor:
        """(B, C, H, W) with each image's style mixed with its partner's.

        Args:
            share: (B,), of an image's own style.
            partners: (B,), index of the other image.
        """
        raise NotImplementedError

    def _partners(self, size: int) -> Tensor:
        if self.mix == "random":
            return torch.randperm(size)
        if self.mix != "crossdomain":
            raise ValueError(f"mix is '{self.mix}', but there are {' and '.join(MIXES)}")
        first, second = torch.arange(size).chunk(2)
        # each half, shuffled, in the other's place
        return torch.cat([second[torch.randperm(len(second))], first[torch.randperm(len(first))]])


def switch(module: nn.Module, kind: type[StyleMixing], status: bool) -> None:
    """Switch a module on or off if it is of that kind; for `model.apply`."""
    if type(module) is kind:
        module.set_activation_status(status)


def choose(module: nn.Module, kind: type[StyleMixing], mix: str) -> None:
    """Choose with whom a module mixes if it is of that kind; for `model.apply`."""
    if type(module) is kind:
        module.update_mix_method(mix)


@contextmanager
def switched(model: nn.Module, kind: type[StyleMixing], status: bool, mix: str | None = None) -> Iterator[None]:
    """Have all modules of a kind on (or off) meanwhile, and off (or on) afterwards."""
    if mix is not None:
        model.apply(lambda module: choose(module, kind, mix))
    try:
        model.apply(lambda module: switch(module, kind, status))
        yield
    finally:
        model.apply(lambda module: switch(module, kind, not status))
