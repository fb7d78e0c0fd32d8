"""Options of a student beside the published ones: what it reads, its projector, its loss's mean, its average."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from yacs.config import CfgNode

from promptkd.engine.losses import mean_divergence, mean_kl
from promptkd.engine.options import option
from promptkd.model.projector import PROJECTORS
from promptkd.teacher.options import TeacherOptions


@dataclass(frozen=True)
class StudentOptions(TeacherOptions):
    """The student's side of a distillation; the teacher's options come first."""

    mode: str = option(
        "images", "what training reads: images (the method), or features (ours: the projector alone learns, on stored "
        "features of both encoders; TEACHER_CACHE views keeps them on disk, \"\" in memory)",
        choices=("images", "features"),
    )  # fmt: skip
    views_seed: int = option(1, "of MODE features: of the views of images, the same for every seed of a run", least=0)
    projector: str = option(
        "mlp", "of the student: mlp (the method) or residual (ours: a linear map, and beside it an mlp from 0)",
        choices=PROJECTORS,
    )  # fmt: skip
    projector_start: str = option(
        "random", "random (the method) or ridge (ours: the linear map in closed form, by one pass over the pool)",
        choices=("random", "ridge"),
    )  # fmt: skip
    ridge: float = option(0.01, "of PROJECTOR_START ridge: how much its weights are held down", above=0, most=1e6)
    ridge_scale: float = option(
        1.0, "of PROJECTOR_START ridge: factor of the map, whose outputs have a norm near 1 without it; predictions "
        "stay, and the map learns as at OPTIM.LR / factor^2", above=0, most=1e4,
    )  # fmt: skip
    kd_mean: str = option(
        "published", "of the loss: published (the sum over images and classes, divided by both) or batch (divided by "
        "the images alone: one KD_WEIGHT for any number of classes; it is KD_WEIGHT / classes of published)",
        choices=("published", "batch"),
    )  # fmt: skip
    ema: float = option(
        0.0, "decay, a step, of the exponential mean of what is learned, which is the result; 0: the last step is",
        least=0, below=1,
    )  # fmt: skip

    @property
    def divergence(self) -> Callable[[Tensor, Tensor, float], Tensor]:
        """The Kullback-Leibler divergence of logits (B, C) from target logits (B, C) at a temperature, its mean."""
        return mean_divergence if self.kd_mean == "batch" else mean_kl

    @property
    def views_of_seed(self) -> bool:
        return super().views_of_seed and self.mode == "images"

    def check(self, cfg: CfgNode) -> None:
        super().check(cfg)
        if self.mode == "features":
            self._check_features(cfg)
        layers = cfg.TRAINER.PROMPTKD.PROJECT_LAYER
        if self.projector == "residual" and layers == 1:
            raise ValueError(
                "TRAINER.PROMPTKD.PROJECTOR residual with PROJECT_LAYER 1 is a linear map beside a linear map: set "
                "PROJECT_LAYER 2 or 3, or PROJECTOR mlp"
            )
        if self.projector_start == "ridge" and self.projector == "mlp" and layers > 1:
            raise ValueError(
                f"TRAINER.PROMPTKD.PROJECTOR_START ridge starts a linear map, and PROJECTOR mlp with PROJECT_LAYER "
                f"{layers} has none that reaches from end to end: set PROJECTOR residual, or PROJECT_LAYER 1"
            )
        if self.ema and cfg.TEST.FINAL_MODEL != "last_step":
            raise ValueError(
                f"TRAINER.PROMPTKD.EMA {self.ema:g} is the mean that the last step ends with, and TEST.FINAL_MODEL "
                f"{cfg.TEST.FINAL_MODEL} chooses an epoch: set it to last_step, or EMA 0"
            )

    def _check_features(self, cfg: CfgNode) -> None:
        """Raises ValueError for what needs images in training."""
        if self.student_in_loop:
            raise ValueError("TRAINER.PROMPTKD.MODE features: STUDENT_IN_LOOP tunes a teacher on images, set it False")
        if self.teacher_cache == "exact":
            raise ValueError(
                "TRAINER.PROMPTKD.MODE features: TEACHER_CACHE exact has other views in every epoch: set it to views "
                '(CACHE_VIEWS of them on disk), or "" (in memory)'
            )
        tuned = cfg.TRAINER.PROMPTKD.get("TUNE", "prompts")
        if tuned not in ("prompts", "projector"):
            raise ValueError(
                f"TRAINER.PROMPTKD.MODE features: TUNE {tuned} changes the features, which are stored: set TUNE "
                "projector, or MODE images"
            )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        reasons = {}
        if self.mode == "features":
            prompts = ("N_CTX_VISION", "PROMPT_DEPTH_VISION")
            reasons = {name: "MODE is features: the projector alone is learned" for name in prompts}
        else:
            reasons = {"VIEWS_SEED": "MODE is images"}
        if self.projector_start != "ridge":
            why = f"PROJECTOR_START is {self.projector_start}"
            reasons |= {"RIDGE": why, "RIDGE_SCALE": why}
        elif cfg.MODEL.INIT_WEIGHTS:
            started = ("PROJECTOR_START", "RIDGE", "RIDGE_SCALE")
            reasons |= {name: "MODEL.INIT_WEIGHTS starts the projector" for name in started}
        teachers = dict(super().not_read(cfg))
        if self.mode == "features":
            teachers.pop("TRAINER.PROMPTKD.CACHE_VIEWS", None)
        return teachers | {f"TRAINER.PROMPTKD.{name}": why for name, why in reasons.items()}
