"""A run in an MLflow store: MLFLOW_TRACKING_URI's, else one in the run's directory."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from promptkd.engine.trackers.tracker import Picture, Scalar, Start
from promptkd.texts import plain

EXPERIMENT = "promptkd"
FOLDER = "mlruns"
_MOST_METRICS, _MOST_PARAMS, _LONGEST_PARAM = 1000, 100, 500  # of one request, and characters, as MLflow has it
# How long a run waits for a server that does not answer; MLflow's own limits are minutes.
_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowRun:
    """A run of MLflow's, by its client, which leaves no run active in this process."""

    shows_pictures = True

    def __init__(self, start: Start) -> None:
        for key, value in _LIMITS.items():
            os.environ.setdefault(key, value)
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if not given:  # a folder is enough for one run; MLflow wants to be asked for it
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.entities = entities
        self.client = MlflowClient(given or (start.directory / FOLDER).absolute().as_uri())
        self.run = self._known(start.recall("mlflow"))
        if not self.run:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            experiment = self.client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self.client.create_experiment(name)
            self.run = str(self.client.create_run(number, run_name=start.name).info.run_id)
            self._write_settings(start.settings)
        start.remember("mlflow", self.run)

    def _known(self, run: str) -> str:
        """A run that the store has, taken up again; "" where it has none of that name."""
        from mlflow.exceptions import MlflowException

        try:
            if run:
                self.client.update_run(run, status="RUNNING")
        except MlflowException:
            return ""
        return run

    def _write_settings(self, settings: dict[str, Any]) -> None:
        params = [self.entities.Param(key, plain(value)[:_LONGEST_PARAM]) for key, value in settings.items()]
        for part in _parts(params, _MOST_PARAMS):
            self.client.log_batch(self.run, params=part)

    def write(self, values: Sequence[Scalar]) -> None:
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(_name(one.name), one.value, now, one.step) for one in values]
        for part in _parts(metrics, _MOST_METRICS):
            self.client.log_batch(self.run, metrics=part)

    def finish(self, record: dict[str, Any], pictures: Sequence[Picture], step: int) -> None:
        self.client.log_dict(self.run, record, "results.json")
        for number, one in enumerate(pictures):
            self.client.log_image(self.run, one.pixels, artifact_file=f"test_images/{number}.png")
        if pictures:
            lines = [f"{number}.png: {plain(one.caption)}" for number, one in enumerate(pictures)]
            self.client.log_text(self.run, "\n".join(lines) + "\n", "test_images/captions.txt")

    def close(self, failed: bool) -> None:
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


def _name(text: str) -> str:
    """A metric's name in the characters that MLflow takes."""
    return re.sub(r"[^\w ./-]", "_", text, flags=re.ASCII)[:200]


def _parts(values: list[Any], most: int) -> Iterator[list[Any]]:
    """The list in pieces of at most `most`."""
    for first in range(0, len(values), most):
        yield values[first : first + most]
