"""Measures any classifier on the class groups of a task, in one pass over the test images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.evaluation import build_evaluator
from promptkd import exits
from promptkd.data.loading.pipeline import classified
from promptkd.engine.confidence import Confidence, fit_temperature
from promptkd.engine.task import Task
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import shape_of
from promptkd.model.zoo import image_statistics
from promptkd.results.numbers import harmonic_mean
from promptkd.results.predictions import Predictions

log = logging.getLogger(__name__)
Classifier = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> logits (B, C)


class Evaluator:
    """Accuracy of classifiers on the images of a task.

    Args:
        task: class groups and test images.
        precision: arithmetic of the classifiers, and the device that images go to. Of several processes each computes
            a share of the images, and all get the same numbers.
    """

    def __init__(self, task: Task, precision: Precision) -> None:
        self.task, self.precision = task, precision

    def evaluate(
        self, classify: Classifier, predictions: Predictions | None = None, outside: DataLoader | None = None
    ) -> dict[str, Any]:
        """A classifier of all classes, on the test images of the reported class groups.

        Args:
            classify: the classifier.
            predictions: gathers the likeliest classes of each image.
            outside: of images of other things, which are to be told from those of each class group.

        Returns:
            Class group -> accuracy, error_rate, macro_f1 (percent), classes, images, and with `predictions` per_class;
            and "hm" where base and new are among them.
        """
        task = self.task
        metrics: dict[str, Any] = self._measure(
            classify, task.evaluation_loader, task.groups, task.all_classnames, predictions, outside
        )
        if {"base", "new"} <= metrics.keys():
            metrics["hm"] = harmonic_mean(metrics["base"]["accuracy"], metrics["new"]["accuracy"])
        return metrics

    def on_validation(self, classify: Classifier) -> float:
        """Accuracy (percent) of a classifier of the training classes on the validation images."""
        names = self.task.classnames
        groups = {"val": list(range(len(names)))}
        return self._measure(classify, self.task.manager.val_loader, groups, names)["val"]["accuracy"]

    def temperature(self, classify: Classifier) -> dict[str, Any]:
        """The temperature of a classifier of the training classes, fitted on the validation images."""
        loader, names = self.task.manager.val_loader, self.task.classnames
        return fit_temperature(*all_logits(loader, classify, len(names), self.precision))

    def on_first_group(self, classify: Classifier) -> float:
        """Accuracy (percent) on the TEST images of the first class group, by which the published PromptKD chooses."""
        name, labels = next(iter(self.task.groups.items()))
        items = [item for item in self.task.evaluation_loader.dataset.data_source if item.label in set(labels)]
        loader = self.task.loader(items)
        return self._measure(classify, loader, {name: labels}, self.task.all_classnames)[name]["accuracy"]

    @torch.no_grad()
    def predict_training_images(self, classify: Classifier, predictions: Predictions) -> None:
        """Classifies the training images, of which nobody knows the label: predictions, and no metrics."""
        loader, names = self.task.loader(self.task.manager.dataset.train_x), self.task.all_classnames
        with self.precision.autocast():
            batches = classified(loader, classify, len(names), self.precision.device)
            for files, _, logits in tqdm(batches, "Predict", len(loader), disable=None):  # logits (B, C)
                check_logits(files, logits)
                predictions.add("all", names, files, torch.full((len(logits),), -1), logits)

    def _measure(
        self,
        classify: Classifier,
        loader: DataLoader,
        groups: dict[str, list[int]],
        names: Sequence[str],
        predictions: Predictions | None = None,
        outside: DataLoader | None = None,
    ) -> dict[str, dict[str, Any]]:
        with self.precision.autocast():
            return measure(self.task.cfg, classify, loader, groups, names, self.precision.device, predictions, outside)


@torch.no_grad()
def accuracies_of_members(task: Task, model: PromptedClip) -> dict[str, dict[str, Any]]:
    """Accuracy of each prompt of an ensemble by itself, in one pass over the test images.

    Returns:
        Class group -> "accuracies" (percent, one for each of M members) and their "mean".
    """
    names, members = task.all_classnames, model.spec.members

    def classify(images: Tensor) -> Tensor:
        """Logits of all members side by side: (B, 3, H, W) -> (B, M * C)."""
        return model.member_logits(images, text).transpose(0, 1).flatten(1)

    right = {group: torch.zeros(members) for group in task.groups}
    count = dict.fromkeys(task.groups, 0)
    with model.precision.autocast():
        text = model.member_features(names)  # (M, C, D)
        for _, labels, logits in classified(task.evaluation_loader, classify, members * len(names), model.device):
            for group, classes in task.groups.items():
                place = torch.tensor(classes)
                inside = torch.isin(labels, place)
                among = logits.unflatten(1, (members, len(names)))[inside][:, :, place]  # (b, M, classes of the group)
                right[group] += (place[among.argmax(-1)] == labels[inside][:, None]).sum(0)
                count[group] += int(inside.sum())
    percent = {group: (100 * right[group] / max(count[group], 1)).tolist() for group in task.groups}
    return {group: {"accuracies": each, "mean": sum(each) / members} for group, each in percent.items()}


@torch.no_grad()
def measure(
    cfg: CfgNode,
    classify: Classifier,
    loader: DataLoader,
    groups: dict[str, list[int]],
    classnames: Sequence[str],
    device: torch.device,
    predictions: Predictions | None = None,
    outside: DataLoader | None = None,
) -> dict[str, dict[str, Any]]:
    """Measures each class group against its own classes only, in one pass.

    Args:
        cfg: which of Dassl's evaluators, and its options.
        classify: images (B, 3, H, W) -> logits (B, C).
        loader: batches whose labels index `classnames`.
        groups: name -> labels of that class group; groups may share labels.
        classnames: C names.
        device: where images go.
        predictions: gathers the likeliest classes of each image, where that is wanted.
        outside: of images of other things, where they are to be told from those of each group.

    Returns:
        group -> accuracy, error_rate, macro_f1 (percent), classes, images; ece, brier, auroc_outside and
        auroc_other_data (see promptkd.engine.confidence); with predictions also per_class, the
        accuracy of each class (percent).

    Raises:
        FloatingPointError: a logit is infinite or no number.
    """
    place = {name: torch.full((len(classnames),), -1) for name in groups}  # label -> its index in the group, or -1
    evaluators = {}
    for name, labels in groups.items():
        place[name][labels] = torch.arange(len(labels))
        evaluators[name] = build_evaluator(cfg, lab2cname={i: classnames[label] for i, label in enumerate(labels)})
    counts = dict.fromkeys(groups, 0)
    confidence = {name: Confidence() for name in groups}
    results = classified(loader, classify, len(classnames), device)
    for files, given, logits in tqdm(results, desc="Evaluate", total=len(loader), disable=None):
        check_logits(files, logits)
        for name, labels in groups.items():
            index = place[name][given]  # (B,)
            inside = index >= 0
            if inside.any():
                among = logits[inside][:, labels]  # (b, classes of the group)
                evaluators[name].process(among, index[inside])
                confidence[name].add(among, index[inside])
                counts[name] += int(inside.sum())
                if predictions is not None:
                    paths = [path for path, kept in zip(files, inside.tolist(), strict=True) if kept]
                    predictions.add(name, [classnames[label] for label in labels], paths, index[inside], among)
            if not inside.all():
                confidence[name].add_outside(logits[~inside][:, labels])
    for files, _, logits in classified(outside, classify, len(classnames), device) if outside else ():
        check_logits(files, logits)
        for name, labels in groups.items():
            confidence[name].add_other_data(logits[:, labels])
    measured: dict[str, dict[str, Any]] = {}
    for name, evaluator in evaluators.items():
        log.debug("%s: %d classes, %d images", name, len(groups[name]), counts[name])
        values: dict[str, Any] = {key: float(value) for key, value in evaluator.evaluate().items()}
        measured[name] = values | {"classes": len(groups[name]), "images": counts[name]}
        measured[name] |= confidence[name].measures()
        if predictions is not None:
            measured[name]["per_class"] = predictions.per_class(name)
    return measured


@torch.no_grad()
def all_logits(loader: DataLoader, classify: Classifier, width: int, precision: Precision) -> tuple[Tensor, Tensor]:
    """What a classifier says of all images of a loader, in their order; the same in each of several processes.

    Args:
        loader: of N items of Dassl's.
        classify: images (B, 3, H, W) -> logits (B, C).
        width: C.
        precision: the classifier's arithmetic, and the device that images go to.

    Returns:
        Logits (N, C) float32 and labels (N,), on the CPU.

    Raises:
        FloatingPointError: a logit is infinite or no number.
    """
    rows, labels = [], []
    with precision.autocast():
        for files, given, logits in classified(loader, classify, width, precision.device):
            check_logits(files, logits)
            rows.append(logits)
            labels.append(given)
    return torch.cat(rows), torch.cat(labels)


def check_logits(paths: Sequence[str], logits: Tensor) -> None:
    """Refuses numbers that name no class: the likeliest of them would be counted like any other.

    Args:
        paths: of B images.
        logits: (B, C) on the CPU.

    Raises:
        FloatingPointError: one is infinite or no number.
    """
    exits.check()
    finite = torch.isfinite(logits).all(dim=1)  # (B,)
    if not finite.all():
        first = paths[int((~finite).nonzero()[0])]
        raise FloatingPointError(
            f"logits of {int((~finite).sum())} of {len(paths)} images are infinite or NaN, first of {first}: "
            "nothing is measured. Take an earlier checkpoint (--load-epoch), lower OPTIM.LR in training, or PREC fp32"
        )


def check_input(cfg: CfgNode, clip: nn.Module, name: str) -> None:
    """Checks that images are made as a model wants them.

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
    for key, wanted in (("PIXEL_MEAN", mean), ("PIXEL_STD", std)):
        if any(abs(a - b) > 1e-4 for a, b in zip(cfg.INPUT[key], wanted, strict=True)):
            raise ValueError(
                f"INPUT.{key} is {list(cfg.INPUT[key])}, but {name} wants {list(wanted)}: set INPUT.{key} to it"
            )
