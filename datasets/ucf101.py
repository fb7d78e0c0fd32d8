"""UCF101 (Soomro et al., 2012): 101 human actions, one frame from the middle of each video."""

import re
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.benchmark import BenchmarkDataset, Layout
from promptkd.data.reading import label_of, read_fields
from promptkd.data.splits import Item, Listing, split_trainval


@DATASET_REGISTRY.register()
class UCF101(BenchmarkDataset):
    """First official test list; a fifth of the first official training list of each class is validation.

    Class and folder names are the actions with "_" between their words: ApplyEyeMakeup is Apply_Eye_Makeup. The lists'
    lines are "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1", `classInd.txt` has "1 ApplyEyeMakeup".
    """

    dataset_dir = "ucf101"
    other_dirs = ("UCF101", "UCF-101")
    image_dirs = ("UCF-101-midframes",)
    split_file = "split_zhou_UCF101.json"
    counts = (7639, 1898, 3783)
    classes = 101

    @classmethod
    def build(cls, layout: Layout) -> Listing:
        def listed(name: str) -> Path:
            return layout.file(f"ucfTrainTestlist/{name}", name)

        labels = {action: int(number) - 1 for number, action, *_ in read_fields(listed("classInd.txt"), 2, number=0)}

        def items(name: str) -> list[Item]:
            result = []
            for video, *_ in read_fields(path := listed(name), 1):
                action, _, file = video.partition("/")
                words = "_".join(re.findall("[A-Z][^A-Z]*", action))
                result.append((f"{words}/{Path(file).stem}.jpg", label_of(labels, action, path), words))
            return result

        return Listing(*split_trainval(items("trainlist01.txt")), items("testlist01.txt"))
