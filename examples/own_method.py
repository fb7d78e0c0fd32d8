"""A method of one's own, trained by the project's command line.

    python examples/own_method.py --config-file examples/own_method.yaml --root data --output-dir output/mirror

It needs `pip install .`, or PYTHONPATH=. in a checkout. The command line, checkpoints, resuming, the evaluation of base
and new classes and results.json are those of every method: the file says options, what is learned, and losses. In
`trainers/`, with a line in its `__init__.py`, `python train.py` would know it too (docs/adding-a-trainer.md).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

import promptkd
from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.batch import Batch
from promptkd.engine.command import command_line
from promptkd.engine.options import MethodOptions, option
from promptkd.model.prompting import ClipShape
from promptkd.trainers.base import PromptTrainer


@dataclass(frozen=True)
class MirrorOptions(MethodOptions):
    """Tokens of both encoders, and the weight of the second loss."""

    n_ctx: int = option(4, "tokens of each encoder")
    depth: int = option(3, "blocks of each encoder with learned tokens")
    weight: float = option(20.0, "weight of the difference between an image and its mirror image", least=0)


@TRAINER_REGISTRY.register()
class Mirror(PromptTrainer):
    """Prompts in both encoders, by which an image and its mirror image look alike."""

    Options = MirrorOptions

    @staticmethod
    def spec(options: MirrorOptions, shape: ClipShape, classnames: Sequence[str]) -> promptkd.PromptSpec:
        return promptkd.PromptSpec(
            n_text=options.n_ctx,
            depth_text=options.depth,
            n_vision=options.n_ctx,
            depth_vision=options.depth,
            phrase="a photo of a",
        )

    def losses(self, model: promptkd.PromptedClip, batch: Batch) -> dict[str, Tensor]:
        text = model.text_features(self.task.classnames)  # (C, D), encoded once for both
        logits, mirrored = model.logits(batch.images, text), model.logits(batch.images.flip(-1), text)  # (B, C) each
        return {
            "loss_ce": F.cross_entropy(logits, batch.known_labels),
            "loss_mirror": self.options.weight * promptkd.mean_kl(mirrored, logits),
        }


if __name__ == "__main__":
    sys.exit(command_line())
