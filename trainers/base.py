"""PromptTrainer: the adapter between a method and Dassl's TrainerX, which hands its hooks to promptkd's objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TrainerX
from promptkd.engine.arithmetic import choose_precision
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.checks import check_config
from promptkd.engine.keys import FINAL_MODELS
from promptkd.engine.model import build_model
from promptkd.engine.options import MethodOptions, read_all, read_options
from promptkd.engine.task import Supervision, Task
from promptkd.engine.trackers import open_trackers
from promptkd.engine.training import Training
from promptkd.model.allocation import keep_freed_memory
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec
from promptkd.teacher.held_out import HeldOut
from promptkd.teacher.pool import Pool
from promptkd.teacher.teaching import Teaching
from promptkd.teacher.vocabulary import VocabularyTeacher

log = logging.getLogger("promptkd.trainers")


class PromptTrainer(TrainerX):
    """A method says its options, its spec and its losses; this class uses no more of Dassl than upstream offers.

    Attributes:
        options: the method's, an instance of Options.
        task: what it trains on and is measured on.
        model: the frozen CLIP with what is learned.
        teaching: the teacher's side, of a method that is taught.
        vocabulary: the teacher of a method that distils texts of its own.
        training: what happens around Dassl's loop.
    """

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    AddedOptions: ClassVar[tuple[type[MethodOptions], ...]] = ()  # of further sections: TRAINER.KDPL of CoOp_KDPL
    registered_name: ClassVar[str] = "prompt_learner"  # the folder of its checkpoints, as published
    learns: ClassVar[bool] = True  # whether there is anything to train
    needs_text: ClassVar[bool] = True  # whether the text encoder is loaded
    taught: ClassVar[bool] = False  # whether a teacher's class vectors take the place of texts
    final_models: tuple[str, ...] = FINAL_MODELS
    model: PromptedClip  # type: ignore[assignment]  # Dassl's own is a network of its own
    options: Any
    teaching: Teaching | None = None
    vocabulary: VocabularyTeacher | None = None  # a teacher of names, beside whom the method has texts of its own
    held_out: HeldOut | None = None  # of a student that is compared with its teacher on images that do not train
    final_accuracy: float | None = None

    # ---- what a method says

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        """What is learned, for a model of these sizes and the classes that train."""
        raise NotImplementedError

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        """Named scalars of a batch, whose sum is trained; each is logged. Here: cross-entropy."""
        text = model.text_features(self.task.classnames)  # (C, D)
        return {"loss_ce": F.cross_entropy(model.logits(batch.images, text), batch.known_labels)}

    @staticmethod
    def supervision(cfg: CfgNode) -> Supervision:
        """What it learns from; here from labels."""
        return Supervision()

    def templates(self) -> Sequence[str]:
        """Hand-written texts, of a method that learns no words."""
        return ()

    def callbacks(self) -> list[Callback]:
        """What it adds around its epochs."""
        return []

    def prepare(self) -> None:
        """What it makes once before it trains, with its model: a teacher, labels for images that have none."""

    def seen(self) -> dict[str, Any] | None:
        """What results.json says of images that it learned from without labels; None of a method with labels."""
        supervision = self.task.supervision
        if supervision.labels or not self.learns or self.cfg.EVAL_ONLY:
            return None
        return Pool.of_task(self.task).about() | ({"held_out": self.held_out.result()} if self.held_out else {})

    # ---- Dassl's hooks

    def check_cfg(self, cfg: CfgNode) -> None:
        check_config(cfg, self.final_models)
        for options in read_all(type(self), cfg.TRAINER.NAME, cfg):
            options.check(cfg)

    def build_data_loader(self) -> None:
        self.task = Task.build(self.cfg, self.supervision(self.cfg))
        self.dm, self.train_loader_x = self.task.manager, self.task.train_loader
        for name in ("train_loader_u", "val_loader", "test_loader", "num_classes", "num_source_domains", "lab2cname"):
            setattr(self, name, getattr(self.dm, name))

    def build_model(self) -> None:
        cfg, task = self.cfg, self.task
        if self.device.type == "cpu":
            keep_freed_memory()
        self.options = read_options(self.Options, cfg.TRAINER.NAME, cfg)
        precision = choose_precision(cfg, self.options.prec, self.device, self.registered_name)
        seed = cfg.SEED if cfg.SEED >= 0 else int(torch.initial_seed() % 2**31)

        def find_vectors() -> ClassVectors:
            self.teaching = Teaching.build(cfg, self.options, task, precision, seed)
            return self.teaching.vectors

        self.model = build_model(
            cfg,
            precision,
            lambda shape: self.spec(self.options, shape, task.classnames),
            classnames=task.classnames if self.needs_text else None,
            templates=self.templates(),
            find_vectors=find_vectors if self.taught else None,
        )
        if not cfg.EVAL_ONLY:
            self.prepare()
            self.train_loader_x = task.train_loader  # which may be another one now
        self.training = Training(cfg, task, self.model, self.losses, self.registered_name, seed, self.learns)
        self.training.callbacks = [*([self.teaching] if self.teaching else []), *self.callbacks()]
        if self.teaching and task.held_out and not cfg.EVAL_ONLY:
            self.held_out = HeldOut(task, self.teaching, self.model)
            self.training.callbacks.append(self.held_out)
            self.training.choose = self.held_out.choose
        learned = (self.model.prompts, self.training.optimizer, self.training.scheduler)
        self.register_model(self.registered_name, *learned)

    def train(self) -> None:  # type: ignore[override]
        """Trains; a method that learns nothing is evaluated."""
        try:
            if self.learns:
                super().train()
            elif not self.cfg.TEST.NO_TEST:
                self.init_writer(self.output_dir)
                self.test()
        except BaseException:
            self.training.trackers.failed = True
            raise
        finally:
            self.close_writer()

    def init_writer(self, log_dir: str) -> None:
        """Opens the trackers that LOGGER names, which Dassl's loop takes for its writer; `log_dir` is TensorBoard's."""
        first_step = self.start_epoch * len(self.train_loader_x)
        self._writer = self.training.trackers = open_trackers(self.cfg, first_step)

    def before_train(self) -> None:
        super().before_train()
        self.training.begin(self.start_epoch)

    def before_epoch(self) -> None:
        self.training.begin_epoch(self.epoch)

    def run_epoch(self) -> None:
        with self.training.progress.epoch(self.epoch, self.max_epoch, len(self.train_loader_x)):
            super().run_epoch()

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:  # type: ignore[override]
        losses = self.training.take_step(batch)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return losses

    def after_epoch(self) -> None:
        self.training.end_epoch(self.epoch)

    def after_train(self) -> None:
        self.training.end()
        if not self.cfg.TEST.NO_TEST:
            self.test()

    def test(self, split: str | None = None) -> float | None:  # type: ignore[override]
        """Accuracy (percent) of the first reported class group; writes the results."""
        teacher = self.teaching or self.vocabulary
        self.final_accuracy = self.training.results(teacher.result() if teacher else None, self.seen)
        return self.final_accuracy

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        self.training.save(epoch, val_result, model_name, Path(directory) / self.registered_name)

    def resume_model_if_exist(self, directory: str) -> int:
        return self.training.resume(directory)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Loads what a run learned, ours or published: the epoch asked for, else the best, else the last."""
        if self.learns:
            self.training.checkpointer.load(Path(directory) / self.registered_name, epoch)
