"""One pass over test images, each measured against the classes of its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.evaluation import build_evaluator
from promptkd.data.loading.pipeline import classified
from promptkd.model.prompting import shape_of
from promptkd.model.zoo import image_statistics
from promptkd.results.predictions import Predictions


@torch.no_grad()
def evaluate(
    cfg: CfgNode,
    classify: Callable[[Tensor], Tensor],
    loader: DataLoader,
    groups: dict[str, list[int]],
    classnames: Sequence[str],
    device: torch.device,
    predictions: Predictions | None = None,
) -> dict[str, dict[str, Any]]:
    """Measures each class group against its own classes only, in one pass.

    Args:
        cfg: which evaluator, and its options.
        classify: images (B, 3, H, W) -> logits (B, C).
        loader: batches whose labels index `classnames`.
        groups: name -> labels of that class group; groups may share labels.
        classnames: C names.
        device: where images go. Of several processes each computes a share of them, and all get the same numbers.
        predictions: takes what is said of each image, where that is wanted.

    Returns:
        group -> accuracy, error_rate, macro_f1 (percent), classes, images; with predictions also per_class, the
        accuracy of each class (percent).
    """
    place = {name: torch.full((len(classnames),), -1) for name in groups}  # label -> its index in the group, or -1
    evaluators = {}
    for name, labels in groups.items():
        place[name][labels] = torch.arange(len(labels))
        evaluators[name] = build_evaluator(cfg, lab2cname={i: classnames[label] for i, label in enumerate(labels)})
    counts = dict.fromkeys(groups, 0)
    results = classified(loader, classify, len(classnames), device)
    for files, given, logits in tqdm(results, desc="Evaluate", total=len(loader), disable=None):
        for name, labels in groups.items():
            own = place[name][given]  # (B,)
            inside = own >= 0
            if inside.any():
                among = logits[inside][:, labels]  # (b, classes of the group)
                evaluators[name].process(among, own[inside])
                counts[name] += int(inside.sum())
                if predictions is not None:
                    paths = [path for path, kept in zip(files, inside.tolist(), strict=True) if kept]
                    predictions.add(name, [classnames[label] for label in labels], paths, own[inside], among)
    measured = {}
    for name, evaluator in evaluators.items():
        print(f"{name}: {len(groups[name])} classes, {counts[name]} images")
        found = {key: float(value) for key, value in evaluator.evaluate().items()}
        measured[name] = found | {"classes": len(groups[name]), "images": counts[name]}
        if predictions is not None:
            measured[name]["per_class"] = predictions.per_class(name)
    return measured


def check_input(cfg: CfgNode, clip: nn.Module, name: str) -> None:
    """Images must be made as the model wants them.

    Raises:
        ValueError: size, mean or standard deviation are not the model's; the message says what to set.
    """
    resolution = shape_of(clip).resolution
    if tuple(cfg.INPUT.SIZE) != (resolution, resolution):
        raise ValueError(
            f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but {name} takes {resolution} px: "
            f'set INPUT.SIZE "({resolution}, {resolution})"'
        )
    mean, std = image_statistics(clip)
    for key, own in (("PIXEL_MEAN", mean), ("PIXEL_STD", std)):
        if any(abs(a - b) > 1e-4 for a, b in zip(cfg.INPUT[key], own, strict=True)):
            raise ValueError(
                f"INPUT.{key} is {list(cfg.INPUT[key])}, but {name} wants {list(own)}: set INPUT.{key} to it"
            )
