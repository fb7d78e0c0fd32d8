"""A run on Weights & Biases, or kept on disk for `wandb sync`; WANDB_PROJECT, WANDB_MODE and the rest are wandb's."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

from promptkd.engine.trackers.tracker import Picture, Scalar, Start
from promptkd.texts import plain

log = logging.getLogger(__name__)

PROJECT = "promptkd"
# Seconds that a run waits at most for a server that does not answer, where the environment gives no others.
_LIMITS = {"init_timeout": 30, "finish_timeout": 60, "x_graphql_timeout_seconds": 15}


class WandbRun:
    """A run of wandb's; without a key it is kept on disk, for nobody is there to answer a question."""

    shows_pictures = True

    def __init__(self, start: Start) -> None:
        import wandb

        self.wandb = wandb
        name = start.recall("wandb") or secrets.token_hex(8)
        fields = wandb.Settings.model_fields
        limits = {key: value for key, value in _LIMITS.items() if key in fields}
        settings = wandb.Settings(silent=True, console="off", save_code=False, **limits)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", start.name),
            dir=str(start.directory),
            id=name,
            resume="allow",
            mode=_mode(wandb),
            config=start.settings,
            allow_val_change=True,
            settings=settings,
        )
        start.remember("wandb", name)

    def write(self, values: Sequence[Scalar]) -> None:
        for step, of_step in groupby(values, key=lambda one: one.step):
            self.run.log({plain(one.name): one.value for one in of_step}, step=step)

    def finish(self, record: dict[str, Any], pictures: Sequence[Picture], step: int) -> None:
        if pictures:
            images = [self.wandb.Image(one.pixels, caption=plain(one.caption)) for one in pictures]
            self.run.log({"test images": images}, step=step)
        kept = {key: value for key, value in record.items() if key not in ("settings", "command", "data_root")}
        self.run.summary.update({"result": kept})

    def close(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


def _mode(wandb: Any) -> Literal["offline"] | None:
    """The mode to open a run in: wandb's own choice, but on disk where it would ask for a key."""
    if os.environ.get("WANDB_MODE") or wandb.setup().settings.api_key or wandb.api.api_key:
        return None
    log.info('wandb has no key: the run is kept on disk, and "wandb sync" sends it. "wandb login" gives a key')
    return "offline"
