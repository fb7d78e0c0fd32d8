"""Accuracy under attack, of any classifier, for each class group against its own classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from yacs.config import CfgNode

from promptkd import distributed, exits
from promptkd.engine.robust.attacks import Attack, PixelSpace, against_labels, evaluating, in_float32, perturbation
from promptkd.engine.robust.autoattack import auto_attack
from promptkd.engine.robust.gallery import Changed, Gallery
from promptkd.engine.robust.samples import loader_of_sample
from promptkd.engine.task import Task
from promptkd.model.prompted_clip import PromptedClip
from promptkd.results.doubts import CHECK, LARGE, doubts
from promptkd.results.numbers import harmonic_means

log = logging.getLogger(__name__)
Classifier = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> logits (B, C)
Perturb = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]  # logits, pixels, labels -> perturbation


@dataclass(frozen=True)
class RobustOptions:
    """TEST.ROBUST of a configuration.

    Attributes:
        attack: "" (none), "pgd" or "autoattack".
        eps: radii in 1/255.
        steps, alpha, random_start: of PGD; alpha in 1/255, 0 for eps / 4.
        images: of each class group, class-balanced; 0 for all.
        check: whether the attacks by which masked gradients show are measured too.
        seed: of a random start; negative: another one each time.
    """

    attack: str
    eps: tuple[float, ...]
    steps: int
    alpha: float
    random_start: bool
    images: int
    check: bool
    seed: int = 0

    @classmethod
    def of(cls, cfg: CfgNode) -> RobustOptions:
        """Those of a run, with its seed."""
        node, eps = cfg.TEST.ROBUST, tuple(map(float, cfg.TEST.ROBUST.EPS))
        return cls(node.ATTACK, eps, node.STEPS, node.ALPHA, node.RANDOM_START, node.IMAGES, node.CHECK, cfg.SEED)

    def attacks(self, watch: Callable[[Tensor], None] | None = None) -> dict[str, Perturb]:
        """Name in results -> attack: those that are asked for, and with `check` others that are compared (`doubts`).

        Equal attacks are one object, and each draws random numbers of its own.

        Args:
            watch: gets the gradients of the first step of the first attack.
        """
        asked = {eps: Attack(eps / 255, self.steps, self.alpha / 255, self.random_start) for eps in self.eps}
        made: dict[Attack, Perturb] = {}

        def pgd(attack: Attack) -> Perturb:
            if attack not in made:
                made[attack] = by_gradient(attack, self.seed, None if made else watch)
            return made[attack]

        named = {f"pgd{self.steps}_eps{eps:g}": pgd(attack) for eps, attack in asked.items()}
        if self.attack == "autoattack":
            named |= {f"aa_eps{eps:g}": auto_attack(eps / 255) for eps in self.eps}
        for eps in self.eps if self.check else ():
            named[f"{CHECK}fgsm_eps{eps:g}"] = pgd(Attack(eps / 255, 1, eps / 255))
            named |= {f"{CHECK}pgd{steps}_eps{eps:g}": pgd(Attack(eps / 255, steps)) for steps in (10, 100)}
        if self.check:
            named[f"{CHECK}pgd10_eps{LARGE}"] = pgd(Attack(LARGE / 255, 10))
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


def by_gradient(attack: Attack, seed: int = 0, watch: Callable[[Tensor], None] | None = None) -> Perturb:
    """PGD against the labels of images.

    Args:
        attack: radius and steps.
        seed: of its random numbers alone, whatever was drawn before; negative: another one each time.
        watch: gets the gradients of the first step, (B, 3, H, W).
    """
    generator = torch.Generator()
    if seed >= 0:
        generator.manual_seed(seed)
    else:
        generator.seed()

    def perturb(logits: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
        start = attack.start(pixels, generator)
        return perturbation(pixels, against_labels(logits, labels), attack, start, watch=watch)

    return perturb


class ZeroGradients:
    """Counts values of gradients that are exactly 0: there the sign is 0, and the pixel is not attacked."""

    def __init__(self) -> None:
        self._zeros, self._values = 0, 0

    def add(self, gradient: Tensor) -> None:
        """A gradient of any shape."""
        self._zeros += int((gradient == 0).sum())
        self._values += gradient.numel()

    def percent(self, device: torch.device) -> float:
        """Their share in percent, of all processes; 0 without gradients."""
        total = distributed.add_up(torch.tensor([self._zeros, self._values], dtype=torch.float64, device=device))
        return 100 * float(total[0] / total[1].clamp(min=1))


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
        are measured, "zero_gradients" (class group -> percent of the values of the first gradient, of images that are
        right), and "doubts": sentences about numbers that speak of masked gradients.

    Raises:
        RuntimeError: no gradient reaches the pixels.
    """
    if model.precision.compute is not None:
        log.info("Attacks compute in float32, whatever PREC is: in half precision small gradients are 0")
    groups: dict[str, dict[str, Any]] = {}
    zero_gradients: dict[str, float] = {}
    with in_float32(model), evaluating(model.prompts):
        space = PixelSpace.of(model)
        for group, labels in task.groups.items():
            loader = loader_of_sample(task, labels, options.images)
            names = [task.all_classnames[label] for label in labels]
            watch = None if gallery is None else partial(gallery.add, group, names)
            zeros, title = ZeroGradients(), f"Attack {group}"
            attacks = options.attacks(zeros.add)
            groups[group] = accuracies(classify, loader, labels, attacks, space, title, watch=watch)
            zero_gradients[group] = zeros.percent(model.device)
    found: dict[str, Any] = {"attack": options.described(), "groups": groups}
    if means := harmonic_means(groups):
        found["hm"] = means
    found["zero_gradients"] = zero_gradients
    found["doubts"] = doubts(found)
    for doubt in found["doubts"]:
        log.warning("%s", doubt)
    return found


def accuracies(
    classify: Classifier,
    loader: Iterable[Mapping[str, Any]],
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
        attacks: name -> what gives the perturbation; one that has several names is measured once.
        space: of the pixels.
        title: of the bar.
        lost: whether an image that is wrong without attack stays so.
        watch: gets the images of each batch and attack.
    """
    first: dict[Perturb, str] = {}  # the name under which it is counted
    for name, perturb in attacks.items():
        first.setdefault(perturb, name)
    counts = dict.fromkeys(["images", "clean", *first.values()], 0)
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
        for perturb, name in first.items() if len(pixels) else ():
            delta = perturb(logits, pixels, wanted)
            with torch.no_grad():
                after = logits(pixels + delta)
            counts[name] += int((after.argmax(dim=-1) == wanted).sum())
            if watch is not None:
                watch(Changed(name, files, pixels, delta, wanted, before, after))
    numbers = {name: torch.tensor(float(count), device=space.mean.device) for name, count in counts.items()}
    total = {name: float(value) * distributed.world_size() for name, value in distributed.mean(numbers).items()}
    percent = {name: 100 * count / max(total["images"], 1) for name, count in total.items()}
    shown = {name: percent[first[perturb]] for name, perturb in attacks.items()}
    return {"images": round(total["images"]), "clean": percent["clean"]} | shown
