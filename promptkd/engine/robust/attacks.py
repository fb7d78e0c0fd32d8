"""Projected gradient descent in pixel space (PGD, Madry et al., arXiv 1706.06083, section 2), for training and tests.

The threat model: a perturbation d of the pixels x in [0, 1], before they are normalised, of at most eps in each value
(the l_inf ball), with x + d in [0, 1]; it is found by steps along the sign of the gradient, in float32, while the model
is in evaluation mode. The attacker knows everything, the learned texts too (docs/robustness.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.zoo import image_statistics

Objective = Callable[[Tensor], Tensor]  # attacked pixels (B, 3, H, W) in [0, 1] -> what the attack makes large, (B,)


@dataclass(frozen=True)
class Attack:
    """An l_inf attack.

    Attributes:
        eps: radius of the ball, as a share of the range of pixels: 1/255 is one grey level.
        steps: of the gradient.
        step: length of one, in the unit of eps; 0 is eps / 4.
        random_start: whether it starts anywhere in the ball, not at the image.
    """

    eps: float
    steps: int
    step: float = 0.0
    random_start: bool = False

    @property
    def length(self) -> float:
        """Length of a step."""
        return self.step or self.eps / 4

    def start(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Where it starts: noise of the pixels' shape, not yet clipped to their range; drawn on the CPU.

        Args:
            pixels: (B, 3, H, W).
            generator: gives the random numbers; None for PyTorch's own.
        """
        if not self.random_start:
            return torch.zeros_like(pixels)
        return torch.empty(pixels.shape).uniform_(-self.eps, self.eps, generator=generator).to(pixels)


@dataclass(frozen=True)
class PixelSpace:
    """The way between a model's input and pixels in [0, 1].

    Attributes:
        mean, std: (3, 1, 1), of the model's input.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, model: PromptedClip) -> PixelSpace:
        """That of a model's CLIP, on its device."""
        mean, std = image_statistics(model.clip)
        return cls(*(torch.tensor(values, device=model.device).view(3, 1, 1) for values in (mean, std)))

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> pixels in [0, 1], float32; what rounding has put outside is clipped."""
        return (images.float() * self.std + self.mean).clamp(0, 1)

    def normalized(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1] -> a model's input."""
        return (pixels - self.mean) / self.std


def perturbation(
    pixels: Tensor,
    objective: Objective,
    attack: Attack,
    start: Tensor | None = None,
    box: bool = True,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """The perturbation that PGD ends at: (B, 3, H, W), of at most eps in each value.

    One step: d <- clip(d + step sign(gradient), -eps, eps), then d <- clip(x + d, 0, 1) - x.

    Args:
        pixels: x, in [0, 1].
        objective: what is made large, a number for each image.
        attack: radius and steps.
        start: d before the first step; None for the attack's own.
        box: whether d is clipped to the range of pixels after each step, as in FAP (arXiv 2403.14774) and torchattacks;
            else the objective alone sees x + d clipped, as in APT (arXiv 2403.01849).
        watch: gets the gradient of the first step, (B, 3, H, W).
    """
    delta = attack.start(pixels) if start is None else start
    if box:
        delta = (pixels + delta).clamp(0, 1) - pixels
    for step in range(attack.steps):
        delta = delta.detach().requires_grad_(True)
        attacked = pixels + delta
        with torch.enable_grad():
            value = objective(
                attacked if box else attacked.clamp(0, 1)
            ).sum()  # a sum: each image's gradient is its own
            (gradient,) = torch.autograd.grad(value, delta)  # of delta alone: what is learned gets no gradient
        if watch is not None and step == 0:
            watch(gradient)
        with torch.no_grad():
            delta = (delta + attack.length * gradient.sign()).clamp(-attack.eps, attack.eps)
            if box:
                delta = (pixels + delta).clamp(0, 1) - pixels
    delta = delta.detach()
    return delta if box else (pixels + delta).clamp(0, 1) - pixels


def against_labels(logits: Callable[[Tensor], Tensor], labels: Tensor) -> Objective:
    """The cross-entropy of each image with its label.

    Args:
        logits: attacked pixels (B, 3, H, W) -> (B, C).
        labels: (B,).
    """
    return lambda pixels: F.cross_entropy(logits(pixels).float(), labels, reduction="none")


def away_from(logits: Callable[[Tensor], Tensor], target_logits: Tensor) -> Objective:
    """`KL(p || p')` of each image, where no label is known (TRADES, arXiv 1901.08573, equation 5; FAP).

    Args:
        logits: attacked pixels (B, 3, H, W) -> (B, C), of p'.
        target_logits: (B, C), of p; without gradient.
    """
    log_target = F.log_softmax(target_logits.detach().float(), dim=-1)

    def divergence(pixels: Tensor) -> Tensor:
        log_p = F.log_softmax(logits(pixels).float(), dim=-1)
        return F.kl_div(log_p, log_target, reduction="none", log_target=True).sum(dim=-1)

    return divergence


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode meanwhile: statistics of attacked images must not get into a BatchNorm (PromptKD's projector)."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextmanager
def in_float32(model: PromptedClip) -> Iterator[None]:
    """Frozen weights in float32 and no autocast meanwhile: in float16 small gradients are 0, and the attack weak."""
    model.clip.float()
    try:
        with torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        model.clip = model.precision.store(
            model.clip
        )  # the same bits as before: float32 holds every half-precision number
