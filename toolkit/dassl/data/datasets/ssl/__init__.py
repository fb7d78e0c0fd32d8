"""Data sets of semi-supervised learning: some images with labels, all others without."""

from .cifar import CIFAR10, CIFAR100

__all__ = ["CIFAR10", "CIFAR100"]
