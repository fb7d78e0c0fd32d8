"""Options of methods that are taught: which teacher, over which names, and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yacs.config import CfgNode

from promptkd.bounded import shown
from promptkd.engine.options import DEEPEST, LONGEST, MethodOptions, option
from promptkd.teacher.cache import MODES as CACHE_MODES
from promptkd.teacher.mixture import RULES


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
    teachers: tuple[str, ...] = option(
        (), "several teachers, each as TEACHER, in its place: the first has the class vectors that the student is "
        "compared to (docs/teachers.md)", entry=str, path=True,
    )  # fmt: skip
    teacher_mix: str = option(
        "equal", "how their probabilities are mixed: equal, weights (TEACHER_WEIGHTS), or by confidence for each "
        "image, entropy or margin", choices=RULES,
    )  # fmt: skip
    teacher_weights: tuple[float, ...] = option(
        (), "of TEACHER_MIX weights: one for each teacher, of sum 1", entry=float, above=0, most=1
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

    @property
    def views_of_seed(self) -> bool:
        """Whether stored features are of views that follow from the run's seed."""
        return bool(self.teacher_cache)

    def check(self, cfg: CfgNode) -> None:
        if self.teachers:
            self._check_teachers()
        fixed = self.teacher_cache or self.class_agnostic or cfg.POOL.HELD_OUT
        if self.student_in_loop and (fixed or cfg.TRAIN.ACCUMULATE != 1):
            raise ValueError(
                'TRAINER.PROMPTKD.STUDENT_IN_LOOP True: the teacher changes at every step, so set TEACHER_CACHE "", '
                "CLASS_AGNOSTIC False, POOL.HELD_OUT 0 and TRAIN.ACCUMULATE 1"
            )
        if self.views_of_seed and cfg.SEED < 0:
            raise ValueError(
                f"TRAINER.PROMPTKD.TEACHER_CACHE needs views that come again: give --seed, 0 or more ({cfg.SEED})"
            )

    def _check_teachers(self) -> None:
        """Raises ValueError where several teachers do not go together, as far as their names tell."""
        key, names = "TRAINER.PROMPTKD.TEACHERS", self.teachers
        if self.teacher:
            raise ValueError(
                f"{key} and TRAINER.PROMPTKD.TEACHER ({shown(self.teacher)}) are both given: put it into TEACHERS, "
                'first for its class vectors, or leave one of the two out (TEACHER "")'
            )
        if len(names) < 2:
            raise ValueError(f"{key} has one teacher, {shown(names[0])}: give it as TRAINER.PROMPTKD.TEACHER")
        places = [Path(name).resolve() if Path(name).exists() else name for name in names]
        if twice := [name for name, place in zip(names, places, strict=True) if places.count(place) > 1]:
            raise ValueError(f"{key} has {shown(twice[0])} twice, which would count double: leave one out")
        if self.class_agnostic or self.student_in_loop:
            option = "CLASS_AGNOSTIC" if self.class_agnostic else "STUDENT_IN_LOOP"
            raise ValueError(f"TRAINER.PROMPTKD.{option} True: it is for one teacher: give TEACHER, not TEACHERS")
        if self.teacher_mix == "weights":
            key, given = "TRAINER.PROMPTKD.TEACHER_WEIGHTS", self.teacher_weights
            if len(given) != len(names):
                raise ValueError(f"{key} {shown(given)}: give {len(names)}, one for each of TEACHERS, of sum 1")
            if abs(sum(given) - 1) > 1e-6:
                raise ValueError(f"{key} {shown(given)}: their sum is {sum(given):g}, it has to be 1")

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        reasons = {}
        if not self.teachers:
            reasons = {name: "TEACHERS is empty" for name in ("TEACHER_MIX", "TEACHER_WEIGHTS")}
        elif self.teacher_mix != "weights":
            reasons = {"TEACHER_WEIGHTS": f"TEACHER_MIX is {self.teacher_mix}"}
        if not self.teacher_cache:
            reasons |= {name: "TEACHER_CACHE is off" for name in ("CACHE_VIEWS", "CACHE_DIR", "CACHE_GB")}
        elif self.teacher_cache != "views":
            reasons |= {"CACHE_VIEWS": f"TEACHER_CACHE is {self.teacher_cache}"}
        if not self.student_in_loop:
            loop = ("LOOP_LR", "LOOP_COEF", "LOOP_FLOOR", "LOOP_PULL")
            reasons |= {name: "STUDENT_IN_LOOP is False" for name in loop}
        reasons |= {name: "the teacher's checkpoint tells it" for name in ("N_CTX_TEXT", "PROMPT_DEPTH_TEXT")}
        if all(Path(name, "config.yaml").is_file() for name in self.teachers or (self.teacher,)):
            reasons |= {name: "the teacher is a run, which tells it" for name in ("TEACHER_NAME", "CTX_INIT")}
        return {f"TRAINER.PROMPTKD.{name}": why for name, why in reasons.items()} | self.concepts_not_read("PROMPTKD")
