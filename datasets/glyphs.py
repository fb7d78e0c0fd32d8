"""Glyphs: 959 pictures of 20 kinds of things, each in one colour; in the repository (assets/make_glyphs.py)."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.bundled import BundledDataset


@DATASET_REGISTRY.register()
class Glyphs(BundledDataset):
    """Split per class 50/20/30 by object: one part has all that look alike. Unpacked to ROOT/glyphs on first use."""

    dataset_dir = "glyphs"
    split_file = "split_zhou_Glyphs.json"
    counts = (484, 198, 277)
    archive = Path(__file__).with_name("glyphs.zip")
    sha256 = "97c5eac79a7c7be4c8a853ef4c54edb24438455895b482f9d60074d7d94506ed"
