"""Loaders over a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms as T
from yacs.config import CfgNode

from dassl.utils import read_image

from .datasets import DatasetBase, Datum, build_dataset
from .samplers import build_sampler
from .transforms import INTERPOLATION_MODES, build_transform

Transform = Callable[[Any], Any]


def build_data_loader(
    cfg: CfgNode,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Transform | Sequence[Transform] | None = None,
    is_train: bool = True,
    dataset_wrapper: type[TorchDataset] | None = None,
    stream: int = 0,
) -> DataLoader:
    """Build a loader; its batches are dicts, see DatasetWrapper.

    Order and worker seeds come from the loader's own generator (`loader.generator`), seeded from PyTorch's seed of the
    moment, so that they depend on the seed alone and not on what a model draws. PyTorch seeds `random` and NumPy in its
    workers from it, too. Building a loader draws nothing.

    Args:
        dataset_wrapper: used in place of DatasetWrapper, with the same arguments.
        stream: number of the stream of random numbers, so that two loaders of one run differ.

    Raises:
        ValueError: no items.
    """
    if not data_source:
        raise ValueError("there are no images for a data loader; check DATASET.ROOT and the split of the data set")
    generator = torch.Generator()
    generator.manual_seed((torch.initial_seed() + stream * 0xD1B54A32D192ED03) % 2**63)
    sampler = build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins, generator)
    wrapper = DatasetWrapper if dataset_wrapper is None else dataset_wrapper
    return DataLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        # a source smaller than one batch still trains
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
        generator=generator,
    )


class DatasetWrapper(TorchDataset):
    """Items as dicts: img, label, domain, impath, index.

    `img` is the transformed image (3, H, W); where DATALOADER.K_TRANSFORMS > 1, in training, a list of that many views.
    Several transforms give img, img2, img3, ... With DATALOADER.RETURN_IMG0, img0 is the image without augmentation.

    Args:
        transform: one transform or a sequence; None gives the PIL image as it is.

    Raises:
        ValueError: K_TRANSFORMS > 1 without a transform.
    """

    def __init__(
        self,
        cfg: CfgNode,
        data_source: Sequence[Datum],
        transform: Transform | Sequence[Transform] | None = None,
        is_train: bool = False,
    ) -> None:
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm: int = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0: bool = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm}, but there is no transform to apply")
        steps = [T.Resize(tuple(cfg.INPUT.SIZE), INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
        self.to_tensor = T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """Read and transform an image.

        Raises:
            OSError: the file cannot be read; the message names it.
        """
        item = self.data_source[idx]
        output: dict[str, Any] = {
            "label": item.label,
            "domain": item.domain,
            "impath": item.impath,
            "index": idx,
        }
        img0 = read_image(item.impath)
        if self.transform is None:
            output["img"] = img0
        else:
            tfms = self.transform if isinstance(self.transform, list | tuple) else [self.transform]
            for i, tfm in enumerate(tfms):
                output["img" if i == 0 else f"img{i + 1}"] = self._transform_image(tfm, img0)
        if self.return_img0:
            output["img0"] = self.to_tensor(img0)
        return output

    def _transform_image(self, tfm: Transform, img0: Image.Image) -> Any:
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views[0] if len(views) == 1 else views


class DataManager:
    """A data set and its loaders.

    Attributes: dataset, train_loader_x, train_loader_u (or None), val_loader (or None), test_loader, num_classes,
    num_source_domains, lab2cname.

    Args:
        custom_tfm_train: used in place of the configuration's transform; a list gives img, img2, ...
        custom_tfm_test: the same for validation and test.
        dataset_wrapper: used in place of DatasetWrapper.

    Raises:
        ValueError: unknown data set, sampler or transform, or an empty split.
    """

    def __init__(
        self,
        cfg: CfgNode,
        custom_tfm_train: Transform | Sequence[Transform] | None = None,
        custom_tfm_test: Transform | Sequence[Transform] | None = None,
        dataset_wrapper: type[TorchDataset] | None = None,
    ) -> None:
        dataset = build_dataset(cfg)
        if custom_tfm_train is not None and cfg.VERBOSE:
            print("* Using custom transform for training")
        if custom_tfm_test is not None and cfg.VERBOSE:
            print("* Using custom transform for testing")
        tfm_train = build_transform(cfg, is_train=True) if custom_tfm_train is None else custom_tfm_train
        tfm_test = build_transform(cfg, is_train=False) if custom_tfm_test is None else custom_tfm_test

        def loader(source: Sequence[Datum], node: CfgNode, is_train: bool, stream: int) -> DataLoader:
            return build_data_loader(
                cfg,
                sampler_type=node.SAMPLER,
                data_source=source,
                batch_size=node.BATCH_SIZE,
                n_domain=node.get("N_DOMAIN", 0),
                n_ins=node.get("N_INS", 2),
                tfm=tfm_train if is_train else tfm_test,
                is_train=is_train,
                dataset_wrapper=dataset_wrapper,
                stream=stream,
            )

        nodes = cfg.DATALOADER
        node_u = nodes.TRAIN_X if nodes.TRAIN_U.SAME_AS_X else nodes.TRAIN_U
        if not dataset.test:
            raise ValueError(f"data set {cfg.DATASET.NAME} has no test images; check DATASET.ROOT and the split file")
        self.train_loader_x = loader(dataset.train_x, nodes.TRAIN_X, True, 0)
        self.train_loader_u = loader(dataset.train_u, node_u, True, 1) if dataset.train_u else None
        self.val_loader = loader(dataset.val, nodes.TEST, False, 2) if dataset.val else None
        self.test_loader = loader(dataset.test, nodes.TEST, False, 3)
        self.dataset = dataset
        self._num_classes = dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname = dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @property
    def num_classes(self) -> int:
        """Largest label + 1."""
        return self._num_classes

    @property
    def num_source_domains(self) -> int:
        """Number of DATASET.SOURCE_DOMAINS."""
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return self._lab2cname

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print names and sizes as a table."""
        dataset: DatasetBase = self.dataset
        table: list[list[Any]] = [["Dataset", cfg.DATASET.NAME]]
        if cfg.DATASET.SOURCE_DOMAINS:
            table.append(["Source", list(cfg.DATASET.SOURCE_DOMAINS)])
        if cfg.DATASET.TARGET_DOMAINS:
            table.append(["Target", list(cfg.DATASET.TARGET_DOMAINS)])
        table.append(["# classes", f"{self.num_classes:,}"])
        for name in ("train_x", "train_u", "val", "test"):
            items = getattr(dataset, name)
            if items:
                table.append([f"# {name}", f"{len(items):,}"])
        print(tabulate(table))
