"""ImageNet-R (Hendrycks et al., 2021): renditions (paintings, toys, tattoos, ...) of 200 of ImageNet's classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    """Labels number the 200 folders, so that accuracy is 200-way. The authors' archive is `imagenet-r/`."""

    dataset_dir = "imagenet-rendition"
    other_dirs = ("imagenet-r", "ImageNet-R", "imagenet_r")
    image_dirs = ("imagenet-r", ".")
    counts = (30000, 0, 30000)
    classes = 200
