"""Replays a recorded training run with the real trainer class: losses, optimiser, schedule, checkpoints, evaluation.

Only the loaders are replaced, by the recorded batches. Everything else is what `train.py` builds and runs.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from parity_compare import compare_checkpoint, compare_evaluation, compare_training, compare_zero_shot, start
from parity_measure import Golden, Report, load_npz
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd import guests
from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.data.loading.views import SeededViews
from promptkd.engine import config
from promptkd.engine.task import Task, text_templates
from promptkd.model.class_vectors import cosine_logits
from promptkd.model.prompting import encode_image
from train import BASE

guests.register()


class Recorded(list):
    """Items of a data set whose images were recorded, not read."""

    @property
    def data_source(self) -> list[Any]:
        return self


class Batches:
    """A loader of the recorded batches: those of the trainer's current epoch.

    Its data set is one of as many images as an epoch has, all in the file `source`: by that a teacher cache knows them.
    """

    def __init__(self, images: Tensor, labels: Tensor, per_epoch: int, source: Path) -> None:
        self.images, self.labels, self.per_epoch = images, labels, per_epoch
        self.trainer: Any = None
        self.generator = self.sampler = None
        items = [SimpleNamespace(impath=str(source))] * (per_epoch * images.shape[1])
        self.dataset = SeededViews(Recorded(items), str(source.parent))

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self.trainer.epoch * self.per_epoch, (self.trainer.epoch + 1) * self.per_epoch):
            size = len(self.images[step])
            numbers = step % self.per_epoch * size + torch.arange(size)
            yield {"img": self.images[step], "label": self.labels[step], "index": numbers}


def replaying(
    kind: type, meta: dict[str, Any], batches: Batches, record: dict[str, list[Any]], observing: bool = True
) -> type:
    """The trainer class `kind`, fed with recorded batches and writing down what it computes."""

    class Replay(kind):
        def build_data_loader(self) -> None:
            batches.trainer = self
            names = list(meta["classnames"])
            self.train_loader_x, self.train_loader_u, self.val_loader, self.test_loader = batches, None, None, None
            self.num_classes, self.lab2cname = len(names), dict(enumerate(names))
            groups = {"all": list(range(len(names)))}
            self.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=names, all_classnames=names))
            supervision, texts = self.supervision(self.cfg), text_templates(self.cfg)
            self.task = Task(self.dm, supervision, batches, names, names, groups, cfg=self.cfg, **texts)

        def forward_backward(self, batch: dict[str, Tensor]) -> dict[str, float]:
            record["lr"].append(self.get_current_lr())
            if observing:
                observe_batch(Observed(self), batch["img"], record, "train/logits" in meta["arrays"])
            with observed_projector(Observed(self), record):
                summary = super().forward_backward(batch)
            record["losses"].append(summary)
            if not record["gradients"]:  # of the first step
                gradients = {
                    name: p.grad.clone() for name, p in self.model.prompts.named_parameters() if p.grad is not None
                }
                record["gradients"].append(gradients)
            state = {name: value.clone() for name, value in self.model.prompts.state_dict().items()}
            record["states"].append(state)
            return summary

    return Replay


class Observed:
    """A trainer under the names that the comparisons read: what it computes is asked of its model."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.model = trainer, trainer.model

    def __getattr__(self, name: str) -> Any:
        asked = {
            "vectors": lambda: self.model.vectors,
            "classnames": lambda: self.trainer.task.classnames,
            "all_classnames": lambda: self.trainer.task.all_classnames,
            "text_depends_on_image": lambda: self.model.conditional,
            "gpa_weights": lambda: self.trainer.callbacks()[0].weights,
            "options": lambda: self.trainer.cfg.TRAINER[config.node_of(self.trainer.cfg.TRAINER.NAME)],
            "teacher": lambda: self.trainer.teaching and self.trainer.teaching.teacher,
        }
        if name in asked:
            return asked[name]()
        return getattr(self.model if hasattr(self.model, name) and name != "templates" else self.trainer, name)


def observe_batch(trainer: Any, images: Tensor, record: dict[str, list[Any]], logits: bool) -> None:
    """What the trainer's own functions say of a batch before its step."""
    with torch.no_grad():
        if logits:
            vectors = trainer.class_vectors(trainer.classnames)
            record["text_features"].append(vectors.features)
            record["logits"].append(trainer.logits(images, vectors.features))
        if hasattr(trainer, "frozen_text"):
            frozen = encode_image(trainer.clip.visual, images)
            record["frozen_logits"].append(cosine_logits(frozen, trainer.frozen_text, trainer.logit_scale))
        if trainer.teacher is not None:
            teacher = trainer.teacher
            record["teacher_logits"].append(teacher.logits(images))
            record["teacher_features"].append(F.normalize(teacher.prompts.encode_image(teacher.clip, images), dim=-1))


@contextlib.contextmanager
def observed_projector(trainer: Any, record: dict[str, list[Any]]) -> Iterator[None]:
    """Writes down the features that a student's projector gives in training."""
    projector = getattr(trainer.prompts, "projector", None)
    if projector is None:
        yield
        return
    handle = projector.register_forward_hook(
        lambda module, inputs, output: record["student_features"].append(F.normalize(output.detach(), dim=-1))
    )
    yield
    handle.remove()


def build_config(golden: Golden, meta: dict[str, Any], directory: Path) -> CfgNode:
    """The configuration that train.py would build from the recorded one, with the recorded models."""
    cfg = config.default_config(DATASET_DEFAULTS)
    config.merge_file(cfg, BASE)
    config.merge(cfg, meta["config"], meta["fixture"])
    changes: dict[str, Any] = {
        "OUTPUT_DIR": str(directory),
        "USE_CUDA": False,
        "MODEL": {"BACKBONE": {"NAME": golden.clip_file(meta["clip"])}},
        "TEST": {"NO_TEST": True, "FINAL_MODEL": "last_step"},
    }
    if "teacher_checkpoint" in meta:
        node = config.node_of(cfg.TRAINER.NAME)
        teacher = {
            "TEACHER": teacher_checkpoint(golden, meta["teacher_checkpoint"]),
            "TEACHER_NAME": golden.clip_file(meta["teacher_clip"]),
            "EVALUATE_TEACHER": False,
        }
        changes["TRAINER"] = {node: teacher}
    config.merge(cfg, changes, "parity")
    config.merge_options(cfg, golden.options)
    cfg.freeze()
    return cfg


def teacher_checkpoint(golden: Golden, file: str) -> str:
    """The recorded teacher in the published form: prompts, stored tokens, and copies of CLIP that nobody needs."""
    target = golden.work / "teacher" / Path(file).stem / "model-best.pth.tar"
    if not target.exists():
        state = {key: torch.from_numpy(value).half() for key, value in load_npz(golden.directory / file).items()}
        width = state["prompt_learner.ctx"].shape[-1]
        state |= {f"prompt_learner.token_{part}": torch.zeros(2, 1, width) for part in ("prefix", "suffix")}
        state |= {f"{t}.conv1.weight": torch.zeros(1) for t in ("image_encoder", "prompt_learner.ZS_image_encoder")}
        target.parent.mkdir(parents=True)
        torch.save({"state_dict": state, "epoch": 20, "optimizer": {}, "scheduler": {}, "val_result": 0.0}, target)
    return str(target)


def replay(golden: Golden, name: str) -> Report:
    """One fixture whose trainer is a PromptTrainer."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    trainer_name = meta["trainer"]
    if trainer_name not in TRAINER_REGISTRY.registered_names():
        report.fail(f"missing: no trainer {trainer_name} is registered")
        return report
    directory = golden.work / name
    images, labels = golden.images(meta["train_images"]), golden.images(meta["train_labels"])
    batches = Batches(images, labels, meta["batches_per_epoch"], golden.directory / "fixtures" / f"{name}.json")
    record: dict[str, list[Any]] = defaultdict(list)
    kind = replaying(TRAINER_REGISTRY.get(trainer_name), meta, batches, record)
    trainer = Observed(kind(build_config(golden, meta, directory)))
    test_images = golden.images(meta["test_images"])
    if any(key.startswith("init/") for key in meta["arrays"]):
        start(report, trainer, meta, arrays)
        compare_evaluation(report, trainer, arrays, "eval_before", test_images)
        trainer.train()
        compare_training(report, trainer, meta, arrays, record)
        compare_evaluation(report, trainer, arrays, "eval_after", test_images)
        compare_checkpoint(report, trainer, meta, arrays, test_images)
    else:
        compare_zero_shot(report, trainer, meta, arrays, test_images)
    if unseen := arrays.unseen():
        passed_over = f"not compared: {', '.join(unseen[:4])}{', ...' if len(unseen) > 4 else ''}"
        report.note = "; ".join(note for note in (report.note, passed_over) if note)
    return report
