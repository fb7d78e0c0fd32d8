"""Checkpoints of a run: what is learned, what it belongs to, and what a resumed run needs."""

from __future__ import annotations

import errno
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from promptkd import distributed
from promptkd.bounded import shown, whole_number
from promptkd.engine import checkpoints
from promptkd.engine.checkpoints import BEST, MOST_EPOCHS
from promptkd.engine.optimizer_state import check_optimizer
from promptkd.files import replacing, write_text
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.saved import write_spec
from promptkd.texts import clipped

log = logging.getLogger(__name__)
ANOTHER = "is the file damaged? Remove it, and the run goes on from the checkpoint before it"


class Checkpointer:
    """Writes and reads the checkpoints of a model's prompts, in Dassl's form and place, and their spec beside them.

    Args:
        folder: `<run>/<registered name>`, where they lie.
        model: its prompts are saved and loaded.
        classnames: classes that tensors are for, where each class has its own; else ().
    """

    def __init__(self, folder: Path, model: PromptedClip, classnames: tuple[str, ...] = ()) -> None:
        self.folder, self.model, self.classnames = folder, model, classnames

    def belongs_to(self) -> dict[str, Any]:
        """What learned tensors mean nothing without: trainer, backbone, text, and classes where each has its own."""
        prompts, about = self.model.prompts, self.model.about
        text = f"{prompts.template!r}, class name at the {prompts.position}"
        identity = {"trainer": about["trainer"], "backbone": about["backbone"], "text": text}
        return identity | ({"classnames": list(self.classnames)} if self.classnames else {})

    def save(
        self,
        epoch: int,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        run: Mapping[str, Any],
        val_result: float | None = None,
        file_name: str = "",
        folder: Path | None = None,
    ) -> None:
        """Writes an epoch's checkpoint; of several processes the main one does.

        Args:
            epoch: counted from 0.
            optimizer, scheduler: of the prompts.
            run: what a resumed run needs beside them: tensors and plain values.
            val_result: accuracy (percent) by which epochs are chosen, where they are.
            file_name: "" for `model.pth.tar-<epoch + 1>`.
            folder: another place.

        Raises:
            OSError: it cannot be written; the earlier checkpoints stay.
        """
        if not distributed.is_main():
            return
        state = {
            "state_dict": self.model.prompts.state_dict(),
            "epoch": epoch + 1,
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "val_result": val_result,
            "belongs_to": self.belongs_to(),
            "run": dict(run),
        }
        folder = folder or self.folder
        write_checkpoint(folder / (file_name or f"model.pth.tar-{epoch + 1}"), state)
        write_spec(folder, self.model)

    def resume(self, folder: Path, optimizer: Optimizer, scheduler: LRScheduler) -> tuple[int, dict[str, Any]] | None:
        """Takes back the newest checkpoint of a folder: finished epochs, and the `run` that was saved with it.

        Raises:
            ValueError: it is not a checkpoint of this trainer.
        """
        files = checkpoints.numbered(folder)
        if not files:
            return None
        path = files[max(files)]
        content = self._load(path)
        if not isinstance(content.get("run"), dict):
            raise ValueError(
                f"{path} is not a checkpoint of this trainer to resume from; give it as MODEL.INIT_WEIGHTS"
            )
        try:
            epochs = whole_number(content.get("epoch"), "epoch", 1, MOST_EPOCHS)
            check_optimizer(content.get("optimizer"), optimizer)
        except ValueError as error:
            raise ValueError(f"{path}: {error}: {ANOTHER}") from error
        # Stepped, not loaded: upstream Dassl's stored schedule holds objects that are bound to another optimiser.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for _ in range(epochs):
                scheduler.step()
        try:
            optimizer.load_state_dict(content["optimizer"])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise ValueError(f"{path} has no optimizer state of this run ({clipped(error)}): {ANOTHER}") from error
        log.info("Resumed from %s (%d epochs done)", path, epochs)
        return epochs, content["run"]

    def bring_best(self, folder: Path) -> None:
        """Copies the best epoch so far from the folder that a run goes on from.

        Raises:
            FileNotFoundError: it is gone, so that another epoch would be deployed in its place.
        """
        target, best = self.folder / BEST, folder / BEST
        if target.is_file():
            return
        if not best.is_file():
            raise FileNotFoundError(
                f"{best} is gone, the best epoch so far: put it back, or set TEST.FINAL_MODEL last_step to go on"
            )
        if distributed.is_main():
            with replacing(target) as partial:
                shutil.copyfile(best, partial)

    def load(self, folder: Path | None = None, epoch: int | None = None) -> None:
        """Loads what a run learned, ours or published: the epoch asked for, else the best, else the last.

        Raises:
            FileNotFoundError, ValueError: it is not there, or of another model.
        """
        path = checkpoints.latest(folder or self.folder, epoch)
        content = self._load(path)
        log.info("Loaded %s (epoch %s)", path, content.get("epoch"))

    def load_best(self) -> None:
        """Loads this run's best epoch; FileNotFoundError where it is not there."""
        self._load(self.folder / BEST)

    def tidy(self, done: int, frequency: int) -> None:
        """Removes checkpoints before the newest that are not every `frequency`th; of several processes the main one."""
        for epoch, path in checkpoints.numbered(self.folder).items():
            if epoch < done and not (frequency > 0 and epoch % frequency == 0) and distributed.is_main():
                path.unlink()
        distributed.barrier()  # what was written is there for all

    def _load(self, path: Path) -> dict[str, Any]:
        """Loads a file's tensors into the prompts, after checking that they belong to this model."""
        content = checkpoints.read_checkpoint(path)
        current = self.belongs_to()
        saved = current | content.get("belongs_to", {})
        if saved["backbone"] != current["backbone"]:
            backbone = clipped(saved["backbone"], 300)
            raise ValueError(
                f"{path} was learned on backbone {backbone}, this run has {current['backbone']}: "
                f"set MODEL.BACKBONE.NAME {backbone}"
            )
        if (classes := saved.get("classnames")) and list(classes) != current.get("classnames"):
            raise ValueError(
                f"{path} has tensors for each of {len(classes)} other classes (first {shown(classes[0])}), "
                "none for these"
            )
        checkpoints.load_learned(self.model.prompts, content["state_dict"], path)
        if saved.get("text", current["text"]) != current["text"]:
            raise ValueError(
                f"{path} was learned in the text {clipped(saved['text'], 300)}, this run has {current['text']}: "
                "set CTX_INIT or CLASS_TOKEN_POSITION as they were"
            )
        if saved["trainer"] != current["trainer"]:
            log.info("%s was learned by %s: %s goes on with it", path, saved["trainer"], current["trainer"])
        return content


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint in Dassl's form, synced, then its name into the text file `checkpoint` beside it.

    Args:
        path: of the file.
        state: tensors and plain values.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:  # PyTorch closes the file after an error in writing, and reports only that
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise OSError(errno.EIO, str(error).splitlines()[0]) from error
    write_text(path.with_name("checkpoint"), f"{path.name}\n")
    log.debug("Checkpoint saved to %s", path)


def not_finite(state: Any) -> list[str]:
    """The names of the tensors of a state with a value that is infinite or no number; the device is waited for once.

    Args:
        state: dictionaries and lists of tensors and plain values, to any depth; names are joined by dots.
    """
    tensors = dict(_tensors("", state))
    if not tensors:
        return []
    finite = torch.stack([value.isfinite().all() for value in tensors.values()]).cpu()
    return [name for name, good in zip(tensors, finite.tolist(), strict=True) if not good]


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Dotted name and value of each tensor of real numbers."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.device.type != "meta":
            yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}.{key}" if name else str(key), part)
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _tensors(f"{name}.{number}" if name else str(number), part)
