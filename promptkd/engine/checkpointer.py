"""Checkpoints of a prompt trainer: what is learned, what it belongs to, and what a resumed run needs."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any, ClassVar

from dassl.engine import TrainerX
from dassl.utils import save_checkpoint
from promptkd import distributed
from promptkd.engine import checkpoints
from promptkd.engine.checkpoints import BEST


class SavingTrainer(TrainerX):
    """Writes and reads the checkpoints of `self.prompts`; PromptTrainer is built on it."""

    registered_name: ClassVar[str] = "prompt_learner"  # the folder of its checkpoints, as published

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        """Writes what is learned, what it belongs to, and what a resumed run needs, in Dassl's form and place.

        Of several processes the main one does.
        """
        if not distributed.is_main():
            return
        state = {
            "state_dict": self.prompts.state_dict(),
            "epoch": epoch + 1,
            "optimizer": self._optims[self.registered_name].state_dict(),
            "scheduler": self._scheds[self.registered_name].state_dict(),
            "val_result": val_result,
            "belongs_to": self.belongs_to(),
            "run": {"seed": self.seed, "best_result": float(self.best_result), "scaler": self.scaler.state_dict()}
            | {"spent": dict(self.spent)}
            | self.run_state(),
        }
        save_checkpoint(state, str(Path(directory) / self.registered_name), is_best=is_best, model_name=model_name)

    def init_writer(self, log_dir: str) -> None:
        """Opens the TensorBoard log; of several processes the main one has it."""
        if distributed.is_main():
            super().init_writer(log_dir)

    def belongs_to(self) -> dict[str, Any]:
        """What learned tensors mean nothing without: trainer, backbone, text, and classes where each has its own."""
        text = f"{self.prompts.template!r}, class name at the {self.prompts.position}"
        return {"trainer": self.cfg.TRAINER.NAME, "backbone": self.cfg.MODEL.BACKBONE.NAME, "text": text}

    def run_state(self) -> dict[str, Any]:
        """What a method keeps from epoch to epoch beside its parameters (tensors and plain values)."""
        return {}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Takes `run_state` back."""

    def resume_model_if_exist(self, directory: str) -> int:
        """Continues an interrupted run from its newest checkpoint; returns the number of finished epochs."""
        files = checkpoints.numbered(Path(directory) / self.registered_name)
        if not files:
            print("No checkpoint found, train from scratch")
            return 0
        path = files[max(files)]
        content = self._load_checkpoint(path)
        if "run" not in content:
            raise ValueError(
                f"{path} is not a checkpoint of this trainer to resume from; give it as MODEL.INIT_WEIGHTS"
            )
        # Stepped, not loaded: upstream Dassl's stored schedule holds objects that are bound to another optimiser.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for _ in range(content["epoch"]):
                self._scheds[self.registered_name].step()
        self._optims[self.registered_name].load_state_dict(content["optimizer"])
        run = content["run"]
        self.seed, self.best_result, self.spent = run["seed"], run["best_result"], dict(run["spent"])
        if run["scaler"]:  # empty where the run began without a scaled loss, as on a CPU
            self.scaler.load_state_dict(run["scaler"])
        self.load_run_state(run)
        self._keep_best(path.with_name(BEST))
        print(f"Resumed from {path} ({content['epoch']} epochs done)")
        return int(content["epoch"])

    def _keep_best(self, best: Path) -> None:
        """The best epoch so far comes along where a run goes on in another directory.

        Raises:
            FileNotFoundError: it is gone, so that another epoch would be deployed in its place.
        """
        own = Path(self.output_dir) / self.registered_name / BEST
        chosen = self.cfg.TEST.FINAL_MODEL != "last_step" and self.best_result > float("-inf")
        if not chosen or own.is_file():
            return
        if not best.is_file():
            raise FileNotFoundError(
                f"{best} is gone, the best epoch so far: put it back, or set TEST.FINAL_MODEL last_step to go on"
            )
        if distributed.is_main():
            own.parent.mkdir(parents=True, exist_ok=True)
            partial = own.with_name(f"{own.name}.part")
            shutil.copyfile(best, partial)
            os.replace(partial, own)

    def load_best(self) -> None:
        """Loads this run's best epoch; FileNotFoundError where it is not there."""
        self._load_file(Path(self.output_dir) / self.registered_name / BEST)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Loads what a run learned, ours or published: the epoch asked for, else the best, else the last.

        Raises:
            FileNotFoundError, ValueError: it is not there, or of another model.
        """
        self._load_file(checkpoints.latest(Path(directory) / self.registered_name, epoch))

    def _load_file(self, path: Path) -> None:
        content = self._load_checkpoint(path)
        print(f'Loading weights to {self.registered_name} from "{path}" (epoch = {content.get("epoch")})')

    def _load_checkpoint(self, path: Path) -> dict[str, Any]:
        content = checkpoints.read_checkpoint(path)
        belongs = content.get("belongs_to", self.belongs_to())
        if belongs["backbone"] != self.cfg.MODEL.BACKBONE.NAME:
            raise ValueError(
                f"{path} was learned on backbone {belongs['backbone']}, this run has {self.cfg.MODEL.BACKBONE.NAME}: "
                f"set MODEL.BACKBONE.NAME {belongs['backbone']}"
            )
        if (classes := belongs.get("classnames")) and list(classes) != self.belongs_to().get("classnames"):
            raise ValueError(
                f"{path} has tensors for each of {len(classes)} other classes (first {classes[0]!r}), none for these"
            )
        checkpoints.load_learned(self.prompts, content["state_dict"], path)
        own = self.belongs_to()
        if belongs.get("text", own["text"]) != own["text"]:
            raise ValueError(
                f"{path} was learned in the text {belongs['text']}, this run has {own['text']}: "
                "set CTX_INIT or CLASS_TOKEN_POSITION as they were"
            )
        if belongs["trainer"] != own["trainer"]:
            print(f"{path} was learned by {belongs['trainer']}: {own['trainer']} goes on with it")
        return content
