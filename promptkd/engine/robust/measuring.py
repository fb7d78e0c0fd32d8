"""Accuracy under attack, of any classifier, for each class group against its own classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode

from promptkd import distributed, exits
from promptkd.engine.robust.attacks import Attack, PixelSpace, against_labels, evaluating, in_float32, perturbation
from promptkd.engine.robust.autoattack import auto_attack
from promptkd.engine.robust.gallery import Changed, Gallery
from promptkd.engine.robust.samples import loader_of_sample
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip
from promptkd.results.numbers import harmonic_means

log = logging.getLogger(__name__)
Classifier = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> logits (B, C)
Perturb = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]  # logits, pixels, labels -> perturbation
NEARLY_ALL = 10.0  # percent that may withstand 16/255 before a result is called doubtful


@dataclass(frozen=True)
class RobustOptions:
    """TEST.ROBUST of a configuration.

    Attributes:
        attack: "" (none), "pgd" or "autoattack".
        eps: radii in 1/255.
        steps, alpha, random_start: of PGD; alpha in 1/255, 0 for eps / 4.
        images: of each class group, class-balanced; 0 for all.
        check: whether the rules that show masked gradients are measured too.
    """

    attack: str
    eps: tuple[float, ...]
    steps: int
    alpha: float
    random_start: bool
    images: int
    check: bool

    @classmethod
    def of(cls, cfg: CfgNode) -> RobustOptions:
        """Those of a run; a random start is drawn from the numbers that follow its seed."""
        node = cfg.TEST.ROBUST
        return cls(
            node.ATTACK, tuple(map(float, node.EPS)), node.STEPS, node.ALPHA, node.RANDOM_START, node.IMAGES, node.CHECK
        )

    def pgd(self, eps: float, steps: int | None = None) -> Attack:
        """PGD of a radius in 1/255."""
        return Attack(eps / 255, steps or self.steps, self.alpha / 255, self.random_start)

    def attacks(self) -> dict[str, Perturb]:
        """Name in results -> attack: those that are asked for, and with `check` those that they are compared with."""
        named: dict[str, Perturb] = {}
        for eps in self.eps:
            if self.attack == "autoattack":
                named[f"aa_eps{eps:g}"] = auto_attack(eps / 255)
            named[f"pgd{self.steps}_eps{eps:g}"] = by_gradient(self.pgd(eps))
            if self.check:
                named[f"fgsm_eps{eps:g}"] = by_gradient(Attack(eps / 255, 1, eps / 255))
                named[f"pgd100_eps{eps:g}"] = by_gradient(self.pgd(eps, 100))
        if self.check:
            named[f"pgd{self.steps}_eps16"] = by_gradient(Attack(16 / 255, self.steps, 4 / 255))
        return named

    @property
    def pictured(self) -> str:
        """Name in results of the attack of which pictures are kept: PGD at the largest radius."""
        return f"pgd{self.steps}_eps{max(self.eps):g}"

    def described(self) -> dict[str, Any]:
        """What results.json says of the attack."""
        step = f"{self.alpha:g}/255" if self.alpha else "eps/4"
        start = "random" if self.random_start else "zero"
        about: dict[str, Any] = {
            "attack": self.attack,
            "norm": "l_inf, of pixels in [0, 1]",
            "eps": [f"{one:g}/255" for one in self.eps],
        }
        about |= {"steps": self.steps, "step": step, "start": start, "loss": "cross-entropy within the class group"}
        return about | {"attacker": "adaptive: knows the model and its texts", "arithmetic": "float32"}


def by_gradient(attack: Attack) -> Perturb:
    """PGD against the labels of images."""

    def perturb(logits: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
        return perturbation(pixels, against_labels(logits, labels), attack)

    return perturb


def measure_robustness(
    task: Task, model: PromptedClip, classify: Classifier, options: RobustOptions, gallery: Gallery | None = None
) -> dict[str, Any]:
    """Accuracy under attack of a classifier of all classes, beside its accuracy on the same images without attack.

    Args:
        task: class groups and test images.
        model: whose CLIP the classifier uses; it computes in float32 meanwhile.
        classify: images -> logits of all classes. Where gradients do not get through it, an attack finds nothing:
            that is an error.
        options: see RobustOptions.
        gallery: keeps some of the images.

    Returns:
        "attack", "groups" (class group -> images, clean, and each attack's name -> percent), "hm" where base and new
        are measured, and "doubts": sentences about numbers that speak of masked gradients.

    Raises:
        RuntimeError: no gradient reaches the pixels.
    """
    if model.precision.compute is not None:
        log.info("Attacks compute in float32, whatever PREC is: in half precision small gradients are 0")
    groups: dict[str, dict[str, Any]] = {}
    with in_float32(model), evaluating(model.prompts):
        space = PixelSpace.of(model)
        for group, labels in task.groups.items():
            loader = loader_of_sample(task, labels, options.images)
            names = [task.all_classnames[label] for label in labels]
            watch = None if gallery is None else partial(gallery.add, group, names)
            attacks, title = options.attacks(), f"Attack {group}"
            groups[group] = accuracies(classify, loader, labels, attacks, space, title, watch=watch)
    found: dict[str, Any] = {"attack": options.described(), "groups": groups}
    if means := harmonic_means(groups):
        found["hm"] = means
    found["doubts"] = doubts(groups, options)
    for doubt in found["doubts"]:
        log.warning("%s", doubt)
    return found


def accuracies(
    classify: Classifier,
    loader: DataLoader,
    labels: Sequence[int],
    attacks: Mapping[str, Perturb],
    space: PixelSpace,
    title: str = "Attack",
    lost: bool = True,
    watch: Callable[[Changed], None] | None = None,
) -> dict[str, Any]:
    """Percent of images that are right without attack and under each of several; those of all processes together.

    An image that is wrong without attack is not attacked, and counts as lost; with `lost` False each is changed, and
    may become right.

    Args:
        classify: images (B, 3, H, W) -> logits (B, C).
        loader: of this process's share of the images.
        labels: c of the C classes, among which the images are classified.
        attacks: name -> what gives the perturbation.
        space: of the pixels.
        title: of the bar.
        lost: whether an image that is wrong without attack stays so.
        watch: gets the images of each batch and attack.
    """
    counts = dict.fromkeys(["images", "clean", *attacks], 0)
    place = {label: number for number, label in enumerate(labels)}

    def logits(pixels: Tensor) -> Tensor:
        return classify(space.normalized(pixels))[:, labels]  # (B, c)

    for batch in tqdm(loader, title, disable=None):
        exits.check()
        wanted = torch.tensor([place[label] for label in batch["label"].tolist()], device=space.mean.device)  # (B,)
        pixels = space.pixels(batch["img"].to(space.mean.device))
        with torch.no_grad():
            before = logits(pixels)
        right = before.argmax(dim=-1) == wanted
        counts["images"] += len(pixels)
        counts["clean"] += int(right.sum())
        files = list(batch["impath"])
        if lost:
            pixels, wanted, before = pixels[right], wanted[right], before[right]
            files = [file for file, kept in zip(files, right.tolist(), strict=True) if kept]
        for name, perturb in attacks.items() if len(pixels) else ():
            delta = perturb(logits, pixels, wanted)
            with torch.no_grad():
                after = logits(pixels + delta)
            counts[name] += int((after.argmax(dim=-1) == wanted).sum())
            if watch is not None:
                watch(Changed(name, files, pixels, delta, wanted, before, after))
    numbers = {name: torch.tensor(float(count), device=space.mean.device) for name, count in counts.items()}
    total = {name: float(value) * distributed.world_size() for name, value in distributed.mean(numbers).items()}
    images = max(total["images"], 1)
    return {name: round(count) if name == "images" else 100 * count / images for name, count in total.items()}


def doubts(groups: Mapping[str, Mapping[str, Any]], options: RobustOptions) -> list[str]:
    """Sentences about accuracies that a working attack would not leave (masked gradients: arXiv 1802.00420, section 3).

    A stronger attack must leave no more: more steps, AutoAttack, a larger radius; 16/255 nearly nothing.
    """
    sentences = []
    for group, values in groups.items():
        slack = 100 / max(values["images"], 1)  # one image
        pairs = []
        for eps in (f"eps{one:g}" for one in options.eps):
            usual = f"pgd{options.steps}_{eps}"
            pairs += [(f"pgd100_{eps}", usual), (usual, f"fgsm_{eps}"), (f"aa_{eps}", usual)]
        by_radius = [f"pgd{options.steps}_eps{one:g}" for one in sorted(options.eps, reverse=True)]
        pairs += list(zip(by_radius, by_radius[1:], strict=False))
        for stronger, weaker in pairs:
            if stronger in values and weaker in values and values[stronger] > values[weaker] + slack:
                sentences.append(
                    f"{group}: {stronger} leaves {values[stronger]:.1f} %, {weaker} {values[weaker]:.1f} %: the "
                    "stronger attack finds less, so gradients may be masked and these numbers too high"
                )
        large = f"pgd{options.steps}_eps16"
        if values.get(large, 0) > NEARLY_ALL:
            sentences.append(
                f"{group}: {large} leaves {values[large]:.1f} %, where nearly nothing should withstand: doubtful"
            )
    return sentences
