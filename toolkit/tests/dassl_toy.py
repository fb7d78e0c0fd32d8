"""A data set of coloured noise, and trainers with a linear model, for the tests of the engine."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image
from torch import nn

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX, TrainerXU
from dassl.optim import build_lr_scheduler, build_optimizer


@DATASET_REGISTRY.register()
class ToyColours(DatasetBase):
    """Three colours; 16 training images, 6 for validation (unless SOURCE_DOMAINS is ("noval",)), 6 for test."""

    def __init__(self, cfg):
        rng = np.random.default_rng(0)
        items = []
        for i in range(28):
            path = os.path.join(cfg.DATASET.ROOT, f"{i:02}.png")
            if not os.path.exists(path):
                pixels = rng.integers(0, 80, (20, 24, 3))
                pixels[..., i % 3] += 120
                Image.fromarray(pixels.astype("uint8")).save(path)
            items.append(Datum(path, i % 3, 0, ("red", "green", "blue")[i % 3]))
        val = None if cfg.DATASET.SOURCE_DOMAINS == ("noval",) else items[16:22]
        unlabelled = items[:16] if cfg.DATASET.ALL_AS_UNLABELED else None
        super().__init__(train_x=items[:16], train_u=unlabelled, val=val, test=items[22:])


class _Linear:
    def build_model(self):
        height, width = self.cfg.INPUT.SIZE
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(3 * height * width, self.num_classes))
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("linear", self.model, self.optim, self.sched)
        self.lrs, self.seen = [], []

    def learn(self, images, labels):
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.lrs.append(self.get_current_lr())
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}


@TRAINER_REGISTRY.register()
class ToyX(_Linear, TrainerX):
    """`stop_at`: the epoch before which the run is interrupted."""

    stop_at = None

    def before_epoch(self):
        if self.epoch == self.stop_at:
            raise KeyboardInterrupt

    def forward_backward(self, batch):
        images, labels, _ = self.parse_batch_train(batch)
        self.seen.append(batch["index"].tolist())
        return self.learn(images, labels)


@TRAINER_REGISTRY.register()
class ToyXU(_Linear, TrainerXU):
    """Learns from the labelled images; notes which came together."""

    def forward_backward(self, batch_x, batch_u):
        images, labels, _, images_u = self.parse_batch_train(batch_x, batch_u)
        assert images_u.shape[1:] == images.shape[1:]
        self.seen.append((batch_x["index"].tolist(), batch_u["index"].tolist()))
        return self.learn(images, labels)


def toy_config(root, *options):
    """Configuration of a toy run under `root`; options are KEY, VALUE, ... as on a command line."""
    os.makedirs(root / "images", exist_ok=True)
    cfg = get_cfg_default()
    cfg.DATASET.ROOT = str(root / "images")
    cfg.OUTPUT_DIR = str(root / "out")
    cfg.merge_from_list(
        ["DATASET.NAME", "ToyColours", "TRAINER.NAME", "ToyX", "INPUT.SIZE", "(8, 8)", "DATALOADER.NUM_WORKERS", "0"]
        + ["INPUT.TRANSFORMS", "('normalize',)", "DATALOADER.TRAIN_X.BATCH_SIZE", "4", "OPTIM.NAME", "sgd"]
        + ["OPTIM.LR", "0.002", "OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", "1"]
        + ["OPTIM.WARMUP_TYPE", "constant", "OPTIM.MAX_EPOCH", "4", "USE_CUDA", "False", *options]
    )
    return cfg
