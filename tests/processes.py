"""Jobs for torchrun: `processes.py JOBS.json`, a list of {"argv": words of train.py, "state": file, "fails": rank,
"bf16": [0 or 1 of each process]}.

Each process writes what it has learned to "state" with its number behind it. A job that "fails" raises in the first
step, on that process alone; one with "bf16" has CPUs that prefer bfloat16, or do not, as its list says.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dassl import engine
from promptkd import distributed
from promptkd.engine import command
from promptkd.engine.callbacks import AveragedPrompts
from promptkd.engine.step import Step
from promptkd.model import native_bf16

one_run = command.main


def run(job: dict) -> None:
    """One job, in the session that all share."""
    built = []
    build, step = engine.build_trainer, Step.add_gradients
    engine.build_trainer = lambda cfg: built.append(build(cfg)) or built[-1]

    def fail(self, batch):
        if distributed.rank() == job["fails"]:
            raise OSError("this process has no image")
        return step(self, batch)

    Step.add_gradients = fail if "fails" in job else step
    if "bf16" in job:
        os.environ[native_bf16.SWITCH] = str(job["bf16"][int(os.environ["RANK"])])
    try:
        one_run(job["argv"])
    finally:
        engine.build_trainer = build
    averaged = [callback.mean for callback in built[0].training.callbacks if isinstance(callback, AveragedPrompts)]
    state = {"learned": built[0].model.prompts.state_dict(), "averaged": averaged[0] if averaged else {}}
    state["arithmetic"] = built[0].model.precision.arithmetic
    torch.save(state | {"accuracy": built[0].final_accuracy}, f"{job['state']}-{distributed.rank()}")


def main(argv: Sequence[str] | None = None) -> None:
    """All jobs, one after the other."""
    with distributed.session():
        for job in json.loads(Path(sys.argv[1]).read_text()):
            run(job)


if __name__ == "__main__":
    command.main = main  # for the command line to run, which says what it says of errors
    sys.exit(command.command_line())
