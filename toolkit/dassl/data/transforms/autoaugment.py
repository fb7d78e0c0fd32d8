"""The policies of AutoAugment (Cubuk et al., arXiv 1805.09501) under upstream's names: torchvision's."""

from __future__ import annotations

from torchvision.transforms import AutoAugment, AutoAugmentPolicy


class ImageNetPolicy(AutoAugment):
    """The policy that was learned on ImageNet."""

    def __init__(self) -> None:
        super().__init__(AutoAugmentPolicy.IMAGENET)


class CIFAR10Policy(AutoAugment):
    """The policy that was learned on CIFAR-10."""

    def __init__(self) -> None:
        super().__init__(AutoAugmentPolicy.CIFAR10)


class SVHNPolicy(AutoAugment):
    """The policy that was learned on SVHN."""

    def __init__(self) -> None:
        super().__init__(AutoAugmentPolicy.SVHN)
