"""The images without labels that a run learns from: their list, their views, and stored features of any encoder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms as T
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import INTERPOLATION_MODES, build_transform
from promptkd.data.loading.pipeline import classified
from promptkd.data.loading.views import SeededViews
from promptkd.engine.pseudo_labels import PseudoLabel
from promptkd.engine.task import Task, reader_of
from promptkd.files import replacing
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import shape_of
from promptkd.model.zoo import image_statistics
from promptkd.teacher.cache import images_key, teacher_key, transform_key
from promptkd.tensors import check_tensors, read_safetensors
from promptkd.texts import one_line

log = logging.getLogger(__name__)


@dataclass
class Pool:
    """Images whose labels a method does not read.

    An image has a weak view, which is that of an evaluation, and strong ones, which are those of training; strong views
    come from the task's training loader.

    Attributes:
        cfg: the run's configuration.
        items: Dassl's items in the order of the data set's list; their labels are for results alone.
        folder: where features of weak views are kept for later runs; None to keep them while the run lasts.
        squash: whether weak views are whole images brought to a square, in the place of their centres.
    """

    cfg: CfgNode
    items: Sequence[Datum]
    folder: Path | None = None
    squash: bool = False
    _features: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_task(cls, task: Task, folder: str = "", squash: bool = False) -> Pool:
        """The training images of a task, all of its list; `folder` "" keeps no features."""
        items = list(task.train_loader.dataset.data_source)
        return cls(task.cfg, items, Path(folder).expanduser() if folder else None, squash)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def paths(self) -> list[str]:
        """Paths of the images."""
        return [item.impath for item in self.items]

    @property
    def truth(self) -> list[int]:
        """Labels of the images as their data set has them, for results; negative where there are none."""
        return [item.label for item in self.items]

    def labelled(self, chosen: Sequence[PseudoLabel], classnames: Sequence[str]) -> list[Datum]:
        """Items with pseudo-labels, in the order of the list."""
        return [
            Datum(self.items[one.row].impath, one.label, self.items[one.row].domain, classnames[one.label])
            for one in sorted(chosen)
        ]

    @torch.no_grad()
    def weak_features(self, model: PromptedClip) -> Tensor:
        """Features (N, D) of the weak views by a model's image encoder, un-normalised, float32 on the CPU.

        Views have the model's own size and statistics. They are computed once for each encoder.
        """
        cfg = input_of(self.cfg, model)
        loader = self.weak_loader(cfg)
        key = self._key(cfg, model, loader)
        width = shape_of(model.clip).embed_dim
        if key not in self._features:
            self._features[key] = self._stored(key, width) if self.folder else self._none()
        if not len(self._features[key]):
            with model.precision.autocast():
                batches = classified(loader, model.image_features, width, model.device)
                shown = tqdm(batches, "Unlabelled images", len(loader), disable=None)
                self._features[key] = torch.cat([features for _, _, features in shown])
            self._keep(key)
        return self._features[key]

    def weak_loader(self, cfg: CfgNode) -> DataLoader:
        """The images in their order, in the view of an evaluation."""
        return build_data_loader(
            cfg,
            sampler_type="SequentialSampler",
            data_source=self.items,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=squashed(cfg) if self.squash else build_transform(cfg, is_train=False),
            is_train=False,
            dataset_wrapper=reader_of(cfg),
        )

    def _key(self, cfg: CfgNode, model: PromptedClip, loader: DataLoader) -> str:
        views = SeededViews(loader.dataset, cfg.DATASET.ROOT)
        about: dict[str, Any] = {"encoder": teacher_key(model), "arithmetic": str(model.precision.compute)}
        about |= {"images": images_key(views), "transform": transform_key(cfg, views), "squash": self.squash}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    def _none(self) -> Tensor:
        return torch.zeros(0)

    def _stored(self, key: str, width: int) -> Tensor:
        """The features (N, D) of an earlier run; none where they are not there, or not what they have to be."""
        assert self.folder is not None
        path = self.folder / f"{key}.safetensors"
        if not path.is_file():
            return self._none()
        try:
            stored, _ = read_safetensors(path)
            check_tensors(stored, {"features": torch.empty(len(self), width, device="meta")}, path)
        except (OSError, ValueError) as error:
            log.info("%s: features of images are made anew", one_line(error))
            return self._none()
        log.info("Unlabelled images: features of %d read from %s", len(self), path)
        return stored["features"].float()

    def _keep(self, key: str) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{key}.safetensors") as partial:
            save_file({"features": self._features[key].contiguous()}, partial)


def squashed(cfg: CfgNode) -> Callable[[Any], Any]:
    """The transform of a whole image to INPUT.SIZE, whatever its shape: Dassl's for tests before its version 0.6."""
    steps: list[Any] = [T.Resize(tuple(cfg.INPUT.SIZE), INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]), T.ToTensor()]
    if "normalize" in cfg.INPUT.TRANSFORMS:
        steps.append(T.Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    return T.Compose(steps)


def input_of(cfg: CfgNode, model: PromptedClip) -> CfgNode:
    """The configuration whose images are made as a model wants them: its size, mean and standard deviation."""
    size = shape_of(model.clip).resolution
    mean, std = image_statistics(model.clip)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.SIZE = (size, size)
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = list(mean), list(std)
    cfg.freeze()
    return cfg
