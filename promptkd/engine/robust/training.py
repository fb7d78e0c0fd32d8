"""Attacked images of a training step: the options of the attack, and the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from promptkd.engine.options import MethodOptions, option
from promptkd.engine.robust.attacks import Attack, Objective, PixelSpace, evaluating, perturbation
from promptkd.model.prompted_clip import PromptedClip

IN_GREYS = "is it in 1/255? 1 and 4 are usual (not 0.0039, 0.0157); give a number from {} to 64 (0 would be no attack)"


@dataclass(frozen=True)
class AttackOptions(MethodOptions):
    """The attack on training images: PGD in the l_inf ball (published: AdvIVLP and FAP train with 1, 1 and 2)."""

    prec: str = option(
        "fp32", "arithmetic: fp32, or amp, in which the attack stays float32", choices=("fp32", "amp"),
        hint="an attack needs frozen weights in float32 (in half precision small gradients are 0): choose fp32 or amp",
    )  # fmt: skip
    eps: float = option(
        1.0, "radius of the l_inf ball in pixels, in 1/255", least=0.1, most=64, hint=IN_GREYS.format(0.1)
    )
    alpha: float = option(1.0, "length of a step, in 1/255", least=0.02, most=64, hint=IN_GREYS.format(0.02))
    steps: int = option(2, "steps of the attack on a batch", least=1, most=1000)
    random_start: bool = option(True, "the attack starts anywhere in the ball, not at the image")

    def attack(self) -> Attack:
        """The attack that they describe."""
        return Attack(self.eps / 255, self.steps, self.alpha / 255, self.random_start)


def attacked_images(
    model: PromptedClip,
    images: Tensor,
    options: AttackOptions,
    objective: Callable[[Callable[[Tensor], Tensor]], Objective],
    text_features: Tensor | None = None,
) -> Tensor:
    """Images of a step after an attack on the model as it is now: (B, 3, H, W), normalised.

    The attack computes in float32 and in evaluation mode, and leaves no gradient at what is learned.

    Args:
        model: that is attacked.
        images: (B, 3, H, W), normalised.
        options: of the attack.
        objective: the model's logits of pixels -> what the attack makes large.
        text_features: (C, D) that the model compares with, without gradient; None for its class vectors.
    """
    space = PixelSpace.of(model)
    pixels = space.pixels(images)
    with torch.autocast(images.device.type, enabled=False), evaluating(model.prompts):

        def logits(attacked: Tensor) -> Tensor:
            return model.logits(space.normalized(attacked), text_features)

        delta = perturbation(pixels, objective(logits), options.attack())
    return space.normalized(pixels + delta)
