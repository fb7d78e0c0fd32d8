"""Layers and losses of domain adaptation and generalisation, under upstream's names."""

from .attention import Attention
from .conv import Conv2dDynamic
from .cross_entropy import cross_entropy
from .dsbn import DSBN1d, DSBN2d
from .efdmix import (
    EFDMix,
    activate_efdmix,
    crossdomain_efdmix,
    deactivate_efdmix,
    random_efdmix,
    run_with_efdmix,
    run_without_efdmix,
)
from .mixstyle import (
    MixStyle,
    activate_mixstyle,
    crossdomain_mixstyle,
    deactivate_mixstyle,
    random_mixstyle,
    run_with_mixstyle,
    run_without_mixstyle,
)
from .mixup import mixup
from .mmd import MaximumMeanDiscrepancy
from .optimal_transport import MinibatchEnergyDistance, OptimalTransport, SinkhornDivergence
from .reverse_grad import ReverseGrad
from .sequential2 import Sequential2
from .transnorm import TransNorm1d, TransNorm2d

__all__ = [
    "Attention",
    "Conv2dDynamic",
    "DSBN1d",
    "DSBN2d",
    "EFDMix",
    "MaximumMeanDiscrepancy",
    "MinibatchEnergyDistance",
    "MixStyle",
    "OptimalTransport",
    "ReverseGrad",
    "Sequential2",
    "SinkhornDivergence",
    "TransNorm1d",
    "TransNorm2d",
    "activate_efdmix",
    "activate_mixstyle",
    "cross_entropy",
    "crossdomain_efdmix",
    "crossdomain_mixstyle",
    "deactivate_efdmix",
    "deactivate_mixstyle",
    "mixup",
    "random_efdmix",
    "random_mixstyle",
    "run_with_efdmix",
    "run_with_mixstyle",
    "run_without_efdmix",
    "run_without_mixstyle",
]
