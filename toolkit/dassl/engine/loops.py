"""One epoch over labelled data, and over labelled and unlabelled data."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from dassl.utils import AverageMeter, MetricMeter, check_availability

from .simple import SimpleTrainer


class _LoopTrainer(SimpleTrainer):
    num_batches: int
    batch_idx: int

    def __init__(self, cfg: CfgNode) -> None:
        self._loader_seeds: dict[int, int] = {}
        super().__init__(cfg)

    def _start_epoch_order(self, loader: DataLoader) -> None:
        """Seed the loader's generator for this epoch, so that a resumed run sees the order of an unbroken one."""
        if loader.generator is not None:
            seed = self._loader_seeds.setdefault(id(loader), loader.generator.initial_seed())
            loader.generator.manual_seed((seed + self.epoch * 0x9E3779B97F4A7C15) % 2**63)

    def _run_batches(self, batches: Iterable[tuple[dict[str, Any], ...]]) -> None:
        """Step through the batches; print every PRINT_FREQ (or every one of a few) and log each."""
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        frequency = self.cfg.TRAIN.PRINT_FREQ
        end = time.time()
        for self.batch_idx, batch in enumerate(batches):
            data_time.update(time.time() - end)
            summary = self.forward_backward(*batch)
            batch_time.update(time.time() - end)
            losses.update(summary)
            if (self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency:
                self._print_progress(batch_time, data_time, losses)
            step = self.epoch * self.num_batches + self.batch_idx
            for name, meter in losses.meters.items():
                self.write_scalar(f"train/{name}", meter.avg, step)
            self.write_scalar("train/lr", self.get_current_lr(), step)
            end = time.time()

    def _print_progress(self, batch_time: AverageMeter, data_time: AverageMeter, losses: MetricMeter) -> None:
        left = self.num_batches - self.batch_idx - 1 + (self.max_epoch - self.epoch - 1) * self.num_batches
        eta = datetime.timedelta(seconds=int(batch_time.avg * left))
        print(
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}]"
            f" time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f})"
            f" {losses} lr {self.get_current_lr():.4e} eta {eta}"
        )


class TrainerX(_LoopTrainer):
    """Trains on labelled data: a subclass gives `forward_backward(batch)`, and mostly `build_model()`."""

    def run_epoch(self) -> None:
        """Go over train_loader_x once."""
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        self._start_epoch_order(self.train_loader_x)
        self._run_batches((batch,) for batch in self.train_loader_x)

    def parse_batch_train(self, batch: dict[str, Any]) -> Any:  # type: ignore[override]
        """Return images (B, 3, H, W), labels (B,) and domains (B,) on the device."""
        input, label, domain = (batch[key].to(self.device) for key in ("img", "label", "domain"))
        return input, label, domain


class TrainerXU(_LoopTrainer):
    """Trains on labelled and unlabelled data: a subclass gives `forward_backward(batch_x, batch_u)`."""

    def run_epoch(self) -> None:
        """Go over the loader that TRAIN.COUNT_ITER names (or the smaller one) once; the other starts over as needed.

        Raises:
            ValueError: no unlabelled data, or unknown TRAIN.COUNT_ITER.
        """
        if self.train_loader_u is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no unlabelled images (train_u), but this trainer needs them")
        self.set_model_mode("train")
        count = self.cfg.TRAIN.COUNT_ITER
        check_availability(count, ["train_x", "train_u", "smaller_one"])
        n_x, n_u = len(self.train_loader_x), len(self.train_loader_u)
        self.num_batches = {"train_x": n_x, "train_u": n_u, "smaller_one": min(n_x, n_u)}[count]
        self._start_epoch_order(self.train_loader_x)
        self._start_epoch_order(self.train_loader_u)
        pairs = zip(_endless(self.train_loader_x), _endless(self.train_loader_u), strict=False)
        self._run_batches(islice(pairs, self.num_batches))

    def parse_batch_train(self, batch_x: dict[str, Any], batch_u: dict[str, Any]) -> Any:  # type: ignore[override]
        """Return labelled images, labels, domains, and unlabelled images, on the device."""
        input_x, label_x, domain_x = (batch_x[key].to(self.device) for key in ("img", "label", "domain"))
        input_u: torch.Tensor = batch_u["img"].to(self.device)
        return input_x, label_x, domain_x, input_u


def _endless(loader: DataLoader) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader
