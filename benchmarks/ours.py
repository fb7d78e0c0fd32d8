"""The project's own trainers on random CLIPs, without data: their `losses` and their `classifier`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip import IMAGENET_CLASSNAMES
from torch import Tensor, nn
from yacs.config import CfgNode

from benchmarks import published
from benchmarks.published import Step
from dassl.engine import TRAINER_REGISTRY
from promptkd import guests
from promptkd.engine.batch import Batch
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import shape_of
from promptkd.model.prompts import Prompts
from promptkd.model.spec import PromptSpec
from promptkd.model.templates import PROMPTSRC_TEMPLATES
from promptkd.model.zoo import load_clip
from promptkd.teacher.member import Member
from promptkd.teacher.teaching import Teaching

guests.register()

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

    prompts: Prompts
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
        if name.startswith("PromptKD"):
            return self._distillation(kind, names, images if "cached" in name else None)
        trainer = self._trainer(kind, names)
        model = trainer.model
        arguments: tuple[Any, ...] = (self.clip, model.prompts, names)
        if name == "PromptSRC":
            with torch.no_grad():
                features = model.template_features(names, PROMPTSRC_TEMPLATES[:1], normalize_each=False)
            trainer.frozen_text = features
            arguments += (features,)
        return self._paired(trainer, names, getattr(published, name.lower())(*arguments))

    def _trainer(self, kind: Any, names: Sequence[str], vectors: ClassVectors | None = None) -> Any:
        """A method with a model and a task, and no data."""
        trainer = kind.__new__(kind)
        trainer.options = kind.Options()
        if self.small:  # the bundled models have four blocks
            depths = [entry.name for entry in fields(kind.Options) if "depth" in entry.name]
            trainer.options = replace(trainer.options, **dict.fromkeys(depths, 3))
        trainer.task = SimpleNamespace(classnames=list(names), all_classnames=list(names))
        shape = shape_of(self.clip)
        spec = kind.spec(
            trainer.options, replace(shape, target_dim=vectors.features.shape[1] if vectors else shape.embed_dim), names
        )
        about = {"trainer": kind.__name__, "backbone": "random"}
        trainer.model = PromptedClip(self.clip, spec, self.precision, vectors=vectors, about=about)
        return trainer

    def _distillation(self, kind: Any, names: list[str], seen: Tensor | None) -> Method:
        depth = 3 if self.small else 9
        spec = PromptSpec(n_text=4, depth_text=depth, n_vision=4, depth_vision=depth, phrase="a photo of a")
        teacher = PromptedClip(self.teacher_clip, spec, self.precision).freeze()
        teacher.vectors = teacher.class_vectors(names)
        trainer = self._trainer(kind, names, teacher.vectors)
        cache: Any = None
        if seen is not None:
            with torch.no_grad(), self.precision.autocast():
                cache = Kept(teacher.image_features(seen))
        trainer.teaching = Teaching(
            CfgNode(), trainer.options, trainer.task, self.precision, teacher.vectors, [Member(teacher, cache=cache)], 0
        )
        step = published.promptkd(self.clip, trainer.model.prompts, names, teacher, trainer.options.kd_weight)
        return self._paired(trainer, names, step)

    def _paired(self, trainer: Any, names: list[str], step: Step) -> Method:
        def loss(images: Tensor, labels: Tensor) -> Tensor:
            with self.precision.autocast():
                batch = Batch(images, labels, torch.arange(len(images)))
                return torch.stack(list(trainer.losses(trainer.model, batch).values())).sum()

        def reference(images: Tensor, labels: Tensor) -> Tensor:
            with self.precision.autocast():
                return step[0](images, labels)

        classifiers: dict[str, Any] = {}

        def classify(images: Tensor) -> Tensor:
            with self.precision.autocast():
                if "ours" not in classifiers:  # class vectors are made once for all batches
                    classifiers["ours"] = trainer.model.classifier(names)
                return classifiers["ours"](images)

        def classify_published(images: Tensor) -> Tensor:
            with self.precision.autocast():
                return step[1](images)

        return Method(trainer.model.prompts, (loss, classify), (reference, classify_published))


@dataclass(frozen=True)
class Kept:
    """A teacher cache that is in memory already: reading a row of a real one takes microseconds."""

    stored: Tensor

    def features(self, numbers: Tensor, images: Tensor, encode: Any) -> Tensor:
        """The stored rows."""
        return self.stored
