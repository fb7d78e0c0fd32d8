"""The teachers that a run's options name, loaded and compared with the run's images and with each other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from promptkd.bounded import shown
from promptkd.data.loading.user_images import UserImages
from promptkd.engine.evaluator import check_input
from promptkd.engine.task import Task
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher.feature_keys import encoder_key
from promptkd.teacher.member import Member, ViewChange
from promptkd.teacher.teacher import class_note, load_teacher

log = logging.getLogger(__name__)


def find_members(cfg: CfgNode, options: Any, task: Task, precision: Precision) -> list[Member]:
    """The teachers that a run's options name: TEACHERS, or the one of TEACHER.

    Each gets images as it wants them: a view is resized and normalised again where the student's are of another kind.

    Args:
        cfg: the run's.
        options: of the kind of TeacherOptions.
        task: whose classes they teach.
        precision: arithmetic and device.

    Raises:
        FileNotFoundError: none is named and the published place is empty, or what is named is not there.
        ValueError: one does not fit, or is there twice; the message says which, and why.
    """
    if not options.teachers:
        teacher = load_named(options.teacher or published_place(cfg), cfg, options, task, precision)
        if options.student_in_loop:  # which learns from the student's own images
            check_input(cfg, teacher.clip, f"teacher {teacher.about['backbone']}")
        view = ViewChange.between(cfg, teacher.clip)
        if view:
            log.info("Teacher: the student's images are %s", view)
        return [Member(teacher, view)]
    members: list[Member] = []
    for number, source in enumerate(options.teachers, 1):
        try:
            teacher = load_named(source, cfg, options, task, precision)
        except (ValueError, OSError) as error:
            kind = FileNotFoundError if isinstance(error, OSError) else ValueError
            raise kind(f"TRAINER.PROMPTKD.TEACHERS, {number} of {len(options.teachers)}: {error}") from error
        member = Member(teacher, ViewChange.between(cfg, teacher.clip))
        if member.view:
            log.info("Teacher %d: the student's images are %s", number, member.view)
        if same := next((n for n, other in enumerate(members, 1) if is_same(member, other)), 0):
            raise ValueError(
                f"TRAINER.PROMPTKD.TEACHERS: {shown(source)} is the same model as teacher {same}, with the same class "
                "vectors: it would count double, leave one out"
            )
        members.append(member)
    return members


def is_same(one: Member, other: Member) -> bool:
    """Whether two teachers say the same of every image: equal class vectors, image encoder and visual prompts."""
    mine, theirs = one.vectors.features, other.vectors.features
    if mine.shape != theirs.shape or not torch.equal(mine, theirs):
        return False
    return encoder_key(one.teacher) == encoder_key(other.teacher)


def published_place(cfg: CfgNode) -> str:
    """Where the published teacher of a data set lies.

    Raises:
        FileNotFoundError: it is not there.
    """
    published = {"base2novel": f"{cfg.DATASET.NAME}/VLPromptLearner/model-best.pth.tar"}
    place = published.get(cfg.TRAINER.MODAL, "ImageNet-xd/VLPromptLearner_large/model.pth.tar-20")
    source = str(Path("teacher_model") / place)
    if not Path(source).is_file():
        raise FileNotFoundError(
            f"no teacher: set TRAINER.PROMPTKD.TEACHER to a PromptSRC run's directory, a published .pth.tar or "
            f"a CLIP name, or put the published teacher at {source}"
        )
    return source


def load_named(source: str, cfg: CfgNode, options: Any, task: Task, precision: Precision) -> PromptedClip:
    """The teacher that a word names, for the classes of a task; raises what `load_teacher` does."""
    # Of published data sets it is known: their cross setting has other classes on purpose.
    users_images = issubclass(getattr(task.manager.dataset, "image_wrapper", None) or object, UserImages)
    if users_images and (note := class_note(source, task.all_classnames)):
        log.warning(note)
    teacher = load_teacher(
        source,
        task.all_classnames,
        templates=task.templates,
        backbone=options.teacher_name,
        phrase=options.ctx_init,
        precision=precision,
    )
    if cfg.MODEL.COMPILE:
        teacher.compile(graphs=cfg.TRAIN.ACCUMULATE == 1)
    n_text, depth = teacher.prompts.n_text, teacher.prompts.depth_text
    log.info("Teacher: %s, from %s", teacher.about["backbone"], source)
    if n_text and (n_text, depth) != (options.n_ctx_text, options.prompt_depth_text):
        log.info(
            "The teacher has %d context tokens, depth %d; N_CTX_TEXT %d and PROMPT_DEPTH_TEXT %d are not used",
            n_text, depth, options.n_ctx_text, options.prompt_depth_text,
        )  # fmt: skip
    return teacher
