"""PromptTrainer: the adapter between a method and Dassl's TrainerX, which hands its hooks to promptkd's objects."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import set_random_seed
from promptkd import distributed
from promptkd.data.loading import views
from promptkd.engine.batch import Batch
from promptkd.engine.callbacks import Callback
from promptkd.engine.checkpointer import Checkpointer
from promptkd.engine.checkpoints import BEST
from promptkd.engine.checks import check_config
from promptkd.engine.config import FINAL_MODELS
from promptkd.engine.evaluator import Evaluator
from promptkd.engine.model import build_model
from promptkd.engine.options import MethodOptions, read_options
from promptkd.engine.progress import Progress
from promptkd.engine.recording import log_learned, write_results
from promptkd.engine.step import Step, scaled_rate
from promptkd.engine.task import Supervision, Task
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import ClipShape
from promptkd.model.spec import PromptSpec
from promptkd.teacher.teaching import Teaching

log = logging.getLogger("promptkd.trainers")


class PromptTrainer(TrainerX):
    """A method says its options, its spec and its losses, and holds no machinery.

    It uses no more of Dassl than upstream offers, so a method runs on either.

    Attributes:
        task, model, evaluation, checkpointer, step, progress: see their classes.
        teaching: the teacher's side, of a method that is taught.
    """

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    registered_name: ClassVar[str] = "prompt_learner"  # the folder of its checkpoints, as published
    learns: ClassVar[bool] = True  # whether there is anything to train
    needs_text: ClassVar[bool] = True  # whether the text encoder is loaded
    taught: ClassVar[bool] = False  # whether a teacher's class vectors take the place of texts
    final_models: ClassVar[tuple[str, ...]] = FINAL_MODELS
    options: Any  # an instance of Options
    teaching: Teaching | None = None
    final_accuracy: float | None = None

    # ---- what a method says

    @staticmethod
    def spec(options: Any, shape: ClipShape, classnames: Sequence[str]) -> PromptSpec:
        """What is learned, for a model of these sizes and the classes that train."""
        raise NotImplementedError

    def losses(self, model: PromptedClip, batch: Batch) -> dict[str, Tensor]:
        """Named scalars of a batch, whose sum is trained; each is logged. Here: cross-entropy."""
        assert batch.labels is not None
        text = model.text_features(self.task.classnames)  # (C, D)
        return {"loss_ce": F.cross_entropy(model.logits(batch.images, text), batch.labels)}

    @staticmethod
    def supervision(cfg: CfgNode) -> Supervision:
        """What it learns from; here from labels."""
        return Supervision()

    def callbacks(self) -> list[Callback]:
        """What it adds around its epochs."""
        return []

    def templates(self) -> Sequence[str]:
        """Hand-written texts, of a method that learns no words."""
        return ()

    # ---- Dassl's hooks

    def check_cfg(self, cfg: CfgNode) -> None:
        """Refuses what would only fail, or mislead, later."""
        check_config(cfg, self.final_models)
        read_options(self.Options, cfg.TRAINER.NAME, cfg).check(cfg)

    def build_data_loader(self) -> None:
        """Lists the data; Dassl's own attributes are those of its DataManager."""
        self.task = Task.build(self.cfg, self.supervision(self.cfg))
        self.dm, self.train_loader_x = self.task.manager, self.task.train_loader
        for name in ("train_loader_u", "val_loader", "test_loader", "num_classes", "num_source_domains", "lab2cname"):
            setattr(self, name, getattr(self.dm, name))

    def build_model(self) -> None:
        """Builds the model, what is learned, its optimiser and its schedule."""
        cfg, task = self.cfg, self.task
        self.options = read_options(self.Options, cfg.TRAINER.NAME, cfg)
        self.seed = cfg.SEED if cfg.SEED >= 0 else int(torch.initial_seed() % 2**31)
        precision = Precision.choose(self.options.prec, self.device)

        def find_vectors() -> Any:
            self.teaching = Teaching.build(cfg, self.options, task, precision, self.seed)
            return self.teaching.vectors

        self.model = build_model(
            cfg,
            precision,
            lambda shape: self.spec(self.options, shape, task.classnames),
            text=self.needs_text,
            templates=self.templates(),
            find_vectors=find_vectors if self.taught else None,
        )
        if self.needs_text and not self.model.templates:
            self.model.tokens(task.classnames)  # a class name that is too long shows now, not after an epoch
        prompts, optim = self.model.prompts, scaled_rate(cfg)
        learned = log_learned(prompts, cfg.TRAINER.NAME, self.learns)
        optimizer = build_optimizer(prompts, optim) if learned else None
        self.register_model(
            self.registered_name, prompts, optimizer, build_lr_scheduler(optimizer, optim) if learned else None
        )
        own_classes = tuple(task.classnames) if task.supervision.class_specific else ()
        folder = Path(self.output_dir) / self.registered_name
        self.checkpointer = Checkpointer(folder, self.model, own_classes)
        self.evaluation = Evaluator(task, precision)
        self.step = Step(cfg, self.model, self.losses, task.supervision.labels)
        self.progress = Progress()
        self._callbacks = [*([self.teaching] if self.teaching else []), *self.callbacks()]

    def train(self) -> None:  # type: ignore[override]
        """Trains; a method that learns nothing is evaluated."""
        if self.learns:
            super().train()
        elif not self.cfg.TEST.NO_TEST:
            self.test()

    def init_writer(self, log_dir: str) -> None:
        """Opens the TensorBoard log; of several processes the main one has it."""
        if distributed.is_main():
            super().init_writer(log_dir)

    def before_train(self) -> None:
        """Resumes, and joins the processes of the run."""
        super().before_train()
        distributed.check_same(self.start_epoch, "finished epochs:")
        views.check_shares(self.train_loader_x)
        self.step.join_processes()
        for callback in self._callbacks:
            callback.before_train()

    def before_epoch(self) -> None:
        """Random numbers of an epoch depend on the seed and the epoch alone, so a resumed run draws the same."""
        set_random_seed((self.seed * 100_003 + self.epoch) % 2**31)
        views.set_epoch(self.train_loader_x, self.seed, self.epoch)
        for callback in self._callbacks:
            callback.before_epoch(self.epoch)

    def run_epoch(self) -> None:
        """Dassl's loop over the batches, shown as it goes."""
        with self.progress.epoch(self.epoch, self.max_epoch, len(self.train_loader_x)):
            super().run_epoch()

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:  # type: ignore[override]
        """One optimiser step; the losses for the log, means over all processes."""
        summary = self.step.take(batch, self._optims[self.registered_name])
        self.progress.step(summary, len(batch["img"]) * distributed.world_size(), self.get_current_lr())
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return summary

    def after_epoch(self) -> None:
        """Keeps the newest checkpoint to resume from, each CHECKPOINT_FREQth, and the best where that is asked for."""
        for callback in self._callbacks:
            callback.after_epoch(self.epoch)
        self.progress.warn_of_slow_loader(self.train_loader_x, self.device)
        self.step.check_scale()
        cfg, value = self.cfg, None
        if cfg.TEST.FINAL_MODEL != "last_step" and not cfg.TEST.NO_TEST:
            value = self.test("val" if cfg.TEST.FINAL_MODEL == "best_val" else "first_group")
            if value > self.best_result:
                self.best_result = value
                self.save_model(self.epoch, self.output_dir, val_result=value, model_name=BEST)
        self.save_model(self.epoch, self.output_dir, val_result=value)
        self.checkpointer.tidy(self.epoch + 1, cfg.TRAIN.CHECKPOINT_FREQ)

    def after_train(self) -> None:
        """Evaluates the deployed model and writes the results."""
        for callback in self._callbacks:
            callback.after_train()
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL != "last_step":
                log.info("The best epoch is deployed")
                self.checkpointer.load_best()
            self.test()
        log.info("Elapsed: %s", datetime.timedelta(seconds=round(time.time() - self.time_start)))
        self.close_writer()

    def test(self, split: str | None = None) -> float | None:  # type: ignore[override]
        """Accuracy (percent) of the first reported class group; writes the results.

        Args:
            split: None for the test images of all reported class groups. During training: "val" for the validation
                images, "first_group" for the test images of the first group (the published PromptKD's way).
        """
        self.set_model_mode("eval")
        if split == "val":
            return self.evaluation.on_validation(self.model.classifier(self.task.classnames))
        if split == "first_group":
            return self.evaluation.on_first_group(self.model.classifier(self.task.all_classnames))
        teacher = self.teaching.result() if self.teaching else None
        self.final_accuracy = write_results(self.cfg, self.task, self.model, teacher, self.progress)
        return self.final_accuracy

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        """Writes what is learned, what it belongs to, and what a resumed run needs, in Dassl's form and place."""
        run: dict[str, Any] = {"seed": self.seed, "best_result": float(self.best_result)}
        run |= {"scaler": self.step.scaler.state_dict(), "spent": self.progress.state()}
        for callback in self._callbacks:
            run |= callback.state()
        optimizer, scheduler = self._optims[self.registered_name], self._scheds[self.registered_name]
        folder = Path(directory) / self.registered_name
        self.checkpointer.save(epoch, optimizer, scheduler, run, val_result, is_best, model_name, folder)

    def resume_model_if_exist(self, directory: str) -> int:
        """Continues an interrupted run from its newest checkpoint; returns the number of finished epochs."""
        folder = Path(directory) / self.registered_name
        optimizer, scheduler = self._optims[self.registered_name], self._scheds[self.registered_name]
        resumed = self.checkpointer.resume(folder, optimizer, scheduler)
        if resumed is None:
            return 0
        epochs, run = resumed
        self.seed, self.best_result = run["seed"], run["best_result"]
        self.progress.load_state(run["spent"])
        if run["scaler"]:  # empty where the run began without a scaled loss, as on a CPU
            self.step.scaler.load_state_dict(run["scaler"])
        for callback in self._callbacks:
            callback.load_state(run)
        if self.cfg.TEST.FINAL_MODEL != "last_step" and self.best_result > float("-inf"):
            self.checkpointer.bring_best(folder)
        return epochs

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Loads what a run learned, ours or published: the epoch asked for, else the best, else the last."""
        if self.learns:
            self.checkpointer.load(Path(directory) / self.registered_name, epoch)
