"""The class vectors that a run classifies with: its own, or edited ones beside them, whose header says their origin.

A run's class_vectors.safetensors stays what the run was measured with. Classes that were added, removed or renamed
afterwards make a second file, whose `source` has the entry "edits": what was changed, and the hash of the vectors that
it was made from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptkd.bounded import named, parse_json, texts
from promptkd.model.class_vectors import FILE_NAME, ClassVectors

EDITED_NAME = "class_vectors.edited.safetensors"
ENTRY = "edits"  # of an edited file's source


@dataclass(frozen=True)
class Edits:
    """The difference of edited class vectors from those that a run has left.

    Attributes:
        made_from: hash of the run's vectors.
        added: names that were encoded afterwards.
        removed: names of the run that have gone.
        renamed: name -> the name that its row had in the run.
    """

    made_from: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, vectors: ClassVectors) -> Edits:
        """The edits of vectors; of a run's own ones none.

        Raises:
            ValueError: the entry is damaged.
        """
        if ENTRY not in vectors.source:
            return cls(digest(vectors))
        content = parse_json(vectors.source[ENTRY], "the edits of its class vectors")
        if not isinstance(content, dict) or {"made_from", "added", "removed", "renamed"} - content.keys():
            raise ValueError("the edits of its class vectors lack an entry")
        renamed = content["renamed"]
        if not isinstance(renamed, dict) or not isinstance(content["made_from"], str):
            raise ValueError("the edits of its class vectors are of another kind")
        added, removed = (texts(content[key], key, 1_000_000) for key in ("added", "removed"))
        olds = texts(list(renamed.values()), "renamed", 1_000_000)
        return cls(content["made_from"], added, removed, dict(zip(renamed, olds, strict=True)))

    def rename(self, before: str, after: str) -> Edits:
        """One more name changed."""
        if before in self.added:
            return replace(self, added=tuple(after if name == before else name for name in self.added))
        renamed = dict(self.renamed)
        first = renamed.pop(before, before)
        return replace(self, renamed=renamed | ({} if first == after else {after: first}))

    def remove(self, name: str) -> Edits:
        """One class less."""
        if name in self.added:
            return replace(self, added=tuple(one for one in self.added if one != name))
        renamed = dict(self.renamed)
        return replace(self, removed=(*self.removed, renamed.pop(name, name)), renamed=renamed)

    def add(self, name: str) -> Edits:
        """One class more."""
        return replace(self, added=(*self.added, name))

    def origin(self, name: str) -> str:
        """Where a class of the edited vectors comes from: "trained", "added" or "renamed from ..."."""
        if name in self.added:
            return "added"
        return f"renamed from {self.renamed[name]}" if name in self.renamed else "trained"

    def written_to(self, vectors: ClassVectors) -> ClassVectors:
        """The vectors with these edits in their source."""
        content = {"made_from": self.made_from, "added": self.added, "removed": self.removed, "renamed": self.renamed}
        return replace(vectors, source={**vectors.source, ENTRY: json.dumps(content)})


def vectors_in_use(directory: str | Path) -> ClassVectors:
    """The class vectors of a run, or a saved model: the edited ones where there are any.

    Raises:
        FileNotFoundError: it has none.
        ValueError: a file is damaged, or the edited vectors were made from others than those that are there now.
    """
    trained = ClassVectors.load(Path(directory) / FILE_NAME)
    path = Path(directory) / EDITED_NAME
    if not path.is_file():
        return trained
    edited = ClassVectors.load(path)
    try:
        made_from = Edits.of(edited).made_from
    except ValueError as error:
        raise ValueError(f"{named(path)}: {error}; take it away with promptkd classes RUN --restore") from error
    if made_from != digest(trained):
        raise ValueError(
            f"{named(path)} was made from other class vectors than {FILE_NAME} beside it: the run was trained again; "
            "take it away with promptkd classes RUN --restore, and edit anew"
        )
    return edited


def digest(vectors: ClassVectors) -> str:
    """A short hash of names and features."""
    sha = hashlib.sha256(json.dumps(vectors.classnames).encode())
    sha.update(vectors.features.detach().float().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
