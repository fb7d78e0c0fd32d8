"""ImageNet-Sketch (Wang et al., 2019): sketches of ImageNet's 1,000 classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    """The authors' archive has the class folders in `sketch/`."""

    dataset_dir = "imagenet-sketch"
    other_dirs = ("ImageNet-Sketch", "imagenet_sketch", "ImageNetSketch", "sketch")
    image_dirs = ("images", "sketch", ".")
    counts = (50889, 0, 50889)
    classes = 1000
