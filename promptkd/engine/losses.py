"""Losses and weights that methods share: plain functions of tensors, each with its equation."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def mean_kl(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`T^2 KL(softmax(target / T) || softmax(logits / T))`, summed and divided by B * C as in the published code.

    PromptKD, arXiv 2403.02781, equation 3; PromptSRC, arXiv 2307.06948, equation 5.

    Args:
        logits: (B, C), any float type; the softmax is taken in float32.
        target_logits: (B, C).
        temperature: T.

    Returns:
        A scalar. An ordinary batch-mean KL is C times this: `mean_divergence`.
    """
    log_p = F.log_softmax(logits.float() / temperature, dim=-1)
    log_target = F.log_softmax(target_logits.float() / temperature, dim=-1)
    return F.kl_div(log_p, log_target, reduction="sum", log_target=True) * temperature**2 / logits.numel()


def symmetric_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """`(KL(p_T || p_S) + KL(p_S || p_T)) / 2`, summed over the classes, the mean over the images.

    KDPL, arXiv 2407.03056, section 3.2.

    Args:
        logits: z_S, (B, C), any float type; the softmax is taken in float32.
        target_logits: z_T, (B, C).

    Returns:
        A scalar.
    """
    log_student = F.log_softmax(logits.float(), dim=-1)
    log_teacher = F.log_softmax(target_logits.float(), dim=-1)
    forward = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    reverse = F.kl_div(log_teacher, log_student, reduction="batchmean", log_target=True)
    return 0.5 * (forward + reverse)


def cosine_weighted_kl(logits: Tensor, target_logits: Tensor, cosines: Tensor) -> Tensor:
    """`mean_i (1 + cos_i) KL(p_i || p'_i)`: predictions under attack are held to the clean ones; no side is detached.

    FAP, arXiv 2403.14774 (as in its code): images whose features the attack has moved little count more.

    Args:
        logits: of attacked images, (B, C).
        target_logits: of the clean ones, (B, C).
        cosines: of the image features of both, (B,).

    Returns:
        A scalar.
    """
    log_p = F.log_softmax(logits.float(), dim=-1)
    log_target = F.log_softmax(target_logits.float(), dim=-1)
    divergence = F.kl_div(log_p, log_target, reduction="none", log_target=True).sum(dim=-1)  # (B,)
    return ((1 + cosines) * divergence).mean()


def mean_divergence(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`T^2 KL(softmax(target / T) || softmax(logits / T))`, summed over the classes, the mean over the images.

    Args:
        logits: (B, C), any float type; the softmax is taken in float32.
        target_logits: (B, C).
        temperature: T.

    Returns:
        A scalar: C times `mean_kl`.
    """
    log_p = F.log_softmax(logits.float() / temperature, dim=-1)
    log_target = F.log_softmax(target_logits.float() / temperature, dim=-1)
    return F.kl_div(log_p, log_target, reduction="batchmean", log_target=True) * temperature**2


def marginal_entropy(logits: Tensor) -> Tensor:
    """`sum_c m_c log(m_c + 1e-6)` of the mean prediction m over a batch, from -log C (even) to 0 (one class alone).

    TFUP-T, arXiv 2404.16339, section 3.4: to make it small spreads predictions over the classes.

    Args:
        logits: (B, C).

    Returns:
        A scalar.
    """
    mean = logits.float().softmax(dim=-1).mean(dim=0)  # (C,)
    return (mean * (mean + 1e-6).log()).sum()


def likeliest_classes(logits: Tensor, count: int) -> Tensor:
    """The `count` classes that a batch's images are likeliest to show: their mean probability is highest.

    KDPL, arXiv 2407.03056, section 3.3: the classes of which a step takes its loss where there are thousands.

    Args:
        logits: (B, C).
        count: at least 1; all C classes where it is C or more.

    Returns:
        (min(count, C),) int64, ascending.
    """
    mean = logits.float().softmax(dim=-1).mean(dim=0)  # (C,)
    return mean.topk(min(count, len(mean))).indices.sort().values


def gaussian_weights(epochs: int, mean: float, std: float) -> list[float]:
    """`w_e` proportional to `N(e; mean, std^2)` for e = 1 .. epochs, of sum 1 (arXiv 2307.06948, equation 7).

    Raises:
        ValueError: std is not above 0.
    """
    if std <= 0:
        raise ValueError(f"TRAINER.PROMPTSRC.GPA_STD {std}: a standard deviation is above 0")
    # relative to the largest exponent, so that a mean far outside 1 .. epochs does not underflow to 0/0
    exponents = [-0.5 * ((epoch - mean) / std) ** 2 for epoch in range(1, epochs + 1)]
    weights = [math.exp(exponent - max(exponents)) for exponent in exponents]
    return [weight / sum(weights) for weight in weights]
