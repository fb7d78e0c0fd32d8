"""The project's own trainers on random CLIPs, without data: their `losses` and their `classifier`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import open_clip
import torch
from open_clip import IMAGENET_CLASSNAMES
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from benchmarks import published
from benchmarks.published import Step
from dassl.engine import TRAINER_REGISTRY
from promptkd.model.class_vectors import ClassVectors, scale_of, template_features
from promptkd.model.precision import Precision
from promptkd.model.prompting import shape_of
from promptkd.model.prompts import Prompts
from promptkd.model.templates import PROMPTSRC_TEMPLATES
from promptkd.model.zoo import load_clip
from promptkd.teacher.teacher import Teacher

METHODS = ("PromptKD", "PromptKD cached", "PromptSRC", "CoOp", "MaPLe", "CoCoOp")
SIZES = {"real": ("ViT-L-14", "ViT-B-16"), "small": ("mini-teacher", "mini-student")}  # teacher, student


def names_of(count: int) -> list[str]:
    """ImageNet's class names; above 1,000 they come again."""
    return [IMAGENET_CLASSNAMES[i % len(IMAGENET_CLASSNAMES)] for i in range(count)]


def random_clip(name: str, device: torch.device) -> nn.Module:
    """A frozen CLIP: OpenAI's architecture with random weights, or a bundled model."""
    if name.startswith("mini-"):
        return load_clip(name).to(device)
    clip = open_clip.create_model(name, pretrained=None, force_quick_gelu=True, device=device)
    return clip.requires_grad_(False).eval()


@dataclass(frozen=True)
class Method:
    """A training step and a classifier, ours and as published, over the same learned tensors."""

    prompts: nn.Module
    ours: Step
    published: Step


class Bench:
    """Builds methods at one size on one device; models are made once, the teacher when it is needed.

    Args:
        sizes: a key of SIZES.
        device: where all is done.
        precision: fp32, bf16, fp16 or amp.
        backbone: takes the place of the student where it is given: "ViT-L-14" for a teacher's own training.
    """

    def __init__(self, sizes: str, device: torch.device, precision: str = "fp32", backbone: str = "") -> None:
        torch.manual_seed(0)
        self.device, self.small = device, sizes == "small"
        self.precision = Precision.choose(precision, device)
        self.compute = self.precision.compute or torch.float32
        self.teacher_name, self.name = SIZES[sizes][0], backbone or SIZES[sizes][1]
        self.clip = self.precision.store(random_clip(self.name, device))
        self.image_size = shape_of(self.clip).resolution

    @cached_property
    def teacher_clip(self) -> nn.Module:
        """PromptKD's teacher."""
        return self.precision.store(random_clip(self.teacher_name, self.device))

    def method(self, name: str, count: int, images: Tensor) -> Method:
        """A method of METHODS over `count` classes; `images` (B, 3, H, W) are those a cached teacher has seen."""
        kind, names = TRAINER_REGISTRY.get(name.split()[0]), names_of(count)
        trainer = self._bare(kind, names)
        if name.startswith("PromptKD"):
            return self._distillation(trainer, names, images if "cached" in name else None)
        trainer.prompts = kind.build_prompts(trainer.options, self.clip, names).to(self.device)
        arguments: tuple[Any, ...] = (self.clip, trainer.prompts, names)
        if name == "PromptSRC":
            with torch.no_grad(), self.precision.autocast():
                trainer.frozen_text = template_features(self.clip, names, PROMPTSRC_TEMPLATES[:1], normalize_each=False)
            arguments += (trainer.frozen_text,)
        return self._paired(trainer, names, getattr(published, name.lower())(*arguments))

    def _bare(self, kind: type, names: Sequence[str]) -> Any:
        trainer = kind.__new__(kind)
        trainer.clip, trainer.device, trainer.precision = self.clip, self.device, self.precision
        trainer.classnames, trainer.all_classnames, trainer._tokens = list(names), list(names), {}
        trainer.logit_scale, trainer.options = scale_of(self.clip), kind.defaults()
        for key in trainer.options:
            if self.small and "DEPTH" in key:  # the bundled models have four blocks
                trainer.options[key] = 3
        trainer.cache = None
        # what class vectors say of themselves
        trainer.cfg = CfgNode({"TRAINER": {"NAME": kind.__name__}, "MODEL": {"BACKBONE": {"NAME": "random"}}})
        return trainer

    def _distillation(self, trainer: Any, names: list[str], seen: Tensor | None) -> Method:
        depth = 3 if self.small else 9
        prompts = Prompts(self.teacher_clip, 4, depth, 4, depth, "a photo of a").to(self.device).requires_grad_(False)
        with torch.no_grad(), self.precision.autocast():
            features = prompts.encode_text(self.teacher_clip, prompts.tokens(self.teacher_clip, names))
        vectors = ClassVectors(tuple(names), F.normalize(features.float(), dim=-1), scale_of(self.teacher_clip))
        teacher = Teacher(self.teacher_clip, prompts, vectors, {})
        trainer.teacher, trainer.vectors = teacher, vectors
        trainer.prompts = trainer.rebuild_prompts(trainer.options, self.clip, vectors).to(self.device)
        step = published.promptkd(self.clip, trainer.prompts, names, teacher, trainer.options.KD_WEIGHT)
        if seen is not None:
            with torch.no_grad(), self.precision.autocast():
                trainer.cache = Kept(teacher.image_features(seen))
        return self._paired(trainer, names, step)

    def _paired(self, trainer: Any, names: list[str], step: Step) -> Method:
        def loss(images: Tensor, labels: Tensor) -> Tensor:
            with self.precision.autocast():
                return torch.stack(list(trainer.losses(images, labels).values())).sum()

        def reference(images: Tensor, labels: Tensor) -> Tensor:
            with self.precision.autocast():
                return step[0](images, labels)

        classifiers: dict[str, Any] = {}

        def classify(images: Tensor) -> Tensor:
            with self.precision.autocast():
                if "ours" not in classifiers:  # class vectors are made once for all batches
                    classifiers["ours"] = trainer.classifier(names)
                return classifiers["ours"](images)

        def classify_published(images: Tensor) -> Tensor:
            with self.precision.autocast():
                return step[1](images)

        return Method(trainer.prompts, (loss, classify), (reference, classify_published))


@dataclass(frozen=True)
class Kept:
    """A teacher cache that is in memory already: reading a row of a real one takes microseconds."""

    stored: Tensor

    def features(self, numbers: Tensor, images: Tensor, encode: Any) -> Tensor:
        """The stored rows."""
        return self.stored
