"""TensorBoard's log in a run's directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from promptkd.engine.trackers.tracker import Picture, Scalar, Start
from promptkd.texts import plain

FOLDER = "tensorboard"


class TensorBoardLog:
    """Event files in RUN/tensorboard; a resumed run adds one, which hides the steps that are done again."""

    shows_pictures = True

    def __init__(self, start: Start) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("tensorboard is not installed: pip install tensorboard") from error
        folder = str(start.directory / FOLDER)
        self.writer = SummaryWriter(folder, purge_step=start.first_step or None)
        self.writer.add_text("configuration", _block(start.settings), start.first_step)

    def write(self, values: Sequence[Scalar]) -> None:
        for one in values:
            self.writer.add_scalar(one.name, one.value, one.step)

    def finish(self, record: dict[str, Any], pictures: Sequence[Picture], step: int) -> None:
        self.writer.add_text("result", _block({"metrics": record["metrics"], "selection": record["selection"]}), step)
        for number, one in enumerate(pictures):
            self.writer.add_image(f"test images/{number}: {plain(one.caption)}", one.pixels, step, dataformats="HWC")

    def close(self, failed: bool) -> None:
        self.writer.close()


def _block(content: dict[str, Any]) -> str:
    """A value as a block of Markdown code, whatever it holds."""
    return "\n".join(f"    {line}" for line in json.dumps(content, indent=1, default=str).splitlines())
