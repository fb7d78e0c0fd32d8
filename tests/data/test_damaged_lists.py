"""Lists and annotations that claim more than they hold are refused before they cost memory."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz import cost
from scipy.io import savemat

from promptkd.data.class_lists import read_class_list
from promptkd.data.class_texts import read_class_texts
from promptkd.data.concepts import read_concepts
from promptkd.data.file_lists import read_files
from promptkd.data.reading import read_mat
from promptkd.data.splits import read_split


def test_a_matlab_file_that_unpacks_without_end(tmp_path: Path) -> None:
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(bytes(2**24)) for _ in range(20)) + packer.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    (tmp_path / "huge.mat").write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    error, _, grown = cost(lambda: read_mat(tmp_path / "huge.mat", "x"))
    assert isinstance(error, ValueError) and "huge.mat unpacks to far more" in str(error) and grown < 100e6
    savemat(tmp_path / "good.mat", {"labels": np.arange(1000)}, do_compression=True)
    assert read_mat(tmp_path / "good.mat", "labels").tolist() == list(range(1000))


def test_lists_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "classes.txt")
    with pytest.raises(ValueError, match=r"classes\.txt is no regular file"):
        read_class_list(tmp_path / "classes.txt")
    (tmp_path / "split.json").write_text('{"train": ' + "[" * 100_000)
    with pytest.raises(ValueError, match=r"split\.json is nested deeper"):
        read_split(tmp_path / "split.json")
    (tmp_path / "files.json").write_text(json.dumps([{"path": "a" * 10_000, "class": ["x"] * 10_000}]))
    with pytest.raises(ValueError, match=r"files\.json, row 1") as caught:
        read_files(tmp_path / "files.json", tmp_path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"cat": ["a cat"], "Cat": ["another"]}, "has 'Cat' twice"),
        ({"cat": "a cat"}, r"'cat' is 'a cat': it has to be a list"),
        ({"cat": ["a cat", 3]}, r"'cat'\[1\] is 3"),
        ({"cat": []}, "'cat' has no text"),
        ({"cat": [" "]}, "'cat' has no text, or an empty one"),
        ({"cat": ["long " * 1000]}, "of at most 1,000 characters"),
        ({"\x1b[2J": 3}, "it has to be a list"),
    ],
)
def test_texts_of_classes_are_checked(tmp_path: Path, content: dict, fault: str) -> None:
    (tmp_path / "texts.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"texts\.json.*{fault}") as caught:
        read_class_texts(tmp_path / "texts.json", ["cat"])
    assert len(str(caught.value)) < 500 and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [("cat\n" + "x" * 300, "is no name of up to 200"), ("cat\na\x1b[2J", "is no name"), ("cat\nCat", "more than once"),
     ("\n".join(map(str, range(100_001))), "has 100,001 names"), ("cat", "has 1 names")],
)  # fmt: skip
def test_concepts_are_checked(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "concepts.txt").write_text(content)
    with pytest.raises(ValueError, match=rf"concepts\.txt.*{fault}") as caught:
        read_concepts(tmp_path / "concepts.txt")
    assert len(str(caught.value)) < 500 and "\x1b" not in str(caught.value)
