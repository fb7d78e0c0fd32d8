"""Options of methods that are taught: which teacher, over which names, and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yacs.config import CfgNode

from promptkd.engine.options import DEEPEST, LONGEST, MethodOptions, option
from promptkd.teacher.cache import MODES as CACHE_MODES


@dataclass(frozen=True)
class ConceptOptions(MethodOptions):
    """Whether a teacher teaches the classes of the task, or a list of concepts."""

    class_agnostic: bool = option(False, "distil over a list of concepts, not over the classes of the task")
    concepts: str = option("", 'file of concepts, one a line; "" is the list of this project', path=True)
    k_max: int = option(1000, "class-agnostic: names that a step takes, the likeliest of its images", least=2)

    def concepts_not_read(self, section: str) -> dict[str, str]:
        """Keys of a section of cfg.TRAINER that a run over the classes of its task does not read -> why."""
        if self.class_agnostic:
            return {}
        return {f"TRAINER.{section}.{key}": "it is for CLASS_AGNOSTIC True" for key in ("CONCEPTS", "K_MAX")}


@dataclass(frozen=True)
class TeacherOptions(ConceptOptions):
    """The teacher, and its cache."""

    teacher: str = option(
        "", "a run's directory, a published .pth.tar or a CLIP's name; \"\" is the published place", path=True
    )
    teacher_name: str = option(
        "ViT-L/14", "the CLIP of a published checkpoint, which does not say it", filled=True, path=True
    )
    n_ctx_text: int = option(
        4, "context of the teacher; its checkpoint tells it, published recipes give it", least=0, most=LONGEST
    )
    prompt_depth_text: int = option(9, "depth of the teacher's context; its checkpoint tells it", least=0, most=DEEPEST)
    ctx_init: str = option("a photo of a", "words that a published teacher's context started from", words=True)
    evaluate_teacher: bool = option(True, "measure the teacher and the zero-shot student before training")
    teacher_cache: str = option(
        "", 'keep the teacher\'s features on disk: "" no, exact (no number changes), views (few views come again)',
        choices=CACHE_MODES, hint='choose exact, views or "" (no cache)',
    )  # fmt: skip
    cache_views: int = option(4, "K of views: epoch e has the views of epoch e % K", least=1, most=100_000)
    cache_dir: str = option("", 'where the cache is, shared by runs; "" is ~/.cache/promptkd/teacher', path=True)
    cache_gb: float = option(
        20.0, "size of all that is in it; above, the least recently used goes", above=0, most=1e9,
        hint='give more than 0, or TEACHER_CACHE "" for no cache',
    )  # fmt: skip

    student_in_loop: bool = option(False, "an experiment: the teacher's visual prompts are tuned with the student")
    loop_lr: float = option(0.0005, "of STUDENT_IN_LOOP: learning rate of the teacher's prompts", above=0, most=100)
    loop_coef: float = option(
        1.0, "of STUDENT_IN_LOOP: weight that holds the teacher to itself, at the start", least=0, most=1e6
    )
    loop_floor: float = option(0.1, "of STUDENT_IN_LOOP: share of LOOP_COEF that is left at the end", least=0, most=1)
    loop_pull: bool = option(True, "of STUDENT_IN_LOOP: the student's prediction pulls the teacher; False: a control")

    def check(self, cfg: CfgNode) -> None:
        fixed = self.teacher_cache or self.class_agnostic or cfg.POOL.HELD_OUT
        if self.student_in_loop and (fixed or cfg.TRAIN.ACCUMULATE != 1):
            raise ValueError(
                'TRAINER.PROMPTKD.STUDENT_IN_LOOP True: the teacher changes at every step, so set TEACHER_CACHE "", '
                "CLASS_AGNOSTIC False, POOL.HELD_OUT 0 and TRAIN.ACCUMULATE 1"
            )
        if self.teacher_cache and cfg.SEED < 0:
            raise ValueError(
                f"TRAINER.PROMPTKD.TEACHER_CACHE needs views that come again: give --seed, 0 or more ({cfg.SEED})"
            )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        reasons = {}
        if not self.teacher_cache:
            reasons = {name: "TEACHER_CACHE is off" for name in ("CACHE_VIEWS", "CACHE_DIR", "CACHE_GB")}
        elif self.teacher_cache != "views":
            reasons = {"CACHE_VIEWS": f"TEACHER_CACHE is {self.teacher_cache}"}
        if not self.student_in_loop:
            loop = ("LOOP_LR", "LOOP_COEF", "LOOP_FLOOR", "LOOP_PULL")
            reasons |= {name: "STUDENT_IN_LOOP is False" for name in loop}
        reasons |= {name: "the teacher's checkpoint tells it" for name in ("N_CTX_TEXT", "PROMPT_DEPTH_TEXT")}
        if Path(self.teacher, "config.yaml").is_file():
            reasons |= {name: "the teacher is a run, which tells it" for name in ("TEACHER_NAME", "CTX_INIT")}
        return {f"TRAINER.PROMPTKD.{name}": why for name, why in reasons.items()} | self.concepts_not_read("PROMPTKD")
