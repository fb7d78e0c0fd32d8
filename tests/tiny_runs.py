"""What tests that train share: options of tiny runs, each method's options, and programs in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from promptkd.engine import checkpoints
from promptkd.home import ROOT

PROCESSES = Path(__file__).with_name("processes.py")
BASE = ["DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", "4"]
SRC = ["TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "3", "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "3"]
SRC += ["TRAINER.PROMPTSRC.GPA_MEAN", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", "4"]
KD = ["TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", "2", "TRAINER.PROMPTKD.KD_WEIGHT", "50"]
LEARN = ["OPTIM.WARMUP_EPOCH", "0", "TRAIN.CHECKPOINT_FREQ", "1"]


@dataclass
class Method:
    """Options of a tiny run, and what its checkpoint holds."""

    options: dict[str, Any]
    folder: str
    keys: set[str]
    published: set[str] = field(default_factory=set)  # some of the published names

    def words(self, trainer: str, **changes: Any) -> list[str]:
        """Options as words of a command line, those of `changes` in place of its own."""
        options = self.options | changes
        return [word for key, value in options.items() for word in (f"TRAINER.{trainer.upper()}.{key}", str(value))]


def numbered(name: str, count: int) -> set[str]:
    return {f"{name}.{number}" for number in range(count)}


DEEP = {"N_CTX_VISION": 2, "N_CTX_TEXT": 4, "PROMPT_DEPTH_VISION": 3, "PROMPT_DEPTH_TEXT": 3}
BOTH = {"ctx"} | numbered("vision_prompts", 3) | numbered("text_prompts", 2)
SHALLOW = "encoder.transformer.resblocks.1.VPT_shallow"
LED = numbered("vision_prompts", 3) | {f"text_maps.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")}
META = {f"meta_net.linear{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
MAPS = {f"projections.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")}
METHODS = {
    "CoOp": Method({"N_CTX": 3}, "prompt_learner", {"ctx"}, {"ctx"}),
    "KgCoOp": Method({}, "prompt_learner", {"ctx"}, {"ctx"}),
    "CoCoOp": Method({"N_CTX": 3}, "prompt_learner", {"ctx"} | META, {"ctx"} | META),
    "VPT": Method(
        {"N_CTX_VISION": 2, "PROMPT_DEPTH_VISION": 3},
        "prompt_learner",
        numbered("vision_prompts", 3),
        {"image_encoder.VPT", f"image_{SHALLOW}"},
    ),
    "IVLP": Method(DEEP, "VLPromptLearner", BOTH, {"prompt_learner.ctx", f"image_{SHALLOW}", f"text_{SHALLOW}"}),
    "PromptSRC": Method(DEEP | {"GPA_MEAN": 2}, "VLPromptLearner", BOTH, {"prompt_learner.ctx", f"text_{SHALLOW}"}),
    "AdvIVLP": Method(DEEP, "VLPromptLearner", BOTH, {"prompt_learner.ctx", f"text_{SHALLOW}"}),
    "APD": Method(DEEP, "VLPromptLearner", BOTH, {"prompt_learner.ctx", f"text_{SHALLOW}"}),
    "FAP": Method({"N_CTX": 2, "PROMPT_DEPTH": 3}, "MultiModalPromptLearner", LED, {"image_encoder.VPT"}),
    "MaPLe": Method(
        {"N_CTX": 2, "PROMPT_DEPTH": 3},
        "MultiModalPromptLearner",
        {"ctx"} | numbered("text_prompts", 2) | MAPS,
        {"prompt_learner.proj.weight", "prompt_learner.compound_prompt_projections.1.bias"},
    ),
}

ATTACKED = ("AdvIVLP", "APD", "FAP")  # that attack the images they learn from, with float32 weights


def learned(directory: Path, epoch: int) -> dict[str, torch.Tensor]:
    return checkpoints.read_checkpoint(directory / "VLPromptLearner" / f"model.pth.tar-{epoch}")["state_dict"]


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether both hold the same tensors, and any."""
    return bool(one) and one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def torchrun(*words: str) -> subprocess.CompletedProcess:
    """Two processes of a program."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PROMPT_TRACEBACK": "", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
