"""An exported .onnx file from the outside: what its metadata say, and the hash by which damage is seen.

The file ends in its hash: one more metadata entry of the ONNX format, whose value is the sha256 of everything before
it. Entries may be appended to such a file, for it is a protocol buffer, whose repeated fields go on behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptkd import bounded
from promptkd.deploy.preprocessing import Preprocessing
from promptkd.deploy.rejection import Rejection
from promptkd.results.numbers import check_temperature

LARGEST = 2**31  # bytes of a protocol buffer, the format's own limit
FORMAT = 1
KEY = "promptkd"  # of the metadata entry with the description, JSON
_HASH_KEY = b"sha256"
_DIGITS = 64


@dataclass(frozen=True)
class OnnxDescription:
    """What an exported file says of itself.

    Attributes:
        classnames: C names, in the order of the probabilities.
        preprocessing: from an image to the model's input.
        dynamic_size: whether resize and crop are inside, so that it takes pixels of any size.
        rejection: when an image is none of the classes; None where that was not chosen.
        about: its origin: "trainer", "backbone", "dataset", ... -> text.
        temperature: by which the graph divides logits.
    """

    classnames: tuple[str, ...]
    preprocessing: Preprocessing
    dynamic_size: bool
    rejection: Rejection | None
    about: dict[str, str]
    temperature: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return {
            "format": FORMAT,
            "classes": list(self.classnames),
            "preprocessing": self.preprocessing.to_dict(),
            "dynamic_size": self.dynamic_size,
            "rejection": None if self.rejection is None else self.rejection.to_dict(),
            "about": self.about,
            "temperature": self.temperature,
        }

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], path: str | Path) -> OnnxDescription:
        """What the metadata of a file say.

        Raises:
            ValueError: they are not those of an export of ours; the message names file and field.
        """
        where = bounded.named(path)
        if KEY not in metadata:
            raise ValueError(f"{where} is no export of this project: give a file of promptkd export --format onnx")
        content = bounded.parse_json(metadata[KEY], f"{where}: its description", bounded.LIST_VALUES)
        fields = ("format", "classes", "preprocessing", "dynamic_size", "rejection", "about")
        if not isinstance(content, dict) or (lacking := [field for field in fields if field not in content]):
            raise ValueError(
                f"{where}: its description lacks {', '.join(lacking) if isinstance(content, dict) else 'all'}"
            )
        if content["format"] != FORMAT:
            raise ValueError(f"{where} is of format {bounded.shown(content['format'])}, this version reads {FORMAT}")
        if not isinstance(content["dynamic_size"], bool) or not isinstance(content["about"], dict):
            raise ValueError(f"{where}: dynamic_size is no truth value, or about no mapping")
        temperature = content.get("temperature", 1.0)  # which earlier exports do not name
        try:
            check_temperature({"value": temperature})
            return cls(
                bounded.texts(content["classes"], "classes"),
                Preprocessing.from_dict(content["preprocessing"]),
                content["dynamic_size"],
                None if content["rejection"] is None else Rejection.from_dict(content["rejection"]),
                {key: str(value) for key, value in content["about"].items()},
                temperature,
            )
        except ValueError as error:
            raise ValueError(f"{where}: {bounded.clipped(error, 300)}") from error


def read_checked(path: str | Path) -> bytes:
    """The content of an exported file, where its hash is the one that it ends in.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or no export of ours.
    """
    content = bounded.read_bytes(path, LARGEST)
    end = hash_entry("0" * _DIGITS)
    before, entry = content[: -len(end)], content[-len(end) :]
    if not entry.startswith(end[:-_DIGITS]):
        raise ValueError(
            f"{bounded.named(path)} does not end in its hash: it is damaged, or no file of promptkd export --format "
            "onnx; export it again"
        )
    if hash_entry(hashlib.sha256(before).hexdigest()) != entry:
        raise ValueError(f"{bounded.named(path)} is damaged: its hash is not that of its content; export it again")
    return content


def with_hash(content: bytes) -> bytes:
    """A file's content with the hash of it behind."""
    return content + hash_entry(hashlib.sha256(content).hexdigest())


def hash_entry(digits: str) -> bytes:
    """The metadata entry as protocol buffers write it: field 14 of a model, with field 1 its key and 2 its value."""
    value = digits.encode("ascii")
    entry = bytes([0x0A, len(_HASH_KEY)]) + _HASH_KEY + bytes([0x12, len(value)]) + value
    return bytes([0x72, len(entry)]) + entry
