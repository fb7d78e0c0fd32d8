"""Prompt learning and distillation for CLIP: models, data, training, results and deployment as a library.

    import promptkd
    student = promptkd.load("output/.../seed1")           # a finished run, or an exported folder
    student.predict(PIL.Image.open("photo.jpg"), top=3)   # [("forest", 0.93), ...]

Nothing heavy is imported before it is used. docs/python.md shows the rest: a distillation in your own loop, results
of many runs, a method of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promptkd.guests import install_names

if TYPE_CHECKING:
    from promptkd.deploy.classifier import Classifier
    from promptkd.deploy.opening import load, open_classifier
    from promptkd.engine.losses import mean_kl
    from promptkd.model.class_vectors import ClassVectors
    from promptkd.model.precision import Precision
    from promptkd.model.prompted_clip import PromptedClip
    from promptkd.model.spec import PromptSpec
    from promptkd.model.zoo import load_clip
    from promptkd.results.record import RunRecord
    from promptkd.results.search import find as find_runs
    from promptkd.teacher.teacher import load_teacher

__version__ = "0.8.0"

_PUBLIC = {  # name -> module, and its name there; imported when it is first asked for
    "Classifier": ("promptkd.deploy.classifier", "Classifier"),
    "ClassVectors": ("promptkd.model.class_vectors", "ClassVectors"),
    "Precision": ("promptkd.model.precision", "Precision"),
    "PromptSpec": ("promptkd.model.spec", "PromptSpec"),
    "PromptedClip": ("promptkd.model.prompted_clip", "PromptedClip"),
    "RunRecord": ("promptkd.results.record", "RunRecord"),
    "find_runs": ("promptkd.results.search", "find"),
    "load": ("promptkd.deploy.opening", "load"),
    "load_clip": ("promptkd.model.zoo", "load_clip"),
    "load_teacher": ("promptkd.teacher.teacher", "load_teacher"),
    "mean_kl": ("promptkd.engine.losses", "mean_kl"),
    "open_classifier": ("promptkd.deploy.opening", "open_classifier"),
}
__all__ = [
    "ClassVectors", "Classifier", "Precision", "PromptSpec", "PromptedClip", "RunRecord", "find_runs", "load",
    "load_clip", "load_teacher", "mean_kl", "open_classifier",
]  # fmt: skip

install_names()


def __getattr__(name: str) -> Any:
    """A public name, from its module."""
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module 'promptkd' has no attribute {name!r}; it offers {', '.join(_PUBLIC)}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
