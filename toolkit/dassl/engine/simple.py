"""A trainer over a data set and an evaluator, with a plain classification network as its model."""

from __future__ import annotations

import datetime
import os
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.modeling import build_backbone, build_head
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import check_availability, count_num_param, load_checkpoint, load_pretrained_weights

from .base import TrainerBase


class SimpleNet(nn.Module):
    """Backbone, optional head, linear classifier (none where num_classes is 0).

    Args:
        model_cfg: the node cfg.MODEL or one like it.
        num_classes: number C of classes.
    """

    def __init__(self, cfg: CfgNode, model_cfg: CfgNode, num_classes: int, **kwargs: Any) -> None:
        super().__init__()
        backbone, head = model_cfg.BACKBONE, model_cfg.HEAD
        self.backbone = build_backbone(backbone.NAME, verbose=cfg.VERBOSE, pretrained=backbone.PRETRAINED, **kwargs)
        width = self.backbone.out_features
        self.head: nn.Module | None = None
        if head.NAME and head.HIDDEN_LAYERS:
            self.head = build_head(
                head.NAME,
                verbose=cfg.VERBOSE,
                in_features=width,
                hidden_layers=head.HIDDEN_LAYERS,
                activation=head.ACTIVATION,
                bn=head.BN,
                dropout=head.DROPOUT,
            )
            width = self.head.out_features
        self.classifier = nn.Linear(width, num_classes) if num_classes > 0 else None
        self._fdim = width

    @property
    def fdim(self) -> int:
        """Width D of the features."""
        return self._fdim

    def forward(self, x: torch.Tensor, return_feature: bool = False) -> Any:
        """Images (B, 3, H, W) -> logits (B, C), or with `return_feature` both logits and features (B, D).

        Without a classifier, the features alone.
        """
        feature = self.backbone(x)
        if self.head is not None:
            feature = self.head(feature)
        if self.classifier is None:
            return feature
        logits = self.classifier(feature)
        return (logits, feature) if return_feature else logits


class SimpleTrainer(TrainerBase):
    """Builds data, model and evaluator from the configuration, keeps checkpoints and tests the final model.

    Raises:
        ValueError: the configuration names something unknown.
    """

    final_models: tuple[str, ...] = ("last_step", "best_val")  # values of TEST.FINAL_MODEL; a subclass may know more

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = float("-inf")

    def check_cfg(self, cfg: CfgNode) -> None:
        """Raise where the configuration does not fit the trainer; a subclass says how."""

    def build_data_loader(self) -> None:
        """Set the loaders and what the data set says of itself."""
        dm = DataManager(self.cfg)
        self.train_loader_x: DataLoader = dm.train_loader_x
        self.train_loader_u: DataLoader | None = dm.train_loader_u
        self.val_loader: DataLoader | None = dm.val_loader
        self.test_loader: DataLoader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self) -> None:
        """Build and register a SimpleNet; most trainers override this."""
        cfg = self.cfg
        print("Building model")
        self.model = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        print(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)

    def train(self) -> None:  # type: ignore[override]
        """Train from the start, or from the checkpoint found in RESUME or else in OUTPUT_DIR."""
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        """Resume if there is a checkpoint, and open the TensorBoard log.

        Raises:
            ValueError: unknown TEST.FINAL_MODEL, or best_val without validation images, as test images must not choose.
        """
        final = self.cfg.TEST.FINAL_MODEL
        check_availability(final, self.final_models)
        if final == "best_val" and self.val_loader is None and not self.cfg.TEST.NO_TEST:
            raise ValueError("TEST.FINAL_MODEL is best_val, but there are no validation images; set it to last_step")
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        if self.start_epoch and os.path.abspath(directory) == os.path.abspath(self.output_dir):
            self._restore_best_result()
        self.init_writer(os.path.join(self.output_dir, "tensorboard"))
        self.time_start = time.time()

    def _restore_best_result(self) -> None:
        """Go on from the accuracy of the kept best model, so that a worse one does not take its place."""
        path = os.path.join(self.output_dir, self.get_model_names()[0], "model-best.pth.tar")
        if self.cfg.TEST.FINAL_MODEL == "best_val" and os.path.isfile(path):
            result = load_checkpoint(path).get("val_result")
            if result is not None and (type(result) not in (int, float) or not 0 <= result <= 100):
                raise ValueError(f'"{path}": val_result is {str(result)[:80]!r}, no accuracy')
            self.best_result = self.best_result if result is None else result

    def after_train(self) -> None:
        """Test the final model and print the time taken."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    def after_epoch(self) -> None:
        """Keep the best model on the validation split, and save checkpoints when they are due."""
        done = self.epoch + 1
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name="model-best.pth.tar")
        if done == self.max_epoch or (frequency > 0 and done % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on "val" (where there is one) or "test"; None takes TEST.SPLIT.

        Returns:
            The evaluator's first number: accuracy, percent.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = self.cfg.TEST.SPLIT if split is None else split
        if split == "val" and self.val_loader is not None:
            loader = self.val_loader
        else:
            split, loader = "test", self.test_loader
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(loader, disable=None):  # None: no bar where there is no terminal
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        return self.model(input)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (B, 3, H, W) and labels (B,) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)
