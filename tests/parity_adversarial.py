"""Replays recorded attacks of published code (the set's ADVERSARIAL.md) with our loop and our CoOp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from parity_measure import Arrays, Golden, Report
from torch import Tensor
from torch.nn import functional as F

from promptkd.engine.robust.attacks import Attack, PixelSpace, against_labels, away_from, perturbation
from promptkd.model.class_vectors import template_features
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.tokens import tokenize
from promptkd.model.zoo import load_clip

EQUAL, SHARE = 1e-6, 0.995  # of a perturbation's entries so many must be equal to this
SMALL_START = 1e-3  # a divergence below this is nearly all rounding: its relative limit is 20 times wider


def student(golden: Golden, spec: PromptSpec) -> PromptedClip:
    """The set's student CLIP with prompts."""
    clip = load_clip(golden.clip_file("clip_student.npz"))
    return PromptedClip(clip, spec, Precision.choose("fp32", torch.device("cpu")))


def compare_delta(report: Report, what: str, got: Tensor, want: Any) -> None:
    """A perturbation against its record; sign steps amplify rounding where a gradient is nearly 0."""
    share = float(np.mean(np.abs(got.numpy() - want) <= EQUAL))
    report.errors["unequal"] = max(report.errors.get("unequal", 0.0), 1 - share)
    if share < SHARE:
        report.fail(f"{what}: {100 * (1 - share):.2f} % of the entries differ (limit {100 * (1 - SHARE):g} %)")


def replay_fap(golden: Golden, name: str) -> Report:
    """FAP's inner loop on a zero-shot classifier."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    model = student(golden, PromptSpec())
    space, text = PixelSpace.of(model), torch.from_numpy(arrays["text_features"])
    pixels = torch.from_numpy(arrays["images_u8"]).float() / 255  # (B, 3, H, W)
    labels = torch.from_numpy(arrays["labels"])

    def logits(attacked: Tensor) -> Tensor:
        return model.logits(space.normalized(attacked), text)

    with torch.no_grad():
        clean, clean_features = logits(pixels), model.image_features(space.normalized(pixels))
    report.compare("logits", "logits without attack", clean, arrays["logits_clean"])
    for case, about in meta["cases"].items():
        by_label = about["loss"] == "ce"
        objective = against_labels(logits, labels) if by_label else away_from(logits, clean)
        start = torch.from_numpy(arrays[about["start"]])
        attack = Attack(about["eps_255"] / 255, about["steps"], about["alpha_255"] / 255)
        compare_start(report, arrays, case, pixels, start, objective)
        delta = perturbation(pixels, objective, attack, start)
        compare_delta(report, f"{case}: perturbation", delta, arrays[f"{case}/delta"])
        # What follows is measured at the recorded perturbation, so that its own errors show.
        recorded = pixels + torch.from_numpy(arrays[f"{case}/delta"])
        with torch.no_grad():
            adversarial, features = logits(recorded), model.image_features(space.normalized(recorded))
        report.compare("logits", f"{case}: logits under attack", adversarial, arrays[f"{case}/logits_adv"])
        compare_loss(
            report, f"{case}: cross-entropy", F.cross_entropy(adversarial, labels), arrays[f"{case}/loss_adv_ce"]
        )
        apart = away_from(lambda _, given=adversarial: given, clean)(pixels)  # (B,)
        weighed = ((1 + F.cosine_similarity(clean_features, features)) * apart).mean()
        compare_loss(report, f"{case}: FAP's term", weighed, arrays[f"{case}/fap_adv_loss"])
    return report


def compare_start(
    report: Report, arrays: Arrays, case: str, pixels: Tensor, start: Tensor, objective: Callable[[Tensor], Tensor]
) -> None:
    """The attack's loss, and where it is recorded its gradient, at the clipped start."""
    begun = ((pixels + start).clamp(0, 1) - pixels).requires_grad_(True)
    loss = objective(pixels + begun).mean()
    compare_loss(report, f"{case}: loss at the start", loss, arrays[f"{case}/loss_start"])
    if f"{case}/grad_start" in arrays:
        (gradient,) = torch.autograd.grad(loss, begun)
        report.compare("gradients", f"{case}: gradient at the start", gradient, arrays[f"{case}/grad_start"])


def compare_loss(report: Report, what: str, got: Tensor, want: Any) -> None:
    """A loss, to 1e-3 as ADVERSARIAL.md says; a divergence near 0 to 2e-2."""
    wanted = float(want)
    error = abs(float(got.detach()) - wanted) / max(abs(wanted), 1e-12)
    limit = 2e-2 if abs(wanted) < SMALL_START else 1e-3
    report.errors["attack losses"] = max(report.errors.get("attack losses", 0.0), error * 1e-3 / limit)
    if error > limit:
        report.fail(f"{what}: {float(got):.6g} in the place of {wanted:.6g} (limit {limit:g})")


def replay_apt(golden: Golden, name: str) -> Report:
    """APT: a context trained on images that are attacked with the current prompt, or with a fixed text."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    classnames = [one.replace("_", " ") for one in meta["classnames"]]
    model = student(golden, PromptSpec(n_text=meta["n_ctx"], depth_text=1))
    context = model.prompts.ctx
    with torch.no_grad():
        context.copy_(torch.from_numpy(arrays["init/prompt_learner.ctx"]))
    ids = torch.from_numpy(arrays["tokenized_prompts"]).long()
    words = tokenize([" ".join(["X"] * meta["n_ctx"] + [f"{one}."]) for one in classnames])
    report.check("tokenized prompts", torch.equal(words.long(), ids))
    constant = constant_text(report, model, classnames, arrays) if meta["mode"] == "constant" else None
    optimizer = torch.optim.SGD([context], meta["lr"], meta["momentum"], weight_decay=meta["weight_decay"])
    attack, space = Attack(meta["eps_255"] / 255, meta["steps"], meta["alpha_255"] / 255), PixelSpace.of(model)
    for step, (images, labels, start) in enumerate(
        zip(arrays["images_u8"], arrays["labels"], arrays["start"], strict=True)
    ):
        pixels, wanted = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
        with torch.no_grad():
            text = constant if constant is not None else model.text_features(classnames)
        objective = against_labels(lambda attacked, text=text: model.logits(space.normalized(attacked), text), wanted)
        delta = perturbation(pixels, objective, attack, torch.from_numpy(start), box=False)
        compare_delta(report, f"perturbation of step {step + 1}", delta, arrays["delta"][step])
        report.check("no gradient from the attack", context.grad is None)
        recorded = pixels + torch.from_numpy(arrays["delta"][step])
        loss = F.cross_entropy(model.logits(space.normalized(recorded), model.text_features(classnames)), wanted)
        compare_loss(report, f"loss of step {step + 1}", loss, arrays["loss"][step])
        loss.backward()
        report.compare(
            "gradients", f"gradient of step {step + 1}", context.grad, arrays[f"grad_step{step + 1}/prompt_learner.ctx"]
        )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    final, init = arrays["final/prompt_learner.ctx"], arrays["init/prompt_learner.ctx"]
    report.compare_weight("ctx", context, final, init, False)
    return report


def constant_text(report: Report, model: PromptedClip, classnames: list[str], arrays: Arrays) -> Tensor:
    """The features that the attacker of mode "constant" compares with: "a photo of a <class>", no full stop."""
    made = template_features(model.clip, classnames, ["a photo of a {}"])
    recorded = torch.from_numpy(arrays["attack_text_features"])
    report.compare("features", "the attacker's texts", made, F.normalize(recorded, dim=-1))
    return recorded


def replay_of(meta: Mapping[str, Any]) -> Callable[[Golden, str], Report] | None:
    """The replay of a recording's kind; None where it is no attack."""
    source = str(meta.get("source", ""))
    if source.startswith("FAP"):
        return replay_fap
    return replay_apt if source.startswith("APT") else None
