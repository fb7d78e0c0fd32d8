"""PromptTrainer: everything about training prompts for a frozen CLIP that is not the method."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import set_random_seed
from promptkd import distributed
from promptkd.data.loading import device_crops, pipeline, views
from promptkd.engine import checkpoints, checks
from promptkd.engine.checkpointer import SavingTrainer
from promptkd.engine.config import FINAL_MODELS, node_of
from promptkd.engine.evaluator import check_input
from promptkd.engine.task import TaskTrainer
from promptkd.engine.testing import TestingTrainer
from promptkd.model import class_vectors as vectors
from promptkd.model.class_vectors import ClassVectors, scale_of
from promptkd.model.compiling import compile_image_encoder
from promptkd.model.precision import Precision
from promptkd.model.prompts import Prompts
from promptkd.model.tokens import PromptTokens
from promptkd.model.zoo import load_clip
from promptkd.results import record as results

SMALLEST_SCALE = 2.0**-14  # of a loss in float16; it starts at 2^16 and halves at each step that cannot be taken


class PromptTrainer(TaskTrainer, SavingTrainer, TestingTrainer):
    """A method says three things: `defaults`, `build_prompts` and `losses`; it may say how features are made.

    What it trains on is in task.py, its checkpoints in saving.py, its evaluation in testing.py. It uses no more of
    Dassl than upstream offers, so a method runs on either.
    """

    learns: ClassVar[bool] = True  # whether there is anything to train
    needs_text: bool = True  # whether the text encoder is loaded
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
        checks.check_config(cfg, self.final_models)

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
        self.prompts.text_chunk = cfg.TRAIN.TEXT_CHUNK
        self.clip = self.precision.store(self.clip)
        self.compile(self.clip)
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
        if self.learns and not learned:
            raise ValueError(f"{cfg.TRAINER.NAME} has nothing to learn: its options give it 0 tokens, set 1 or more")
        optim = scaled(cfg)
        optimizer = build_optimizer(self.prompts, optim) if learned else None
        scheduler = build_lr_scheduler(optimizer, optim) if learned else None
        self._parallel: nn.Module | None = None
        self._warned = False
        self.register_model(self.registered_name, self.prompts, optimizer, scheduler)
        print(results.parameter_table(self.prompts))

    def compile(self, clip: nn.Module) -> None:
        """Compiles the image encoder of a frozen model where MODEL.COMPILE asks for it."""
        if self.cfg.MODEL.COMPILE:
            compile_image_encoder(clip, graphs=self.cfg.TRAIN.ACCUMULATE == 1)

    def tokens(self, classnames: Sequence[str]) -> PromptTokens:
        """Embedded prompts of classes, made once for each list of names."""
        key = tuple(classnames)
        if key not in self._tokens:
            self._tokens[key] = self.prompts.tokens(self.clip, key)
        return self._tokens[key]

    # ---- training

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,) on the device."""
        if self.cfg.INPUT.ON_DEVICE:
            batch = batch | {"img": device_crops.finished_views(self.cfg, batch["img"], self.device)}
        return self.parse_batch_test(batch)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,) on the device."""
        return batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimiser step; the losses for the log, means over all processes."""
        optimizer = self._optims[self.registered_name]
        optimizer.zero_grad(set_to_none=True)
        parts = distributed.mean(self.add_gradients(batch))
        values = torch.stack(list(parts.values())).cpu()  # the device is waited for once a step
        loss = values.sum()
        self.detect_anomaly(loss)
        self.scaler.step(optimizer)
        self.scaler.update()
        self.spent["train_images"] += len(batch["img"]) * distributed.world_size()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        summary = {"loss": loss.item()}
        return summary if len(parts) == 1 else summary | dict(zip(parts, values.tolist(), strict=True))

    def add_gradients(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Computes the gradients of a batch in TRAIN.ACCUMULATE parts, one after the other; the batch's mean losses.

        Each part counts by its share of the images, and the shares add up to 1: so a mean over images comes out as that
        of the whole batch, and a term that no image enters counts once.
        """
        total: dict[str, Tensor] = {}
        count = self.cfg.TRAIN.ACCUMULATE
        for number, (share, some) in enumerate(pipeline.micro_batches(batch, count), start=1):
            images, labels = self.parse_batch_train(some)
            # Gradients of several processes are averaged once, after the last part.
            waits = self._parallel is not None and number < count
            with self._parallel.no_sync() if waits else nullcontext():
                with self.precision.autocast():
                    parts = (self._parallel or self.losses)(images, labels)
                parts = {name: share * part for name, part in parts.items()}
                self.scaler.scale(torch.stack(list(parts.values())).sum()).backward()
            total = {name: total.get(name, 0) + part.detach() for name, part in parts.items()}
        return total

    def logits(self, images: Tensor, text_features: Tensor) -> Tensor:
        """`s cos(f, g)` of prompted images and given text features: (B, 3, H, W), (C, D) -> (B, C) float32."""
        return vectors.cosine_logits(self.image_features(images), text_features, self.logit_scale)

    def before_train(self) -> None:
        """Resumes, and joins the processes of the run."""
        super().before_train()
        distributed.check_same(self.start_epoch, "finished epochs:")
        views.check_shares(self.train_loader_x)
        self._parallel = distributed.parallel(self.prompts, self.losses)

    def before_epoch(self) -> None:
        """Random numbers of an epoch depend on the seed and the epoch alone, so a resumed run draws the same."""
        set_random_seed((self.seed * 100_003 + self.epoch) % 2**31)
        views.set_epoch(self.train_loader_x, self.seed, self.epoch)
        self._epoch_start = time.time()

    def after_epoch(self) -> None:
        """Keeps the newest checkpoint to resume from, each CHECKPOINT_FREQth, and the best where that is asked for."""
        self.spent["train_seconds"] += time.time() - self._epoch_start
        self._warn_of_slow_loader()
        if self.precision.scales_loss and self.scaler.get_scale() < SMALLEST_SCALE:
            raise FloatingPointError(
                f"{self.cfg.TRAINER.NAME}: gradients are infinite in float16 at every step, and none is taken: lower "
                f"OPTIM.LR ({self.cfg.OPTIM.LR:g}), or set PREC to bf16 or fp32"
            )
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
            if epoch < done and not (frequency > 0 and epoch % frequency == 0) and distributed.is_main():
                path.unlink()
        distributed.barrier()  # what was written is there for all

    def _warn_of_slow_loader(self) -> None:
        """Says once in a run that the GPU waits for images; on a CPU both are the same cores, and no advice helps."""
        loader = self.train_loader_x
        if self.device.type == "cpu" or self._warned or not isinstance(loader, pipeline.TimedLoader):
            return
        if advice := pipeline.starvation(loader):
            print(f"WARNING: {advice}")
            self._warned = True

    def after_train(self) -> None:
        """Evaluates the deployed model and writes the results."""
        print("Finish training")
        if self.cfg.TEST.FINAL_MODEL != "last_step" and not self.cfg.TEST.NO_TEST:
            print("Deploy the best epoch")
            self.load_best()
        if not self.cfg.TEST.NO_TEST:
            self.test()
        elapsed = round(time.time() - self.time_start)
        print(f"Elapsed: {datetime.timedelta(seconds=elapsed)}")
        self.close_writer()


def scaled(cfg: CfgNode) -> CfgNode:
    """cfg.OPTIM, its LR times batch / SCALE_LR_TO_BATCH where that is not 0 (linear scaling, arXiv 1706.02677)."""
    reference, batch, optim = cfg.OPTIM.SCALE_LR_TO_BATCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.OPTIM
    if reference < 0:
        raise ValueError(f"OPTIM.SCALE_LR_TO_BATCH {reference}: give the batch size that OPTIM.LR is for, or 0 (off)")
    if reference:
        optim = optim.clone()
        optim.defrost()
        optim.LR = optim.LR * batch / reference
        print(f"Learning rate {optim.LR:g} = {cfg.OPTIM.LR:g} x {batch} / {reference} (OPTIM.SCALE_LR_TO_BATCH)")
    return optim
