"""The data sets; importing this package registers each of them with Dassl under its published name."""

from datasets import (  # noqa: F401
    caltech101,
    dtd,
    emoji,
    eurosat,
    fgvc_aircraft,
    folder,
    food101,
    imagenet,
    imagenet_a,
    imagenet_r,
    imagenet_sketch,
    imagenetv2,
    oxford_flowers,
    oxford_pets,
    stanford_cars,
    sun397,
    ucf101,
    unlabeled,
)
