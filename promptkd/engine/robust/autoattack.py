"""AutoAttack (Croce and Hein, arXiv 2003.01690) as an attack of an evaluation, through the package torchattacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

INSTALL = "pip install --no-deps torchattacks"  # its pin on requests, which it does not need for this, is left out
LEAST_CLASSES = 4  # its DLR loss compares with the fourth largest logit


class _Victim(nn.Module):
    """Logits of pixels as a module, which torchattacks asks for."""

    def __init__(self, logits: Callable[[Tensor], Tensor], device: torch.device) -> None:
        super().__init__()
        self._logits = logits
        self.place = nn.Parameter(torch.zeros((), device=device))  # where torchattacks reads the device from

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C)."""
        return self._logits(pixels)


def check_installed() -> Any:
    """The package torchattacks.

    Raises:
        ValueError: it is not installed; the message says how it is.
    """
    try:
        import torchattacks
    except ImportError:
        raise ValueError(f"TEST.ROBUST.ATTACK autoattack needs torchattacks: {INSTALL}") from None
    return torchattacks


def check_classes(groups: Mapping[str, Sequence[int]]) -> None:
    """Refuses class groups that it cannot attack.

    Args:
        groups: name -> labels.

    Raises:
        ValueError: one has too few classes.
    """
    for group, labels in groups.items():
        if len(labels) < LEAST_CLASSES:
            raise ValueError(
                f"TEST.ROBUST.ATTACK autoattack: it needs {LEAST_CLASSES} classes, {group} has {len(labels)}: use pgd"
            )


def auto_attack(eps: float) -> Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]:
    """The standard version (APGD-CE, APGD-T, FAB-T, Square) with seed 0, as logits, pixels, labels -> perturbation.

    Args:
        eps: radius in [0, 1].
    """

    def perturb(logits: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
        torchattacks = check_installed()
        with torch.no_grad():
            classes = logits(pixels[:1]).shape[1]
        attack = torchattacks.AutoAttack(_Victim(logits, pixels.device), eps=eps, n_classes=classes, seed=0)
        with torch.enable_grad():
            return (attack(pixels, labels) - pixels).detach().clamp(-eps, eps)

    return perturb
