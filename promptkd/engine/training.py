"""The training of one run around Dassl's loop: steps, callbacks, checkpoints, the choice of an epoch, the results."""

from __future__ import annotations

import datetime
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from yacs.config import CfgNode

from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import set_random_seed
from promptkd import distributed, exits
from promptkd.bounded import shown, whole_number
from promptkd.data.loading import views
from promptkd.engine import arithmetic
from promptkd.engine.callbacks import Callback
from promptkd.engine.checkpointer import ANOTHER, Checkpointer, not_finite
from promptkd.engine.checkpoints import BEST
from promptkd.engine.evaluator import Classifier, Evaluator
from promptkd.engine.keys import ON_POOL
from promptkd.engine.progress import Progress
from promptkd.engine.recording import log_learned, write_results
from promptkd.engine.robust.recorded import Measured, check_changed_images, measure_changed
from promptkd.engine.step import Losses, Step, scaled_rate
from promptkd.engine.task import Task
from promptkd.engine.trackers import Trackers
from promptkd.model.prompted_clip import PromptedClip
from promptkd.texts import clipped

log = logging.getLogger(__name__)


class Training:
    """What a run does at each moment of a training loop; whoever runs the loop calls its methods.

    Args:
        cfg: the run's configuration.
        task: what it trains on and is measured on.
        model: whose prompts learn.
        losses: of the method.
        folder: name of the folder of its checkpoints.
        seed: of every random number.
        learns: whether the method has something to learn.

    Attributes:
        optimizer, scheduler: of the prompts; None where nothing is learned.
        callbacks: what the method adds around its epochs.
        classifier: of a method that classifies otherwise than its model does.
        best: accuracy (percent) of the best epoch so far, where epochs are chosen; or what `choose` says of it.
        choose: gives the number by which TEST.FINAL_MODEL best_on_pool chooses an epoch, the larger the better.
        trackers: where its numbers are reported.
        step, progress, checkpointer, evaluation: see their classes.
    """

    def __init__(
        self, cfg: CfgNode, task: Task, model: PromptedClip, losses: Losses, folder: str, seed: int, learns: bool = True
    ) -> None:
        self.cfg, self.task, self.model, self.seed = cfg, task, model, seed
        check_changed_images(cfg, task)
        optim = scaled_rate(cfg)
        learned = log_learned(model.prompts, cfg.TRAINER.NAME, learns)
        self.optimizer: Optimizer | None = None
        self.scheduler: LRScheduler | None = None
        if learned:
            self.optimizer = build_optimizer(model.prompts, optim)
            self.scheduler = build_lr_scheduler(self.optimizer, optim)
        classes = tuple(task.classnames) if task.supervision.class_specific else ()
        self.checkpointer = Checkpointer(Path(cfg.OUTPUT_DIR) / folder, model, classes)
        self.evaluation = Evaluator(task, model.precision)
        self.step = Step(cfg, model, losses, task.supervision.labels or task.supervision.makes_labels)
        self.progress = Progress()
        self.trackers = Trackers()
        self.callbacks: list[Callback] = []
        self.best = float("-inf")
        self.classifier: Callable[[Sequence[str]], Classifier] | None = None
        self.choose: Callable[[], float] | None = None
        self.start = time.time()

    def resume(self, directory: str | Path) -> int:
        """Goes on from the newest checkpoint of a run's directory; the number of finished epochs, 0 without one."""
        assert self.optimizer is not None and self.scheduler is not None
        folder = Path(directory) / self.checkpointer.folder.name
        resumed = self.checkpointer.resume(folder, self.optimizer, self.scheduler)
        if resumed is None:
            return 0
        epochs, run = resumed
        try:
            self._take_back(run)
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{folder}: 'run' of its newest checkpoint: {clipped(reason)}: {ANOTHER}") from error
        if self.cfg.TEST.FINAL_MODEL != "last_step" and self.best > float("-inf"):
            self.checkpointer.bring_best(folder)
        return epochs

    def _take_back(self, run: dict[str, Any]) -> None:
        """Takes back what `save` stored of the run; raises many kinds of error where that is of another kind."""
        self.seed = whole_number(run["seed"], "run.seed", 0, 2**63)
        if not isinstance(run["best_result"], float) or math.isnan(run["best_result"]):
            raise ValueError(f"run.best_result is {shown(run['best_result'])}, no accuracy")
        self.best = run["best_result"]
        self.progress.load_state(run["spent"])
        if run["scaler"]:  # empty where the run began without a scaled loss, as on a CPU
            self.step.scaler.load_state_dict(run["scaler"])
        for callback in self.callbacks:
            callback.load_state(run)

    def begin(self, finished: int) -> None:
        """Joins the processes of the run, which must have resumed from the same number of finished epochs."""
        distributed.check_same(finished, "finished epochs:")
        views.check_shares(self.task.train_loader)
        Path(self.cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
        self.step.join_processes()
        self.start = time.time()
        for callback in self.callbacks:
            callback.before_train()

    def begin_epoch(self, epoch: int) -> None:
        """Random numbers of an epoch depend on the seed and the epoch alone, so a resumed run draws the same."""
        set_random_seed((self.seed * 100_003 + epoch) % 2**31)
        views.set_epoch(self.task.train_loader, self.seed, epoch)
        for callback in self.callbacks:
            callback.before_epoch(epoch)

    def take_step(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimiser step on a batch of Dassl's; its losses, means over all processes.

        Raises:
            FloatingPointError: the loss is not finite; the message has the step and what to try.
        """
        assert self.optimizer is not None
        for callback in self.callbacks:
            callback.before_step(self.optimizer)
        exits.check()
        try:
            losses = self.step.take(batch, self.optimizer)
        except FloatingPointError as error:
            raise FloatingPointError(f"{self.progress.place(1)}: {error}") from error
        for callback in self.callbacks:
            callback.after_step()
        images = len(batch["img"]) * distributed.world_size()
        self.progress.step(losses, images, self.optimizer.param_groups[0]["lr"])
        return losses

    def end_epoch(self, epoch: int) -> None:
        """Keeps the newest checkpoint to resume from, each CHECKPOINT_FREQth, and the best where that is asked for.

        Raises:
            FloatingPointError: what is learned is not finite; the checkpoint of the epoch before stays the newest.
        """
        self.trackers.add_scalar("train/images_per_second", self.progress.speed)
        for callback in self.callbacks:
            callback.after_epoch(epoch)
        self.progress.warn_of_slow_loader(self.task.train_loader, self.model.device)
        self.step.check_scale()
        self.check_learned()
        value = None
        if self.cfg.TEST.FINAL_MODEL != "last_step" and not self.cfg.TEST.NO_TEST:
            value = self.choosing_value()
            name = "negative_kl" if self.cfg.TEST.FINAL_MODEL == ON_POOL else "accuracy"
            self.trackers.add_scalar(f"choice/{name}", value)
            if value > self.best:
                self.best = value
                self.save(epoch, value, BEST)
        self.save(epoch, value)
        self.checkpointer.tidy(epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ)

    def end(self) -> None:
        """Ends the training; loads the best epoch where one was chosen."""
        for callback in self.callbacks:
            callback.after_train()
        if self.cfg.TEST.FINAL_MODEL != "last_step" and not self.cfg.TEST.NO_TEST:
            log.info("The best epoch is deployed")
            self.checkpointer.load_best()
        log.info("Trained in %s", datetime.timedelta(seconds=round(time.time() - self.start)))

    def save(self, epoch: int, value: float | None = None, file_name: str = "", folder: Path | None = None) -> None:
        """Writes a checkpoint with everything that a resumed run needs; `value` is the number that chooses."""
        assert self.optimizer is not None and self.scheduler is not None
        if not Path(self.cfg.OUTPUT_DIR).is_dir():
            raise FileNotFoundError(
                f"--output-dir {self.cfg.OUTPUT_DIR} is gone: it was removed or moved while the run went on. Put it "
                "back and start the same command again: it goes on from its last checkpoint"
            )
        run: dict[str, Any] = {"seed": self.seed, "best_result": float(self.best)}
        run |= {"scaler": self.step.scaler.state_dict(), "spent": self.progress.state()}
        run[arithmetic.KEY] = self.model.precision.arithmetic
        for callback in self.callbacks:
            run |= callback.state()
        self.checkpointer.save(epoch, self.optimizer, self.scheduler, run, value, file_name, folder)

    def check_learned(self) -> None:
        """Raises FloatingPointError where what was learned, its mean over epochs or a momentum is not finite."""
        assert self.optimizer is not None
        state = {"": self.model.prompts.state_dict(), "optimizer": self.optimizer.state_dict()["state"]}
        for callback in self.callbacks:
            state |= callback.state()
        if bad := not_finite(state):
            rest = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise FloatingPointError(
                f"{self.progress.place()}: {bad[0]}{rest} is infinite or NaN after the last step, though its loss was "
                f"not: this epoch is not saved, the checkpoint before it stays. Lower OPTIM.LR ({self.cfg.OPTIM.LR:g})"
                f"{self.step.advice}"
            )

    def choosing_value(self) -> float:
        """The number by which TEST.FINAL_MODEL chooses an epoch: an accuracy (percent), or what `choose` says."""
        self.model.prompts.eval()
        if self.cfg.TEST.FINAL_MODEL == ON_POOL:
            assert self.choose is not None
            return self.choose()
        if self.cfg.TEST.FINAL_MODEL == "best_val":
            return self.evaluation.on_validation(self.model.classifier(self.task.classnames))
        return self.evaluation.on_first_group(self.model.classifier(self.task.all_classnames))

    def on_changed_images(self, cfg: CfgNode) -> Measured:
        """Accuracy under attack and on corrupted images, as a configuration's TEST asks for.

        Raises:
            ValueError: there are no labelled test images.
        """
        if self.task.evaluation_loader is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no labelled test images: nothing can be measured on them")
        self.model.prompts.eval()
        classify = (self.classifier or self.model.classifier)(self.task.all_classnames)
        return measure_changed(cfg, self.task, self.model, classify)

    def against_other_data(self) -> dict[str, dict[str, Any]]:
        """Class group -> how well its confidence tells the images of TEST.OUTSIDE; see `Confidence`."""
        self.model.prompts.eval()
        classify = (self.classifier or self.model.classifier)(self.task.all_classnames)
        found = self.evaluation.evaluate(classify, outside=self.task.outside_loader)
        return {group: {"auroc_other_data": found[group]["auroc_other_data"]} for group in self.task.groups}

    def results(
        self, teacher: dict[str, Any] | None = None, seen: Callable[[], dict[str, Any] | None] = lambda: None
    ) -> float | None:
        """Evaluates the model, writes its results, and returns the first class group's accuracy (percent).

        Args:
            teacher: what is known of a teacher.
            seen: gives what is known of images without labels, once they are classified.
        """
        self.model.prompts.eval()
        parts = (self.cfg, self.task, self.model, teacher, self.progress, seen, self.classifier)
        return write_results(*parts, trackers=self.trackers)
