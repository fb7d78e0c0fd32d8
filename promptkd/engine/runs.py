"""A finished run, read back as a model: by its configuration, spec, checkpoint and class vectors; no method is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from promptkd.engine import checkpoints
from promptkd.engine.options import node_of
from promptkd.model.class_vectors import FILE_NAME, ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.saved import read_spec
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip

# Folders of a run in which methods keep their checkpoints, as published.
FOLDERS = ("prompt_learner", "VLPromptLearner", "MultiModalPromptLearner")


@dataclass(frozen=True)
class FinishedRun:
    """What is on disk of a run.

    Attributes:
        directory: of the run.
        config: its config.yaml.
        checkpoint: file of what it learned; None for a method that learns nothing.
        content: of the checkpoint; {} without one.
        spec: what rebuilds the learned module.
    """

    directory: Path
    config: dict[str, Any]
    checkpoint: Path | None
    content: dict[str, Any]
    spec: PromptSpec

    @property
    def trainer(self) -> str:
        """The method's registered name."""
        return str(self.config["TRAINER"]["NAME"])

    @property
    def backbone(self) -> str:
        """The name of its CLIP."""
        return str(self.config["MODEL"]["BACKBONE"]["NAME"])

    def model(self, device: torch.device | str = "cpu", *, text: bool = False, precision: str = "fp32") -> PromptedClip:
        """The run's model, frozen.

        Args:
            device: where it computes.
            text: whether it has to encode texts anew; else it takes the class vectors that the run has left.
            precision: arithmetic.

        Raises:
            FileNotFoundError: the run has no class vectors.
            ValueError: the checkpoint does not fit.
        """
        vectors = None if text else ClassVectors.load(self.directory / FILE_NAME)
        # The token table is needed to build a context, though class vectors leave it unused here.
        clip = load_clip(self.backbone, text=text or bool(self.spec.n_text))
        about = {"backbone": self.backbone, "trainer": self.trainer, "source": str(self.directory)}
        arithmetic = Precision.choose(precision, torch.device(device))
        model = PromptedClip(clip, self.spec, arithmetic, vectors=vectors, about=about)
        if self.checkpoint is not None:
            checkpoints.load_learned(model.prompts, self.content["state_dict"], self.checkpoint)
        return model.freeze()


def read_config(directory: str | Path) -> dict[str, Any]:
    """The merged configuration of a run.

    Raises:
        FileNotFoundError: no run there.
        ValueError: it is damaged.
    """
    path = Path(directory) / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} holds no run: there is no config.yaml")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for keys in (("TRAINER", "NAME"), ("MODEL", "BACKBONE", "NAME"), ("DATASET", "NAME")):
            value = config
            for key in keys:
                value = value[key]
            if not isinstance(value, str):
                raise ValueError(f"{'.'.join(keys)} is no name")
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:200]}): run the training again") from error
    return dict(config)


def read_run(directory: str | Path, epoch: int | None = None) -> FinishedRun:
    """Looks at a run's directory.

    Args:
        directory: of a run of this version or an earlier one.
        epoch: of the checkpoint; None for the best, else the last.

    Raises:
        FileNotFoundError: no run, or no such checkpoint.
        ValueError: a file of it is damaged, or its trainer was written for upstream.
    """
    directory = Path(directory)
    config = read_config(directory)
    folder = next((directory / name for name in FOLDERS if (directory / name).is_dir()), None)
    if folder is None:
        if str(config["TRAINER"]["NAME"]).startswith("ZeroshotCLIP"):
            return FinishedRun(directory, config, None, {}, PromptSpec())
        raise FileNotFoundError(f"{directory} has no checkpoint: none of the folders {', '.join(FOLDERS)} is there")
    file = checkpoints.latest(folder, epoch)
    content = checkpoints.read_checkpoint(file)
    saved = read_spec(folder)
    spec = saved.spec if saved else _spec_of_older(config, content)
    return FinishedRun(directory, config, file, content, spec)


def _spec_of_older(config: dict[str, Any], content: dict[str, Any]) -> PromptSpec:
    """The spec of a run before specs were written: tensors tell sizes, its options tell words."""
    options = config["TRAINER"].get(node_of(config["TRAINER"]["NAME"])) or {}
    learned = checkpoints.from_published(content["state_dict"])
    phrase, position = options.get("CTX_INIT") or "", options.get("CLASS_TOKEN_POSITION") or "end"
    return PromptSpec.of_tensors(learned, str(phrase), str(position))
