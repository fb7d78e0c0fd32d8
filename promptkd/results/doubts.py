"""Doubts about accuracies under attack: numbers that a working attack would not leave (masked gradients)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CHECK = "check_"  # begins the names of attacks that are measured to be compared; nothing else has such a name
LARGE = 16  # radius in 1/255 that nearly nothing should withstand
NEARLY_ALL = 10.0  # percent that may withstand it before a result is called doubtful
ZEROS = 1.0  # percent of a gradient's values that may be exactly 0


def doubts(robustness: Mapping[str, Any]) -> list[str]:
    """Sentences about numbers that speak of masked gradients (arXiv 1802.00420, section 3), or of too short an attack.

    A stronger attack must leave no more than a weaker one, up to one image: more steps, AutoAttack, a larger radius.
    Steps are compared by the attacks of TEST.ROBUST.CHECK alone, which differ in nothing else.

    Args:
        robustness: as results.json has it: "attack", "groups" and "zero_gradients".
    """
    attack, eps = robustness["attack"], radii(robustness["attack"])
    sentences = [_cannot_reach(attack, one) for one in eps if not reaches(attack, one)]
    for group, values in robustness["groups"].items():
        slack = 100 / max(values["images"], 1)  # one image
        for stronger, weaker in _pairs(attack, eps):
            if stronger in values and weaker in values and values[stronger] > values[weaker] + slack:
                sentences.append(
                    f"{group}: {stronger} leaves {values[stronger]:.1f} %, {weaker} {values[weaker]:.1f} %: the "
                    "stronger attack finds less, so gradients may be masked and these numbers too high"
                )
        large = f"{CHECK}pgd10_eps{LARGE}"
        if values.get(large, 0) > NEARLY_ALL:
            sentences.append(
                f"{group}: {large} leaves {values[large]:.1f} %, where nearly nothing should withstand: doubtful"
            )
    for group, percent in robustness.get("zero_gradients", {}).items():
        if percent > ZEROS:
            sentences.append(
                f"{group}: {percent:.1f} % of the gradient's values are exactly 0 at the first step, so these pixels "
                "are not attacked: the numbers may be too high"
            )
    return sentences


def radii(attack: Mapping[str, Any]) -> list[float]:
    """The radii of a described attack in 1/255, sorted."""
    return sorted(float(one.removesuffix("/255")) for one in attack["eps"])


def reaches(attack: Mapping[str, Any], eps: float) -> bool:
    """Whether the steps of a described attack, all in one direction, lead to the border of the ball; radius in 1/255.

    From a random start only a part of the way is left to go.
    """
    return attack["start"] != "zero" or attack["steps"] * _step(attack, eps) >= eps * (1 - 1e-6)


def _step(attack: Mapping[str, Any], eps: float) -> float:
    """The length of a step in 1/255."""
    return eps / 4 if attack["step"] == "eps/4" else float(attack["step"].removesuffix("/255"))


def _cannot_reach(attack: Mapping[str, Any], eps: float) -> str:
    steps, step = attack["steps"], _step(attack, eps)
    return (
        f"the attack cannot reach eps: pgd{steps}_eps{eps:g} takes {steps} step{'s' * (steps > 1)} of {step:g}/255, "
        f"{steps * step:g}/255 together, so it leaves too much: set more STEPS, or a longer one (ALPHA)"
    )


def _pairs(attack: Mapping[str, Any], eps: Sequence[float]) -> Iterator[tuple[str, str]]:
    """Names of a stronger and of a weaker attack."""
    asked = {one: f"pgd{attack['steps']}_eps{one:g}" for one in eps}
    for one in eps:
        fgsm, ten, hundred = (f"{CHECK}{name}_eps{one:g}" for name in ("fgsm", "pgd10", "pgd100"))
        yield hundred, ten
        yield ten, fgsm
        for weaker in (asked[one], ten, hundred):
            yield f"aa_eps{one:g}", weaker
    chains = [[asked[one] for one in eps if reaches(attack, one)]]
    chains += [[f"{CHECK}{name}_eps{one:g}" for one in sorted({*eps, LARGE})] for name in ("pgd10", "pgd100")]
    for chain in chains:
        yield from zip(chain[1:], chain, strict=False)  # the larger radius first
