"""A frozen teacher: a prompted CLIP with class vectors, from a run, a published file or a CLIP's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from promptkd.data.checks import clip_name
from promptkd.engine import checkpoints
from promptkd.engine.runs import FOLDERS, read_run
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.templates import DEFAULT
from promptkd.model.timm_names import TIMM
from promptkd.model.zoo import load_clip
from promptkd.results.settings import dataset_name
from promptkd.teacher.closed_form import completed
from promptkd.texts import closest


def load_teacher(
    source: str,
    classnames: Sequence[str],
    *,
    templates: Sequence[str] = (DEFAULT,),
    backbone: str = "ViT-L/14",
    phrase: str = "a photo of a",
    precision: Precision | None = None,
    stored: bool = False,
) -> PromptedClip:
    """A teacher from a run's directory, a published checkpoint, or a plain CLIP's name; its `about` describes it.

    Args:
        source: directory of a run of ours; a `.pth.tar` of PromptSRC or PromptKD's teacher zoo (or a folder that holds
            one); or a CLIP name, which makes a zero-shot teacher.
        classnames: all C classes of the task.
        templates: prompt templates of a zero-shot teacher, averaged.
        backbone: CLIP of a published checkpoint, which does not say it itself.
        phrase: words that the published checkpoint's context stood for.
        precision: arithmetic and device; None for float32 on the CPU.
        stored: whether a run that makes no class vectors itself (a student, class-specific contexts) may teach the
            classes whose vectors it has left.

    Raises:
        FileNotFoundError: the directory holds no checkpoint.
        ValueError: the checkpoint is of another backbone or method, or has no vector of a class.
    """
    if source.startswith(TIMM):
        raise ValueError(
            f"teacher {source!r} is an image tower without a text encoder: it knows no class by its name. Train "
            "FeatureTeacher on it with a few labelled images, and give that run as the teacher (docs/teachers.md)"
        )
    path, precision = Path(source), precision or Precision.choose("fp32", torch.device("cpu"))
    if (path / "config.yaml").is_file():
        teacher = _from_run(path, precision, templates, stored, classnames)
    elif path.is_dir() or ".pth" in path.name:  # model.pth.tar-20; any other file is a CLIP
        teacher = _from_published(path, backbone, phrase, precision)
    else:
        try:
            clip = load_clip(source)
        except ValueError as error:
            raise ValueError(f"teacher {source!r} is no run's directory, no .pth.tar and no CLIP: {error}") from error
        about = {"source": source, "backbone": source, "trainer": "ZeroshotCLIP"}
        teacher = PromptedClip(clip, PromptSpec(), precision, templates=templates, about=about)
    teacher.freeze()
    vectors = teacher.class_vectors(classnames)
    known = {key: str(teacher.about[key]) for key in ("dataset", "shots") if key in teacher.about}
    weights, template = (vectors.source[key] for key in ("weights", "template"))
    origin = {"made_by": vectors.source["made_by"], "source": source, "weights": weights, "template": template} | known
    teacher.vectors = replace(vectors, source=origin)
    return teacher


def class_note(source: str, classnames: Sequence[str]) -> str:
    """A warning about a teacher that was trained on other classes; "" for none. It takes any name, also a wrong one."""
    if not Path(source, FILE_NAME).is_file():
        return ""
    known = {clip_name(name): name for name in ClassVectors.load(Path(source, FILE_NAME)).classnames}
    strange = [name for name in classnames if clip_name(name) not in known]
    if not strange:
        return ""
    shown = []
    for name in strange[:5]:
        close = closest(clip_name(name), known, 0.8)
        shown.append(f"{name!r}" + (f" (did you mean {known[close]!r}?)" if close else ""))
    return (
        f"{len(strange)} of {len(classnames)} classes are none of the {len(known)} of the teacher's data set: "
        f"{', '.join(shown)}{', ...' if len(strange) > 5 else ''}; it knows them by their names alone"
    )


def _from_run(
    directory: Path, precision: Precision, templates: Sequence[str], stored: bool, classnames: Sequence[str]
) -> PromptedClip:
    run = read_run(directory)
    left = ClassVectors.load(directory / FILE_NAME) if stored and not run.spec.any_class else None
    if left is None and run.spec.projector_layers:
        raise ValueError(f"{directory} is a {run.trainer} run: it has no text encoder to make class vectors with")
    if left is None and not run.spec.any_class:
        raise ValueError(f"{directory} is a {run.trainer} run without class vectors for any class: no teacher")
    about: dict[str, Any] = {"source": str(directory), "backbone": run.backbone, "trainer": run.trainer}
    clip = load_clip(run.backbone)
    if run.checkpoint is None and not run.made_vectors:
        return PromptedClip(clip, run.spec, precision, templates=templates, about=about)
    about |= {"dataset": dataset_name(run.config), "shots": run.config.DATASET.get("NUM_SHOTS")}
    if run.checkpoint is None:
        teacher = PromptedClip(clip, run.spec, precision, templates=templates, about=about)
        teacher.vectors = completed(ClassVectors.load(directory / FILE_NAME).to(teacher.device), teacher, classnames)
        teacher.logit_scale = teacher.vectors.logit_scale
        return teacher
    about |= {"checkpoint": run.checkpoint.name, "epoch": run.content.get("epoch")}
    teacher = PromptedClip(clip, run.spec, precision, vectors=left, about=about)
    checkpoints.load_learned(teacher.prompts, run.content["state_dict"], run.checkpoint)
    return teacher


def _from_published(path: Path, backbone: str, phrase: str, precision: Precision) -> PromptedClip:
    if path.is_dir():
        path = checkpoints.latest(next((path / name for name in FOLDERS if (path / name).is_dir()), path))
    content = checkpoints.read_checkpoint(path)
    try:
        learned = checkpoints.learned_tensors(content["state_dict"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if "ctx" not in learned:
        raise ValueError(f"{path} holds no learned context (ctx): it is no PromptSRC, IVLP, MaPLe or CoOp checkpoint")
    about = {
        "source": str(path),
        "backbone": backbone,
        "trainer": "published checkpoint",
        "epoch": content.get("epoch"),
    }
    spec = PromptSpec.of_tensors(learned, phrase)
    if not spec.any_class:
        raise ValueError(f"{path} is a checkpoint without class vectors for any class: no teacher")
    teacher = PromptedClip(load_clip(backbone), spec, precision, about=about)
    checkpoints.load_learned(teacher.prompts, learned, path)
    return teacher
