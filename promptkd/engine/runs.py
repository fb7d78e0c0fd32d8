"""A finished run, read back as a model by its configuration, spec, checkpoint and class vectors, without its method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from promptkd.engine import checkpoints
from promptkd.model.class_edits import vectors_in_use
from promptkd.model.class_vectors import FILE_NAME
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.saved import read_spec
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.results.directory import CONFIGURATION, read_configuration
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.record import FILE_NAME as RESULT
from promptkd.results.record import RunRecord
from promptkd.results.settings import node_of

# Folders of a run in which methods keep their checkpoints, as published.
FOLDERS = ("prompt_learner", "VLPromptLearner", "MultiModalPromptLearner", "adapters")


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
    config: CfgNode
    checkpoint: Path | None
    content: dict[str, Any]
    spec: PromptSpec

    @property
    def trainer(self) -> str:
        """The method's registered name."""
        return str(self.config.TRAINER.NAME)

    @property
    def backbone(self) -> str:
        """The name of its CLIP."""
        return str(self.config.MODEL.BACKBONE.NAME)

    @property
    def made_vectors(self) -> bool:
        """Whether its class vectors are what it made, of a frozen CLIP that stays as it was (FeatureTeacher)."""
        return self.checkpoint is None and not self.trainer.startswith("ZeroshotCLIP")

    def model(self, device: torch.device | str = "cpu", *, text: bool = False, precision: str = "fp32") -> PromptedClip:
        """The run's model, frozen.

        Args:
            device: where it computes.
            text: whether it has to encode texts anew; else it takes the class vectors that the run has left, or those
                that `promptkd classes` made of them.
            precision: arithmetic.

        Raises:
            FileNotFoundError: the run has no class vectors.
            ValueError: the checkpoint does not fit.
        """
        vectors = None if text else vectors_in_use(self.directory)
        if vectors is not None and self.spec.projector_layers and vectors.features.shape[1] != self.spec.projector_dim:
            raise ValueError(
                f"{self.directory / FILE_NAME} has {vectors.features.shape[1]} channels, "
                f"what the run learned leads to {self.spec.projector_dim}"
            )
        # The token table is needed to build a context, though class vectors leave it unused here.
        clip = load_clip(self.backbone, text=text or bool(self.spec.n_text))
        about = {"backbone": self.backbone, "trainer": self.trainer, "source": str(self.directory)}
        arithmetic = Precision.choose(precision, torch.device(device))
        model = PromptedClip(clip, self.spec, arithmetic, vectors=vectors, about=about)
        if self.checkpoint is not None:
            checkpoints.load_learned(model.prompts, self.content["state_dict"], self.checkpoint)
        return model.freeze()


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
    config = read_configuration(directory)
    if config is None:
        raise FileNotFoundError(f"{directory} holds no run: there is no config.yaml")
    if "NAME" not in config.get("MODEL", {}).get("BACKBONE", {}):
        raise ValueError(f"{directory / CONFIGURATION} does not say its CLIP: it has no MODEL.BACKBONE.NAME")
    folder = next((directory / name for name in FOLDERS if (directory / name).is_dir()), None)
    if folder is None:
        nothing = _learned_nothing(directory)
        if config.TRAINER.NAME.startswith("ZeroshotCLIP") or (nothing and (directory / FILE_NAME).is_file()):
            return FinishedRun(directory, config, None, {}, PromptSpec())
        if nothing:
            raise FileNotFoundError(
                f"{directory} is a {config.TRAINER.NAME} run, which learns nothing and leaves no classifier: run it "
                f"with the new images as its own; {PREDICTIONS} has what it says of those that it had"
            )
        raise FileNotFoundError(f"{directory} has no checkpoint: none of the folders {', '.join(FOLDERS)} is there")
    file = checkpoints.latest(folder, epoch)
    content = checkpoints.read_checkpoint(file)
    saved = read_spec(folder)
    try:
        spec = saved.spec if saved else _spec_of_older(config, content)
        if saved:
            spec.check(checkpoints.learned_tensors(content["state_dict"]))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return FinishedRun(directory, config, file, content, spec)


def _learned_nothing(directory: Path) -> bool:
    """Whether a finished run says that nothing was learned."""
    try:
        return RunRecord.read(directory / RESULT, needs_metrics=False).learned_parameters == 0
    except ValueError:
        return False


def _spec_of_older(config: CfgNode, content: dict[str, Any]) -> PromptSpec:
    """The spec of a run before specs were written: tensors tell sizes, its options tell words."""
    options = config.TRAINER.get(node_of(config.TRAINER.NAME)) or {}
    learned = checkpoints.learned_tensors(content["state_dict"])
    phrase, position = options.get("CTX_INIT") or "", options.get("CLASS_TOKEN_POSITION") or "end"
    return PromptSpec.of_tensors(learned, str(phrase), str(position))
