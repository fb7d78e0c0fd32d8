"""UPL: unsupervised prompt learning (Huang et al., 2022, arXiv 2204.03649).

One or several CLIPs label the training images; for each class the surest images train CoOp's context, or an ensemble of
contexts whose class vectors are averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.evaluator import accuracies_of_members
from promptkd.engine.options import LONGEST, MethodOptions, option
from promptkd.engine.pseudo_labels import described, log_labels, most_confident
from promptkd.engine.task import Supervision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.prompts import POSITIONS, context_length
from promptkd.model.spec import PromptSpec
from promptkd.teacher.labelling import mean_probabilities
from promptkd.teacher.pool import Pool

from .base import PromptTrainer
from .coop import words_or_number


@dataclass(frozen=True)
class UPLOptions(MethodOptions):
    """The labels, the context, and how many contexts there are."""

    shots: int = option(16, "K, pseudo-labelled images a class", least=1)
    labellers: str = option("", 'CLIPs that label, by commas; "" is the one that learns, several are averaged (UPL*)')
    members: int = option(1, "M, contexts of the ensemble (published: 16)", least=1, most=LONGEST)
    unlabelled: str = option(
        "all", "classes whose images are labelled in base2novel: all (transductive) or base", choices=("all", "base")
    )
    n_ctx: int = option(16, "context tokens", least=1, most=LONGEST)
    csc: bool = option(False, "stands in published commands: there is one context for all classes", choices=(False,))
    ctx_init: str = option(
        "", 'words to start from, one token each, in the place of N_CTX; "" starts at random', words=True
    )
    class_token_position: str = option("end", "where the class name stands in the context", choices=POSITIONS)
    labelling_view: str = option(
        "crop",
        "images as the labelling CLIPs see them: crop (their centre, as in every evaluation here) or "
        "squash_as_published (whole, brought to a square, by the Dassl that UPL pins)",
        choices=("crop", "squash_as_published"),
    )
    feature_cache: str = option("", 'folder that keeps the labelling pass for later runs; "" keeps nothing', path=True)

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        return words_or_number(cfg, self.ctx_init, self.n_ctx)

    @property
    def labelling_clips(self) -> list[str]:
        """The names in `labellers`; none for the CLIP that learns."""
        return [name.strip() for name in self.labellers.split(",") if name.strip()]

    def check(self, cfg: CfgNode) -> None:
        if twice := [name for name, count in Counter(self.labelling_clips).items() if count > 1]:
            raise ValueError(f"TRAINER.UPL.LABELLERS names {twice[0]} twice, which would count double: leave one out")
        if self.members > 1 and self.ctx_init:
            raise ValueError(
                f"TRAINER.UPL.MEMBERS {self.members} with CTX_INIT {self.ctx_init!r}: all would start, and stay, the "
                'same; set CTX_INIT "" or MEMBERS 1'
            )
        if cfg.DATASET.NUM_SHOTS > 0:
            raise ValueError(
                f"DATASET.NUM_SHOTS {cfg.DATASET.NUM_SHOTS} would draw images by their labels, which UPL does not "
                f"read: set it to 0, and TRAINER.UPL.SHOTS {cfg.DATASET.NUM_SHOTS} for the pseudo-labels of a class"
            )


@TRAINER_REGISTRY.register()
class UPL(PromptTrainer):
    """CoOp's context, or an ensemble of them, learned from the images that CLIP is surest of."""

    Options = UPLOptions
    pool: Pool
    pseudo_labels: dict[str, Any] | None = None

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        """One context for all classes, or M of them."""
        return PromptSpec(
            n_text=context_length(options.ctx_init, options.n_ctx),
            phrase=options.ctx_init,
            position=options.class_token_position,
            members=options.members if options.members > 1 else 0,
        )

    @staticmethod
    def supervision(cfg: CfgNode) -> Supervision:
        """Labels of its own making; in base2novel the images of all classes, or of base."""
        if cfg.DATASET.SUBSAMPLE_CLASSES == "all":
            return Supervision(labels=False, makes_labels=True, pool="all", transductive=True)
        pool, groups = cfg.TRAINER.UPL.UNLABELLED, ("base", "new")
        protocol = "base2new"
        return Supervision(False, True, pool, transductive=pool == "all", groups=groups, protocol=protocol)

    def prepare(self) -> None:
        """Labels the training images, and trains on the surest of each class."""
        options, task = self.options, self.task
        self.pool = Pool.of_task(task, options.feature_cache, options.labelling_view == "squash_as_published")
        labellers = options.labelling_clips or [self.cfg.MODEL.BACKBONE.NAME]
        probabilities = mean_probabilities(self.pool, labellers, task.classnames, task.template, self.model.precision)
        chosen = most_confident(probabilities, self.pool.paths, options.shots)
        about = described(chosen, self.pool.truth, task.classnames)
        self.pseudo_labels = {"labellers": labellers, "pool_images": len(self.pool)} | about
        log_labels(about, len(self.pool), options.shots)
        task.train_on(self.pool.labelled(sorted(chosen), task.classnames))

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        if self.options.members == 1:
            text = model.text_features(self.task.classnames)  # (C, D)
            return {"loss_ce": F.cross_entropy(model.logits(batch.images, text), batch.known_labels)}
        logits = model.member_logits(batch.images, model.member_features(self.task.classnames))  # (M, B, C)
        # A sum, so that each context learns as it would alone.
        each = [F.cross_entropy(one, batch.known_labels) for one in logits]
        return {"loss_ce": torch.stack(each).sum()}

    def seen(self) -> dict[str, Any] | None:
        found = super().seen()
        if found is None or self.pseudo_labels is None:
            return found
        found |= self.pool.about() | {"pseudo_labels": self.pseudo_labels}
        if self.options.members > 1 and self.task.evaluation_loader is not None:
            found["members"] = accuracies_of_members(self.task, self.model)
        return found
