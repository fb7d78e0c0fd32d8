"""A prompted CLIP on disk: `prompts.json` says what rebuilds it, beside the tensors that it learned.

A run's checkpoint folder has the same `prompts.json` beside `model.pth.tar-<epoch>`, so that a checkpoint is rebuilt
without the method that trained it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from promptkd import bounded
from promptkd.files import replacing, write_text
from promptkd.model.class_edits import vectors_in_use
from promptkd.model.class_vectors import FILE_NAME
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.tensors import check_tensors, read_safetensors

SPEC_FILE = "prompts.json"
TENSORS_FILE = "learned.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class SavedSpec:
    """What `prompts.json` holds: the backbone's name, the method's, its spec, and hand-written templates."""

    backbone: str
    trainer: str
    spec: PromptSpec
    templates: tuple[str, ...] = ()


def write_spec(folder: Path, model: PromptedClip) -> None:
    """Writes `prompts.json` into a folder, where it is not there already."""
    content = {
        "format": FORMAT,
        "backbone": model.about.get("backbone", ""),
        "trainer": model.about.get("trainer", ""),
        "templates": list(model.templates),
        "spec": model.spec.to_dict(),
    }
    path, text = folder / SPEC_FILE, json.dumps(content, indent=1) + "\n"
    try:
        same = bounded.read_bytes(path) == text.encode("utf-8")
    except (OSError, ValueError):  # not there, or damaged: it is written anew
        same = False
    if not same:
        write_text(path, text)


def read_spec(folder: Path) -> SavedSpec | None:
    """Reads the `prompts.json` of a folder; None where there is none, as in runs of earlier versions.

    Raises:
        ValueError: it is damaged; the message names the file and the field.
    """
    path = folder / SPEC_FILE
    if not path.is_file():
        return None
    try:
        content = bounded.read_json(path)
        fields = ("format", "backbone", "trainer", "templates", "spec")
        if not isinstance(content, dict) or (lacking := [field for field in fields if field not in content]):
            raise ValueError(f"it lacks {', '.join(lacking) if isinstance(content, dict) else 'every field'}")
        if content["format"] != FORMAT:
            raise ValueError(f"format {bounded.shown(content['format'])}, this version reads {FORMAT}")
        for field in ("backbone", "trainer"):
            if not isinstance(content[field], str):
                raise ValueError(f"{field} is {bounded.shown(content[field])}: it has to be a text")
        templates = bounded.texts(content["templates"], "templates")
        spec = PromptSpec.from_dict(content["spec"])
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({bounded.clipped(error, 300)})") from error
    return SavedSpec(content["backbone"], content["trainer"], spec, templates)


def save(model: PromptedClip, folder: str | Path, classnames: Sequence[str] = ()) -> None:
    """Saves what a model learned, for `load`: its spec, its tensors, and class vectors.

    Args:
        model: one whose backbone has a name (`about["backbone"]`), by which `load` finds its weights.
        folder: made where it does not exist.
        classnames: C classes whose vectors are kept; () for those that the model has.

    Raises:
        ValueError: the backbone has no name.
    """
    folder = Path(folder)
    if not model.about.get("backbone"):
        raise ValueError("the model's backbone has no name: build it with about={'backbone': ...}")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.prompts.state_dict().items()}
    with replacing(folder / TENSORS_FILE) as partial:
        save_file(tensors, partial)
    if classnames:
        model.class_vectors(classnames).save(folder / FILE_NAME)
    elif model.vectors is not None:
        model.vectors.save(folder / FILE_NAME)
    write_spec(folder, model)  # last: it is what makes the folder a saved model


def load(folder: str | Path, device: torch.device | str = "cpu", precision: str = "fp32") -> PromptedClip:
    """A saved model, frozen, with its class vectors; the text encoder is loaded where it learned text or has none.

    Raises:
        FileNotFoundError: the folder holds no saved model.
        ValueError: a file of it is damaged or does not fit.
    """
    folder = Path(folder)
    saved = read_spec(folder)
    if saved is None or not (folder / TENSORS_FILE).is_file():
        raise FileNotFoundError(f"{folder} holds no saved model: there is no {SPEC_FILE} with {TENSORS_FILE}")
    vectors = vectors_in_use(folder) if (folder / FILE_NAME).is_file() else None
    learned = read_safetensors(folder / TENSORS_FILE)[0]
    try:
        saved.spec.check(learned)
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(f"{folder / TENSORS_FILE} does not fit {SPEC_FILE}: {error}") from error
    clip = load_clip(saved.backbone, text=bool(saved.spec.n_text) or vectors is None)
    about = {"backbone": saved.backbone, "trainer": saved.trainer, "source": str(folder)}
    arithmetic = Precision.choose(precision, torch.device(device))
    model = PromptedClip(clip, saved.spec, arithmetic, templates=saved.templates, vectors=vectors, about=about)
    check_tensors(learned, model.prompts.state_dict(), folder / TENSORS_FILE)
    model.prompts.load_state_dict(learned)
    return model.freeze()
