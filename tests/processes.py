"""Jobs for torchrun: `processes.py JOBS.json`, a list of {"argv": words of train.py, "state": file, "fails": rank}.

Each process writes what it has learned to "state" with its number behind it. A job that "fails" raises in the first
step, on that process alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dassl import engine
from promptkd import distributed
from promptkd.engine import command
from trainers.base import PromptTrainer

one_run = command.main


def run(job: dict) -> None:
    """One job, in the session that all share."""
    built = []
    build, step = engine.build_trainer, PromptTrainer.add_gradients
    engine.build_trainer = lambda cfg: built.append(build(cfg)) or built[-1]

    def fail(self, batch):
        if distributed.rank() == job["fails"]:
            raise OSError("this process has no image")
        return step(self, batch)

    PromptTrainer.add_gradients = fail if "fails" in job else step
    try:
        one_run(job["argv"])
    finally:
        engine.build_trainer = build
    state = {"learned": built[0].prompts.state_dict(), "averaged": getattr(built[0], "averaged", {})}
    torch.save(state | {"accuracy": built[0].final_accuracy}, f"{job['state']}-{distributed.rank()}")


def main(argv: Sequence[str] | None = None) -> None:
    """All jobs, one after the other, in the place of one run."""
    with distributed.session():
        for job in json.loads(Path(sys.argv[1]).read_text()):
            run(job)


if __name__ == "__main__":
    command.main = main  # which the command line runs, and reports its error
    sys.exit(command.command_line())
