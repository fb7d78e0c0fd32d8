"""What a run learns from, a teacher or initial weights, known by its content: its files may have moved meanwhile.

A run's directory keeps origins.json: the hash of the content behind each path in its configuration that decides its
numbers, and the configuration hashes that the run had under earlier paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptkd import bounded, files

FILE_NAME = "origins.json"


def is_origin(key: str) -> bool:
    """Whether a configuration key names what a run learns from, by a path that may change."""
    return key == "MODEL.INIT_WEIGHTS" or (key.startswith("TRAINER.") and key.endswith((".TEACHER", ".TEACHERS")))


def content_hash(place: str | Path | Sequence[str]) -> str:
    """A hash of the files that a path stands for: a file, or of a run its spec and the checkpoint that is taken.

    Of several paths or names it is one hash of all, in their order; a name that is no file stands for itself.

    Returns:
        SHA-256 in hexadecimal digits; "" where there is no such file, or none that can be read.
    """
    if not isinstance(place, (str, Path)):
        each = [content_hash(one) for one in place]
        words = [found or f"name {name}" for found, name in zip(each, place, strict=True)]
        return hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest() if any(each) else ""
    digest = hashlib.sha256()
    try:
        for path in _files(Path(place).expanduser()):
            with path.open("rb") as file:
                digest.update(f"{path.name}\n".encode("utf-8", "surrogateescape"))
                while part := file.read(2**20):
                    digest.update(part)
            digest.update(b"\0")
    except (OSError, RuntimeError):  # RuntimeError: ~ of a user without a home
        return ""
    return digest.hexdigest()


def _is_place(value: Any) -> bool:
    """Whether a value is a path, or a list of them."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _files(place: Path) -> list[Path]:
    """The files to hash: the best checkpoint, else the last one, with the spec beside it; a run without one: config."""
    if place.is_file():
        return [place]
    folders = sorted({path.parent for path in place.glob("**/*.pth.tar*") if len(path.relative_to(place).parts) <= 2})
    for folder in folders:
        best = folder / "model-best.pth.tar"
        numbered = [path for path in folder.glob("model.pth.tar-*") if path.name.rpartition("-")[2].isdigit()]
        taken = (
            best if best.is_file() else max(numbered, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
        )
        if taken is not None:
            return [path for path in (folder / "prompts.json", taken) if path.is_file()]
    if (place / "config.yaml").is_file():
        return [place / "config.yaml"]
    raise FileNotFoundError(place)


def read(directory: str | Path) -> dict[str, Any]:
    """The content of a run's origins.json; {} where there is none that can be read."""
    path = Path(directory) / FILE_NAME
    try:
        content = bounded.read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def earlier_hashes(directory: str | Path) -> tuple[str, ...]:
    """The configuration hashes that the run in a directory had before what it learns from was moved."""
    hashes = read(directory).get("earlier_hashes")
    return tuple(one for one in hashes if isinstance(one, str)) if isinstance(hashes, list) else ()


def same_content(directory: str | Path, key: str, before: Any, now: Any) -> bool:
    """Whether a key's two paths lead to the same content: what the run was started with, and what it is given now.

    Args:
        directory: of the run.
        key: dotted.
        before: path in the run's configuration; where nothing is there any more, origins.json knows what was.
        now: path that is given.
    """
    if not (is_origin(key) and before and now and _is_place(before) and _is_place(now)):
        return False
    contents = read(directory).get("contents")
    kept = contents.get(key) if isinstance(contents, Mapping) else None
    known = kept if isinstance(kept, str) and kept else content_hash(before)
    return bool(known) and content_hash(now) == known


def write(directory: str | Path, settings: Mapping[str, Any], earlier_hash: str = "") -> None:
    """Writes a run's origins.json, where its configuration names any.

    Args:
        directory: of the run.
        settings: the options that decide its numbers, by dotted key.
        earlier_hash: hash of its configuration under other paths, to be added to those that are known.
    """
    contents = {key: content_hash(value) for key, value in settings.items() if is_origin(key) and value}
    contents = {key: digest for key, digest in contents.items() if digest}
    hashes = list(dict.fromkeys([*earlier_hashes(directory), *([earlier_hash] if earlier_hash else [])]))
    if contents or hashes:
        files.write_json(Path(directory) / FILE_NAME, {"contents": contents, "earlier_hashes": hashes})
