"""What the cases work on: tiny CLIPs, a tiny data set, finished runs to damage, commands in a process."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_up
from conftest import run_words, write_clips, write_data
from tiny_runs import KD, METHODS

from promptkd.__main__ import main as promptkd
from promptkd.engine import checkpoints
from promptkd.engine.command import command_line as train


@dataclass
class Bench:
    """Folder of everything, and how thorough the campaign is.

    Attributes:
        folder: its own; everything goes there.
        share: of the full number of cases, above 0 up to 1.
        seed: of all damage and all moments.
    """

    folder: Path
    share: float = 1.0
    seed: int = 0
    clips: dict[str, str] = field(init=False)
    root: str = field(init=False)

    def __post_init__(self) -> None:
        for name in ("clips", "data"):
            (self.folder / name).mkdir(parents=True)
        self.clips, self.root = write_clips(self.folder / "clips"), write_data(self.folder / "data")

    def count(self, full: int) -> int:
        """The number of cases in place of the full one."""
        return max(1, round(full * self.share))

    def place(self) -> Path:
        """A new folder, also of a process that was forked from this one."""
        return Path(tempfile.mkdtemp(prefix="case", dir=self.folder))

    def words(self, trainer: str, output: Path, *more: str, epochs: int = 2) -> list[str]:
        """Words of train.py for a tiny run."""
        options = METHODS[trainer].words(trainer) if trainer in METHODS else []
        if trainer == "PromptKD":
            options = [
                *KD,
                "TRAINER.PROMPTKD.TEACHER",
                self.clips["teacher"],
                "TRAINER.PROMPTKD.EVALUATE_TEACHER",
                "False",
            ]
        elif trainer != "UPL":  # which chooses its images itself
            options = [*options, "DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", "4"]
        flags = [word for word in more if word.startswith("--")]
        rest = [word for word in more if not word.startswith("--")]
        options += ["TRAIN.CHECKPOINT_FREQ", "1"] if "TRAIN.CHECKPOINT_FREQ" not in more else []
        return run_words(self.root, self.clips["student"], trainer, output, *flags, *options, *rest, epochs=epochs)

    def finished(self, trainer: str) -> Path:
        """A finished run of a trainer, made once."""
        output = self.folder / "finished" / trainer
        if not (output / "results.json").is_file():
            in_a_fork(lambda: train(self.words(trainer, output)))
        return output

    def copy(self, trainer: str) -> Path:
        """A copy of a finished run, to be damaged."""
        place = self.place() / "run"
        shutil.copytree(self.finished(trainer), place)
        return place


def in_a_fork(action: Callable[[], int]) -> None:
    """Runs something in a process of its own, so that no thread of a computation stays in this one; it must succeed."""
    from campaign.cases import Case, Tally, run_case

    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch:  # its own: campaigns may run beside each other
        run_case(Case("a healthy run", action, refused=False, seconds=300), tally, Path(scratch))
    if tally.faults or not tally.ends["handled"]:
        raise RuntimeError(f"a healthy run failed: {tally.ends} {tally.faults}")


def command(*words: str) -> Callable[[], int]:
    """A command of the project: `command("collect", folder)`."""
    return lambda: promptkd(list(words))


def learned(output: Path) -> dict[str, Any]:
    """What the last checkpoint of a run learned, as lists of numbers: equal only to the bit."""
    folder = next(output.glob("*/checkpoint")).parent
    state = checkpoints.read_checkpoint(checkpoints.latest(folder))["state_dict"]
    return {name: value.tolist() for name, value in state.items()}


def numbers(output: Path) -> Any:
    """The metrics of a run's result."""
    return json.loads((output / "results.json").read_text())["metrics"]


__all__ = ["Bench", "command", "in_a_fork", "learned", "made_up", "numbers", "promptkd", "train"]
