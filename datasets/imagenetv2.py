"""ImageNetV2 (Recht et al., 2019), matched-frequency: a second test set for ImageNet's 1,000 classes."""

from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import Layout
from datasets.imagenet import ImageNetVariant, read_classnames
from datasets.images import list_folders, list_images
from datasets.splits import Listing


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    """Folders are named by label, 0 to 999, in the order of the sorted wnids."""

    dataset_dir = "imagenetv2"
    other_dirs = ("ImageNetV2", "imagenet-v2")
    image_dirs = ("imagenetv2-matched-frequency-format-val", ".")
    marker = "[0-9]*"
    counts = (10000, 0, 10000)
    classes = 1000

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        names = [name for _, name in sorted(read_classnames(layout).items())]
        labels = sorted(int(folder) for folder in list_folders(layout.images) if folder.isdecimal())
        if labels and labels[-1] >= len(names):
            raise ValueError(f"ImageNetV2: folder {labels[-1]} but classnames.txt has {len(names)} classes")
        items = [
            (f"{label}/{file}", label, names[label])
            for label in labels
            for file in list_images(layout.images / str(label))
        ]
        return Listing(items, [], items)
