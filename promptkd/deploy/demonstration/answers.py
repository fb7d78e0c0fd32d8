"""What the demo asks of a run: the likeliest classes of an image file among classes that its user may change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptkd.deploy.answers import Answer
from promptkd.deploy.opening import is_onnx
from promptkd.deploy.predict import answer_of
from promptkd.deploy.serving.decoding import decoded
from promptkd.deploy.serving.limits import Limits, RefusalError

TOP = 5
KEPT = 16  # lists of classes whose vectors are kept


class Answers:
    """A classifier among lists of classes; each page that is open may have a list of its own.

    Args:
        classifier: what `promptkd.deploy.opening.open_classifier` gave.
        source: the run that it was opened from, which knows its teacher.
        limits: bytes and pixels of an image.
    """

    def __init__(self, classifier: Any, source: str, limits: Limits | None = None) -> None:
        self.classnames: tuple[str, ...] = tuple(classifier.classnames)
        self.limits = limits or Limits()
        self._classifier, self._source = classifier, source
        self._lock = threading.Lock()
        self._vectors: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._teacher: tuple[tuple[str, ...], Any, str] = ((), None, "")  # of the list that was explained last

    @property
    def can_explain(self) -> bool:
        """Whether it shows where it looked; an .onnx file shows nothing of its inside."""
        return not is_onnx(self._source)

    def top(self, path: str | Path, classnames: Sequence[str]) -> Answer:
        """The likeliest of some classes for an image file; among the run's own, by its threshold also none of them.

        Raises:
            RefusalError: the file is too large, damaged, or no image; the message is one line.
            ValueError: a class that the run has not and cannot encode.
        """
        image, names = self._read(path), tuple(classnames)
        with self._lock:  # the classifier has one list of classes at a time
            self._choose(names)
            logits = self._classifier.logits_of(self._classifier.pixels([image]))[0]
        rejection = self._classifier.rejection if set(names) == set(self.classnames) else None  # chosen on these alone
        return answer_of("", logits, names, TOP, rejection)

    def explanation(self, path: str | Path, classnames: Sequence[str]) -> str:
        """A page of where the run, and its teacher if it is there, looked in an image file.

        Raises:
            RefusalError, ValueError: see `top`.
        """
        from promptkd.deploy import explaining

        image, names = self._read(path), tuple(classnames)
        with self._lock:
            self._choose(names)
            if self._teacher[0] != names:
                self._teacher = (names, *explaining.teacher_of(self._source, self._classifier))
            _, teacher, problem = self._teacher
            guesses = explaining.explain_image(self._classifier, image, teacher, TOP)
        note = f"Without a teacher: {problem}." if problem else ""
        return explaining.page([("", image, guesses)], self._source, note)

    def _read(self, path: str | Path) -> Any:
        """The image in a file, within the limits."""
        with open(path, "rb") as file:
            content = file.read(self.limits.size + 1)
        if len(content) > self.limits.size:
            raise RefusalError(413, "size", f"the image has more than {self.limits.size:,} bytes")
        return decoded(content, self.limits.pixels)

    def check(self, classnames: Sequence[str]) -> tuple[str, ...]:
        """The names as they will be used, new ones encoded; see `_choose`.

        Raises:
            ValueError: fewer than two, one that is there twice, or one that cannot be encoded.
        """
        names = tuple(" ".join(name.split()) for name in classnames if name.strip())
        if len(names) < 2:
            raise ValueError("give two classes or more, each on its line")
        if double := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{double[0]!r} is there twice")
        with self._lock:
            self._choose(names)
        return names

    def _choose(self, names: tuple[str, ...]) -> None:
        """Makes the classifier choose among these; a name that the run has not is encoded by its teacher."""
        added = [name for name in names if name not in self.classnames]
        if is_onnx(self._source):
            if added:
                raise ValueError(f"{added[0]!r} is none of the export's classes, and its teacher is not in it")
            self._classifier.restrict(names)
            return
        vectors = self._vectors.pop(names, None)
        if vectors is None:
            vectors = self._vectors_of(names, added)
        self._vectors[names] = vectors
        while len(self._vectors) > KEPT:
            self._vectors.popitem(last=False)
        self._classifier.class_vectors = vectors

    def _vectors_of(self, names: tuple[str, ...], added: list[str]) -> Any:
        """The class vectors of names, the new ones by the run's teacher."""
        if not added:
            return self._classifier.model.vectors.select(names)
        from promptkd.deploy.class_editing import edited

        return edited(self._source, add=added).to(self._classifier.model.device).select(names)
