"""ImageNetV2 (Recht et al., 2019), matched-frequency: a second test set for ImageNet's 1,000 classes."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import Layout
from promptkd.data.folders import list_folders, list_images
from promptkd.data.splits import Listing

from .imagenet import ImageNetVariant, read_classnames


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    """Folders are named by label, 0 to 999 (zeros before a number are fine), in the order of the sorted wnids."""

    dataset_dir = "imagenetv2"
    other_dirs = (
        "ImageNetV2",
        "imagenet-v2",
        "imagenetv2-matched-frequency-format-val",
        "imagenetv2-matched-frequency",
    )
    image_dirs = ("imagenetv2-matched-frequency-format-val", ".")
    marker = "[0-9]*"
    counts = (10000, 0, 10000)
    classes = 1000

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        labels = {folder: int(folder) for folder in list_folders(layout.images) if folder.isdecimal()}
        # Labels are the places of the sorted wnids, and stand for them where there is no classnames.txt.
        names = [name for _, name in sorted(read_classnames(layout, [f"n{i:08d}" for i in labels.values()]).items())]
        if labels and max(labels.values()) >= len(names):
            raise ValueError(f"ImageNetV2: folder {max(labels.values())} but classnames.txt has {len(names)} classes")
        items = [
            (f"{folder}/{file}", label, names[label])
            for folder, label in sorted(labels.items(), key=lambda pair: pair[1])
            for file in list_images(layout.images / folder)
        ]
        return Listing(items, [], items)
