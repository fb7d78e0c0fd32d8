"""PromptTrainer: everything about training prompts for a frozen CLIP that is not the method."""

from __future__ import annotations

import datetime
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from yacs.config import CfgNode

from clip import class_vectors as vectors
from clip.class_vectors import ClassVectors, scale_of
from clip.prompts import Prompts
from clip.tokens import PromptTokens
from clip.zoo import load_clip
from dassl.data.data_manager import DataManager, build_data_loader
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import save_checkpoint, set_random_seed
from trainers import checkpoints, results
from trainers.config import FINAL_MODELS, node_of
from trainers.evaluation import check_input, evaluate
from trainers.precision import Precision
from trainers.predictions import FILE_NAME as PREDICTIONS
from trainers.predictions import Predictions


class PromptTrainer(TrainerX):
    """A method says three things: `defaults`, `build_prompts` and `losses`; it may say how features are made.

    It uses no more of Dassl than upstream offers, so a method runs on either.
    """

    registered_name: ClassVar[str] = "prompt_learner"  # the folder of its checkpoints, as published
    transductive: ClassVar[bool] = False  # whether it learns from unlabelled images of the classes it is tested on
    needs_text: bool = True  # whether the text encoder is loaded
    needs_labels: ClassVar[bool] = True  # whether training reads labels
    text_depends_on_image: ClassVar[bool] = False  # whether class vectors cannot be made once for all images
    final_models: ClassVar[tuple[str, ...]] = FINAL_MODELS

    # ---- what a method says

    @staticmethod
    def defaults() -> CfgNode:
        """Its options, in Dassl's upper-case names."""
        return CfgNode({"PREC": "fp16"})

    @staticmethod
    def build_prompts(options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> Prompts:
        """What is learned, for a frozen CLIP and the classes it trains on."""
        raise NotImplementedError

    @classmethod
    def rebuild_prompts(cls, options: CfgNode, clip: nn.Module, vectors: ClassVectors) -> Prompts:
        """The module of a finished run, to load its checkpoint into; in the place of a data set, its class vectors."""
        return cls.build_prompts(options, clip, vectors.classnames)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named parts, whose sum is trained: images (B, 3, H, W) and labels (B,) -> scalars. Here: cross-entropy."""
        return {"loss_ce": F.cross_entropy(self.logits(images, self.text_features(self.classnames)), labels)}

    def image_features(self, images: Tensor) -> Tensor:
        """Un-normalised features with the learned prompts: (B, 3, H, W) -> (B, D)."""
        return self.prompts.encode_image(self.clip, images)

    def text_features(self, classnames: Sequence[str]) -> Tensor:
        """Un-normalised features of C classes with the learned prompts: (C, D)."""
        return self.prompts.encode_text(self.clip, self.tokens(classnames))

    def template(self) -> str:
        """The text a class name is put into, for the results."""
        return self.prompts.template

    # ---- building

    def check_cfg(self, cfg: CfgNode) -> None:
        """Refuses what would only fail, or mislead, later."""
        if cfg.TEST.FINAL_MODEL not in self.final_models:
            raise ValueError(f"TEST.FINAL_MODEL {cfg.TEST.FINAL_MODEL!r}: choose one of {', '.join(self.final_models)}")
        if cfg.PROTOCOL not in ("", "fewshot", "cross", "dg"):
            raise ValueError(
                f'PROTOCOL {cfg.PROTOCOL!r}: choose fewshot, cross, dg or "" (told from the rest of the run)'
            )

    def build_data_loader(self) -> None:
        """Dassl's loaders, and one over the test images of every class group that is reported (None without any)."""
        # a user's own images are read by their data set's own wrapper
        wrapper = getattr(DATASET_REGISTRY.get(self.cfg.DATASET.NAME), "image_wrapper", None)
        self.dm = dm = DataManager(self.cfg, dataset_wrapper=wrapper)
        self.train_loader_x, self.train_loader_u = dm.train_loader_x, dm.train_loader_u
        self.val_loader, self.test_loader = dm.val_loader, dm.test_loader
        self.num_classes, self.num_source_domains = dm.num_classes, dm.num_source_domains
        self.lab2cname = dm.lab2cname
        dataset = dm.dataset
        if self.needs_labels and not getattr(dataset, "labelled", True):
            raise ValueError(
                f"{self.cfg.TRAINER.NAME} learns from labels, {self.cfg.DATASET.NAME} has none: "
                "use PromptKD or zero-shot CLIP, or sort the images into class folders (DATASET.NAME Folder)"
            )
        self.classnames: list[str] = list(dataset.classnames)
        self.all_classnames: list[str] = list(getattr(dataset, "all_classnames", dataset.classnames))
        everything = getattr(dataset, "full", dataset).test
        labels = getattr(dataset, "groups", {"all": list(range(len(self.all_classnames)))})
        self.class_groups: dict[str, list[int]] = {name: labels[name] for name in self.reported_groups()}
        wanted = {label for group in self.class_groups.values() for label in group}
        items = [item for item in everything if item.label in wanted]
        self.evaluation_loader = self._loader(items) if items else None
        chosen_on = {"best_val": self.val_loader, "last_step": self.train_loader_x}
        if chosen_on.get(self.cfg.TEST.FINAL_MODEL, self.evaluation_loader) is None:
            raise ValueError(
                f"TEST.FINAL_MODEL {self.cfg.TEST.FINAL_MODEL}: {self.cfg.DATASET.NAME} has no images to choose on; "
                "use last_step"
            )

    def _loader(self, items: list) -> Any:
        return build_data_loader(
            self.cfg,
            sampler_type=self.cfg.DATALOADER.TEST.SAMPLER,
            data_source=items,
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=self.test_loader.dataset.transform,
            is_train=False,
            dataset_wrapper=getattr(self.dm.dataset, "image_wrapper", None),
        )

    def reported_groups(self) -> list[str]:
        """Class groups that an evaluation reports, each against its own classes only."""
        return {"base": ["base", "new"], "new": ["new"]}.get(self.cfg.DATASET.SUBSAMPLE_CLASSES, ["all"])

    def protocol(self) -> str:
        """The field's name for what this run compares to, where PROTOCOL does not say it."""
        if self.learned_on() not in (None, self.cfg.DATASET.NAME):
            return "dg" if (self.learned_on(), self.cfg.DATASET.NAME[:8]) == ("ImageNet", "ImageNet") else "cross"
        if "new" in self.class_groups or "base" in self.class_groups:
            return "base2new"
        return "fewshot" if self.cfg.DATASET.NUM_SHOTS > 0 else "all"

    def learned_on(self) -> str | None:
        """The data set whose labels taught what is learned: that of MODEL_DIR in an evaluation. None for nothing."""
        if not any(True for _ in self.prompts.parameters()):
            return None
        return results.dataset_of(self.cfg.MODEL_DIR) if self.cfg.EVAL_ONLY else self.cfg.DATASET.NAME

    def labelled_shots(self) -> int:
        """Labelled images a class that were learned from; 0 or less for all, or none."""
        return self.cfg.DATASET.NUM_SHOTS

    def build_model(self) -> None:
        """Loads and freezes CLIP, builds what is learned, its optimiser and its schedule."""
        cfg = self.cfg
        self.options = cfg.TRAINER.get(node_of(cfg.TRAINER.NAME), CfgNode({"PREC": "fp32"}))
        self.precision = Precision.choose(self.options.PREC, self.device)
        self.seed = cfg.SEED if cfg.SEED >= 0 else int(torch.initial_seed() % 2**31)
        self._tokens: dict[tuple[str, ...], PromptTokens] = {}
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME})")
        self.clip = load_clip(cfg.MODEL.BACKBONE.NAME, text=self.needs_text)
        check_input(cfg, self.clip, cfg.MODEL.BACKBONE.NAME)
        self.logit_scale = scale_of(self.clip)
        self.prompts = self.build_prompts(self.options, self.clip, self.classnames)
        self.clip = self.precision.store(self.clip)
        self.prompts.to(self.device)
        if cfg.MODEL.INIT_WEIGHTS:
            state = checkpoints.read_checkpoint(cfg.MODEL.INIT_WEIGHTS)["state_dict"]
            checkpoints.load_learned(self.prompts, state, cfg.MODEL.INIT_WEIGHTS)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.scales_loss)
        self.final_accuracy: float | None = None
        self.spent = {"train_seconds": 0.0, "train_images": 0}
        if self.needs_text:
            self.tokens(self.classnames)  # a class name that is too long shows now, not after an epoch
        learned = sum(1 for _ in self.prompts.parameters())
        optimizer = build_optimizer(self.prompts, cfg.OPTIM) if learned else None
        scheduler = build_lr_scheduler(optimizer, cfg.OPTIM) if learned else None
        self.register_model(self.registered_name, self.prompts, optimizer, scheduler)
        print(results.parameter_table(self.prompts))

    def tokens(self, classnames: Sequence[str]) -> PromptTokens:
        """Embedded prompts of classes, made once for each list of names."""
        key = tuple(classnames)
        if key not in self._tokens:
            self._tokens[key] = self.prompts.tokens(self.clip, key)
        return self._tokens[key]

    # ---- training

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,) on the device."""
        return batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True)

    parse_batch_test = parse_batch_train

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimiser step; the losses for the log."""
        images, labels = self.parse_batch_train(batch)
        optimizer = self._optims[self.registered_name]
        with self.precision.autocast():
            parts = self.losses(images, labels)
        loss = torch.stack(list(parts.values())).sum()
        self.detect_anomaly(loss)
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()
        self.spent["train_images"] += len(images)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        summary = {"loss": loss.item()}
        return summary if len(parts) == 1 else summary | {name: part.item() for name, part in parts.items()}

    def logits(self, images: Tensor, text_features: Tensor) -> Tensor:
        """`s cos(f, g)` of prompted images and given text features: (B, 3, H, W), (C, D) -> (B, C) float32."""
        return vectors.cosine_logits(self.image_features(images), text_features, self.logit_scale)

    def before_epoch(self) -> None:
        """Random numbers of an epoch depend on the seed and the epoch alone, so a resumed run draws the same."""
        set_random_seed((self.seed * 100_003 + self.epoch) % 2**31)
        self._epoch_start = time.time()

    def after_epoch(self) -> None:
        """Keeps the newest checkpoint to resume from, each CHECKPOINT_FREQth, and the best where that is asked for."""
        self.spent["train_seconds"] += time.time() - self._epoch_start
        cfg = self.cfg
        value = None
        if cfg.TEST.FINAL_MODEL != "last_step" and not cfg.TEST.NO_TEST:
            value = self.test("val" if cfg.TEST.FINAL_MODEL == "best_val" else "first_group")
            if value > self.best_result:
                self.best_result = value
                self.save_model(self.epoch, self.output_dir, val_result=value, model_name="model-best.pth.tar")
        self.save_model(self.epoch, self.output_dir, val_result=value)
        done, frequency = self.epoch + 1, cfg.TRAIN.CHECKPOINT_FREQ
        for epoch, path in checkpoints.numbered(Path(self.output_dir) / self.registered_name).items():
            if epoch < done and not (frequency > 0 and epoch % frequency == 0):
                path.unlink()

    def after_train(self) -> None:
        """Evaluates the deployed model and writes the results."""
        print("Finish training")
        if self.cfg.TEST.FINAL_MODEL != "last_step":
            print("Deploy the best epoch")
            self.load_model(self.output_dir)
        if not self.cfg.TEST.NO_TEST:
            self.test()
        elapsed = round(time.time() - self.time_start)
        print(f"Elapsed: {datetime.timedelta(seconds=elapsed)}")
        self.close_writer()

    # ---- checkpoints

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        """Writes what is learned, what it belongs to, and what a resumed run needs, in Dassl's form and place."""
        state = {
            "state_dict": self.prompts.state_dict(),
            "epoch": epoch + 1,
            "optimizer": self._optims[self.registered_name].state_dict(),
            "scheduler": self._scheds[self.registered_name].state_dict(),
            "val_result": val_result,
            "belongs_to": self.belongs_to(),
            "run": {"seed": self.seed, "best_result": float(self.best_result), "scaler": self.scaler.state_dict()}
            | {"spent": dict(self.spent)}
            | self.run_state(),
        }
        save_checkpoint(state, str(Path(directory) / self.registered_name), is_best=is_best, model_name=model_name)

    def belongs_to(self) -> dict[str, Any]:
        """What learned tensors mean nothing without: trainer, backbone, and classes where each has its own."""
        return {"trainer": self.cfg.TRAINER.NAME, "backbone": self.cfg.MODEL.BACKBONE.NAME}

    def run_state(self) -> dict[str, Any]:
        """What a method keeps from epoch to epoch beside its parameters (tensors and plain values)."""
        return {}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Takes `run_state` back."""

    def resume_model_if_exist(self, directory: str) -> int:
        """Continues an interrupted run from its newest checkpoint; returns the number of finished epochs."""
        files = checkpoints.numbered(Path(directory) / self.registered_name)
        if not files:
            print("No checkpoint found, train from scratch")
            return 0
        path = files[max(files)]
        content = self._load_checkpoint(path)
        if "run" not in content:
            raise ValueError(
                f"{path} is not a checkpoint of this trainer to resume from; give it as MODEL.INIT_WEIGHTS"
            )
        # Stepped, not loaded: upstream Dassl's stored schedule holds objects that are bound to another optimiser.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for _ in range(content["epoch"]):
                self._scheds[self.registered_name].step()
        self._optims[self.registered_name].load_state_dict(content["optimizer"])
        run = content["run"]
        self.seed, self.best_result, self.spent = run["seed"], run["best_result"], dict(run["spent"])
        self.scaler.load_state_dict(run["scaler"])
        self.load_run_state(run)
        print(f"Resumed from {path} ({content['epoch']} epochs done)")
        return int(content["epoch"])

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Loads what a run learned, ours or published: the epoch asked for, else the best, else the last.

        Raises:
            FileNotFoundError, ValueError: it is not there, or of another model.
        """
        path = checkpoints.latest(Path(directory) / self.registered_name, epoch)
        content = self._load_checkpoint(path)
        print(f'Loading weights to {self.registered_name} from "{path}" (epoch = {content.get("epoch")})')

    def _load_checkpoint(self, path: Path) -> dict[str, Any]:
        content = checkpoints.read_checkpoint(path)
        belongs = content.get("belongs_to", self.belongs_to())
        if belongs["backbone"] != self.cfg.MODEL.BACKBONE.NAME:
            raise ValueError(
                f"{path} was learned on backbone {belongs['backbone']}, this run has {self.cfg.MODEL.BACKBONE.NAME}: "
                f"set MODEL.BACKBONE.NAME {belongs['backbone']}"
            )
        if (classes := belongs.get("classnames")) and list(classes) != self.belongs_to().get("classnames"):
            raise ValueError(
                f"{path} has tensors for each of {len(classes)} other classes (first {classes[0]!r}), none for these"
            )
        checkpoints.load_learned(self.prompts, content["state_dict"], path)
        return content

    # ---- evaluation

    @torch.no_grad()
    def class_vectors(self, classnames: Sequence[str]) -> ClassVectors:
        """Text features of classes, computed once: (C, D) of unit norm."""
        with self.precision.autocast():
            features = F.normalize(self.text_features(classnames).float(), dim=-1)
        made_by = f"{self.cfg.TRAINER.NAME} on {self.cfg.MODEL.BACKBONE.NAME}"
        source = {"made_by": made_by, "weights": vectors.weights_hash(self.prompts), "template": self.template()}
        return ClassVectors(tuple(classnames), features, self.logit_scale, source)

    def classifier(self, classnames: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """What maps images (B, 3, H, W) to logits (B, C); all that does not depend on the image is computed here."""
        features = self.class_vectors(classnames).features
        return lambda images: self.logits(images, features)

    def evaluate(
        self, classify: Callable[[Tensor], Tensor], predictions: Predictions | None = None
    ) -> dict[str, Any]:
        """Any classifier over all classes, on the test images of the reported class groups."""
        self.set_model_mode("eval")
        groups, loader = self.class_groups, self.evaluation_loader
        metrics: dict[str, Any] = self._measure(classify, loader, groups, self.all_classnames, predictions)
        if {"base", "new"} <= metrics.keys():
            metrics["hm"] = results.harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
        print(results.table(metrics))
        return metrics

    def _measure(
        self,
        classify: Any,
        loader: Any,
        groups: dict[str, list[int]],
        names: Sequence[str],
        predictions: Predictions | None = None,
    ) -> dict[str, Any]:
        with self.precision.autocast():
            return evaluate(self.cfg, classify, loader, groups, names, self.device, predictions)

    def test(self, split: str | None = None) -> float | None:
        """Accuracy (percent) of the first reported class group; writes the results.

        Args:
            split: None for the test images of all reported class groups. During training: "val" for the validation
                images, "first_group" for the test images of the first group (the published PromptKD's way).
        """
        self.set_model_mode("eval")
        if split == "val":
            groups = {"val": list(range(len(self.classnames)))}
            return self._measure(self.classifier(self.classnames), self.val_loader, groups, self.classnames)["val"][
                "accuracy"
            ]
        classify = self.classifier(self.all_classnames)
        first = next(iter(self.class_groups))
        if split == "first_group":
            members = self.class_groups[first]
            items = [item for item in self.evaluation_loader.dataset.data_source if item.label in set(members)]
            return self._measure(classify, self._loader(items), {first: members}, self.all_classnames)[first][
                "accuracy"
            ]
        start, said = time.time(), Predictions(self.cfg.DATASET.ROOT)
        metrics = self.evaluate(classify, said) if self.evaluation_loader else self._predict(classify, said)
        path = results.write_result(self.output_dir, results.describe(self, metrics, time.time() - start))
        results.write_atomic(path.with_name(PREDICTIONS), said.text())
        if not self.text_depends_on_image:
            self.class_vectors(self.all_classnames).save(Path(self.output_dir) / vectors.FILE_NAME)
        print(f"Results written to {path}")
        self.final_accuracy = metrics[first]["accuracy"] if metrics else None
        return self.final_accuracy

    @torch.no_grad()
    def _predict(self, classify: Callable[[Tensor], Tensor], said: Predictions) -> dict[str, Any]:
        """Classifies the training images where nothing is labelled: there are predictions, and no metrics."""
        print("No labelled test images: the training images are classified, nothing is measured")
        for batch in tqdm(self._loader(self.dm.dataset.train_x), desc="Predict", disable=None):
            with self.precision.autocast():
                logits = classify(self.parse_batch_test(batch)[0]).float().cpu()  # (B, C)
            said.add("all", self.all_classnames, batch["impath"], torch.full((len(logits),), -1), logits)
        return {}

    def unlabelled_images(self) -> int:
        """How many images were learned from without their labels."""
        return 0

    def teacher_result(self) -> dict[str, Any] | None:
        """What results.json says of the teacher; None where there is none."""
        return None
