"""ImageNet-A (Hendrycks et al., 2021): photographs that mislead classifiers, 200 of ImageNet's classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    """Labels number the 200 folders, so that accuracy is 200-way. The authors' archive is `imagenet-a/`."""

    dataset_dir = "imagenet-adversarial"
    other_dirs = ("imagenet-a", "ImageNet-A", "imagenet_a")
    image_dirs = ("imagenet-a", ".")
    counts = (7500, 0, 7500)
    classes = 200
