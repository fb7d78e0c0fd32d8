"""Unpacks images out of Parquet files, as Hugging Face exports data sets, into folders of parts and classes."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd.data.file_lists import COLUMNS
from promptkd.data.formats import image_suffixes
from promptkd.data.part_names import part_in
from promptkd.files import write_bytes

log = logging.getLogger(__name__)

_ROWS = 64  # read at a time: images may be large
_SUFFIXES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"))


def unpack(folder: Path, out: Path) -> dict[str, int]:
    """Writes the images in Parquet files as OUT/<part>/<class>/<number>.<suffix>, which the data set Folder reads.

    Args:
        folder: of the files, in it or below it; the part (train, val, test) is in a file's name or folder, else train.
        out: where the images go; files that are there stay.

    Returns:
        The number of images of each part.

    Raises:
        FileNotFoundError: no Parquet file is there.
        ValueError: pyarrow is missing, a file is damaged, or has no column of images or of labels.
        OSError: the images cannot be written.
    """
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else [folder]
    if not files:
        raise FileNotFoundError(f"no Parquet file in {folder} or below it")
    numbers: Counter[str] = Counter()
    for file in files:
        part = part_in(file.stem)[0] or part_in(file.parent.name)[0] or "train"
        for content, name in images_of(file):
            place = out / part / folder_name(name)
            write_bytes(place / f"{numbers[part]:07d}{_suffix(content)}", content)
            numbers[part] += 1
    return dict(numbers)


def images_of(file: Path) -> Iterator[tuple[bytes, str]]:
    """The images of a Parquet file: the bytes of each as an image file, and its class name.

    Raises:
        ValueError: see `unpack`.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"{file}: reading Parquet files needs a package: pip install pyarrow") from error
    try:
        table = parquet.ParquetFile(file)
        schema = table.schema_arrow
        image, label = _columns(file, schema.names)
        names = class_names(schema.metadata or {}, label)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[image, label]):
            for row in batch.to_pylist():
                yield _content(file, row[image]), _class(file, row[label], names)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{file} is no Parquet file that can be read ({str(error).splitlines()[0][:200]})") from error


def class_names(metadata: Mapping[bytes, bytes], label: str) -> list[str]:
    """The class names that Hugging Face keeps in a file's metadata, ordered by number; [] where there are none."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def folder_name(name: str) -> str:
    """A class name as the name of a folder: "Ram C/V" is "Ram C-V"."""
    return re.sub(r"[/\\\0]", "-", name).strip().lstrip(".") or "unnamed"


def _columns(file: Path, columns: Sequence[str]) -> tuple[str, str]:
    """The columns of images and labels; raises ValueError where there is none."""
    image = next(
        (name for name in ("image", "img", "images", "picture", "jpg", "png", "webp") if name in columns), None
    )
    label = next(
        (name for name in (*COLUMNS["class"], "labels", "fine_label", "cls", "species") if name in columns), None
    )
    if image is None or label is None:
        raise ValueError(
            f"{file} has no column {'image' if image is None else 'label'}; its columns are {', '.join(columns)[:200]}"
        )
    return image, label


def _content(file: Path, value: Any) -> bytes:
    """The bytes of an image file in a cell, which holds them or {"bytes": ..., "path": ...}."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise ValueError(f"{file}: a cell of images holds no bytes of an image file")
    return content


def _class(file: Path, value: Any, names: Sequence[str]) -> str:
    """The class name of a label: a name, or a number of the file's names (without names, the number)."""
    if isinstance(value, int) and not isinstance(value, bool) and names:
        if not 0 <= value < len(names):
            raise ValueError(f"{file}: label {value} is none of its {len(names)} classes")
        return names[value]
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"{file}: label {str(value)[:40]!r} is neither a name nor a number")
    return str(value)


def _suffix(content: bytes) -> str:
    """The suffix of an image file, by its first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    known = next((suffix for start, suffix in _SUFFIXES if content.startswith(start)), ".jpg")
    return known if known in image_suffixes() else ".jpg"
