"""Compares what a replayed run computed with what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from parity_measure import NO_GRADIENT, Arrays, Report
from torch import Tensor
from torch.nn import functional as F

from promptkd.engine import checkpoints
from promptkd.model.prompting import text_tower


def start(report: Report, trainer: Any, meta: dict[str, Any], arrays: Arrays) -> None:
    """Takes the recorded start; a context that starts from words has to be what the trainer started from anyway."""
    own = trainer.prompts.state_dict()
    recorded = {key: torch.from_numpy(value) for key, value in arrays.group("init").items()}
    begun = checkpoints.from_published(recorded)
    if trainer.prompts.phrase and "ctx" in begun:
        report.compare("weights", "context made of CTX_INIT", own["ctx"], begun["ctx"])
    buffers = {key for key, _ in trainer.prompts.named_buffers()}
    checkpoints.load_learned(trainer.prompts, {key: own[key] for key in buffers} | recorded, report.name)
    for key in ("tokenized_prompts", "teacher_tokenized_prompts"):
        if key in arrays:
            owner = trainer if key == "tokenized_prompts" else trainer.teacher
            compare_tokens(report, owner, meta["classnames"], torch.from_numpy(arrays[key]).long())


def compare_tokens(report: Report, owner: Any, classnames: list[str], ids: Tensor) -> None:
    """The embedded prompts are the recorded token ids', cut behind the last end-of-text token."""
    tokens = owner.prompts.tokens(owner.clip, classnames)
    length = tokens.embeddings.shape[1]
    report.check("position of the end-of-text token", torch.equal(tokens.eot, ids.argmax(-1)))
    expected = text_tower(owner.clip).token_embedding.weight[ids[:, :length]]
    report.check("tokenized prompts", torch.equal(tokens.embeddings, expected))


def compare_training(
    report: Report, trainer: Any, meta: dict[str, Any], arrays: Arrays, record: dict[str, list[Any]]
) -> None:
    """Losses and rates of each step, gradients of the first, weights after the last."""
    report.compare("losses", "loss", [step["loss"] for step in record["losses"]], arrays["train/loss"])
    report.compare("rates", "learning rate", record["lr"], arrays["train/lr"])
    if "train/lr_after" in arrays:
        report.compare("rates", "rate after training", trainer.get_current_lr(), arrays["train/lr_after"])
    compare_parts(report, trainer, arrays, record)
    distilled = "teacher_checkpoint" in meta
    gradients = checkpoints.to_published(record["gradients"][0])
    for name, value in arrays.group("grad_step1").items():
        if name != NO_GRADIENT:
            report.compare("gradients", f"gradient of {name}", gradients[name], value)
    init = arrays.group("init")
    final = checkpoints.to_published(trainer.prompts.state_dict())
    for name, value in arrays.group("final").items():
        report.compare_weight(name, final[name], value, init[name], distilled)
    for group in arrays.groups("final_rows"):  # some rows of what is too large to record
        rows = slice(*(int(number) for number in group.removeprefix("final_rows").split("_")))
        for name, value in arrays.group(group).items():
            report.compare_weight(name, final[name][rows], value, init[name][rows], distilled)
    for dim in (0, 1):
        for name, value in arrays.group(f"final_sum_dim{dim}").items():
            report.compare_flipped(f"sum of {name}", final[name].double().sum(dim), value)
    for name, value in arrays.group("final_buffer").items():
        report.compare_flipped(name, final[name], value)
    per_epoch = meta["batches_per_epoch"]
    for epoch in range(1, meta["epochs"] + 1):
        state = checkpoints.to_published(record["states"][epoch * per_epoch - 1])
        for name, value in arrays.group(f"epoch{epoch}").items():
            report.compare("weights", f"{name} after epoch {epoch}", state[name], value)


def compare_parts(report: Report, trainer: Any, arrays: Arrays, record: dict[str, list[Any]]) -> None:
    """What only some fixtures record of their steps."""
    parts = ("loss_ce", "loss_scl_text", "loss_scl_image", "loss_scl_logits")
    for key in (f"train/{part}" for part in parts if f"train/{part}" in arrays):
        report.compare("losses", key, [step[key.removeprefix("train/")] for step in record["losses"]], arrays[key])
    for part in ("text", "image"):
        if f"train/l1_{part}_raw" in arrays:
            weight = trainer.options[f"{part.upper()}_LOSS_WEIGHT"]
            if not weight:  # then nothing of it is in the losses
                continue
            raw = [step[f"loss_scl_{part}"] / weight for step in record["losses"]]
            report.compare("losses", f"unweighted {part} loss", raw, arrays[f"train/l1_{part}_raw"])
    if "train/logits" in arrays:
        logits = torch.stack(record["logits"])
        report.compare("logits", "training logits", logits, arrays["train/logits"])
        if "train/acc" in arrays:
            correct = logits.argmax(-1) == trainer.train_loader_x.labels
            report.compare("rates", "training accuracy", 100 * correct.double().mean(-1), arrays["train/acc"])
    if "fixed_text_features_raw" in arrays:
        text = trainer.text_features(trainer.classnames)
        report.compare("features", "fixed text features", text, arrays["fixed_text_features_raw"])
    pairs = {
        "train/teacher_logits": ("logits", "teacher_logits"),
        "train/teacher_image_features": ("features", "teacher_features"),
        "train/student_features": ("features", "student_features"),
    }
    for key, (kind, name) in pairs.items():
        if key in arrays:
            report.compare(kind, key, torch.stack(record[name]), arrays[key])
    for statistic in ("mean", "var"):
        if f"train/bn_running_{statistic}" in arrays:
            states = torch.stack([state[f"projector.1.running_{statistic}"] for state in record["states"]])
            report.compare_flipped(f"BatchNorm {statistic}", states, arrays[f"train/bn_running_{statistic}"])
    if "teacher_text_features" in arrays:
        report.compare("features", "class vectors", trainer.vectors.features, arrays["teacher_text_features"])
    if "gauss" in arrays:
        compare_promptsrc(report, trainer, arrays, record)


def compare_promptsrc(report: Report, trainer: Any, arrays: Arrays, record: dict[str, list[Any]]) -> None:
    """The frozen side of PromptSRC, and the weights of its average over epochs."""
    report.compare("weights", "GPA weights", trainer.gpa_weights, arrays["gauss"])
    computed = {
        "train/zero_shot_logits": ("logits", "zero-shot logits", torch.stack(record["frozen_logits"])),
        "train/fixed_embeddings_normalized": ("features", "frozen text features", trainer.frozen_text),
    }
    if record["text_features"]:
        computed["train/text_features_step1"] = ("features", "text features", record["text_features"][0])
    for key, (kind, what, value) in computed.items():
        if key in arrays:
            report.compare(kind, what, value, arrays[key])
    if "fixed_embeddings_raw" in arrays:
        fixed = F.normalize(torch.from_numpy(arrays["fixed_embeddings_raw"]), dim=-1)
        report.compare("features", "frozen text features", trainer.frozen_text, fixed)


@torch.no_grad()
def compare_evaluation(report: Report, trainer: Any, arrays: Arrays, when: str, images: Tensor) -> None:
    """Logits of the test images as an evaluation computes them, for all classes or for halves of them."""
    trainer.set_model_mode("eval")
    names = trainer.all_classnames
    half = (len(names) + 1) // 2
    groups = {"logits": names, "logits_all": names, "logits_base": names[:half], "logits_novel": names[half:]}
    for key, group in groups.items():
        if f"{when}/{key}" in arrays:
            report.compare("logits", f"{when} {key}", trainer.classifier(group)(images), arrays[f"{when}/{key}"])
    features = trainer.image_features(images)
    if f"{when}/image_features_raw" in arrays:
        report.compare("features", f"{when} image features", features, arrays[f"{when}/image_features_raw"])
    if f"{when}/text_features_raw" in arrays:
        report.compare(
            "features", f"{when} text features", text_features(trainer, images), arrays[f"{when}/text_features_raw"]
        )
    if f"{when}/student_features" in arrays:
        normalised = F.normalize(features, dim=-1)
        report.compare("features", f"{when} student features", normalised, arrays[f"{when}/student_features"])
    teacher = getattr(trainer, "teacher", None)
    if f"{when}/teacher_image_features" in arrays:
        image = F.normalize(teacher.prompts.encode_image(teacher.clip, images), dim=-1)
        report.compare("features", f"{when} teacher features", image, arrays[f"{when}/teacher_image_features"])
    if f"{when}/teacher_logits" in arrays:
        report.compare("logits", f"{when} teacher logits", teacher.logits(images), arrays[f"{when}/teacher_logits"])


def text_features(trainer: Any, images: Tensor) -> Tensor:
    """Un-normalised text features (C, D); of the first test image where they depend on the image (CoCoOp)."""
    if trainer.text_depends_on_image:
        first = F.normalize(trainer.image_features(images[:1]), dim=-1)
        return trainer.text_features_for(first, trainer.all_classnames)[0]
    return trainer.text_features(trainer.all_classnames)


@torch.no_grad()
def compare_checkpoint(report: Report, trainer: Any, meta: dict[str, Any], arrays: Arrays, images: Tensor) -> None:
    """A checkpoint in the published form loads into a fresh model and gives the recorded logits; ours has its names."""
    names, shapes = meta["checkpoint_key_of"], meta["checkpoint_state_dict"]
    own = checkpoints.to_published(trainer.prompts.state_dict(), trainer.registered_name == "prompt_learner")
    buffers = arrays.group("final_buffer")
    found = {key: list(value.shape) for key, value in own.items()}
    report.check("saved keys or shapes", found == {key: shapes[key] for key in [*names.values(), *buffers]})
    report.check("name of the checkpoint folder", trainer.registered_name == meta["registered_model_name"])
    final = arrays.group("final")
    if final.keys() != names.keys():  # some are only recorded in part
        return
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    state |= {names[name]: torch.from_numpy(value) for name, value in final.items()}
    state |= {name: torch.from_numpy(value) for name, value in buffers.items()}
    folder = Path(trainer.output_dir) / "published" / meta["registered_model_name"]
    folder.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": meta["epochs"]}, folder / "model-best.pth.tar")
    for parameter in trainer.prompts.parameters():
        parameter.zero_()
    trainer.load_model(str(folder.parent))
    trainer.set_model_mode("eval")
    compare_evaluation(report, trainer, arrays, "eval_after", images)


@torch.no_grad()
def compare_zero_shot(report: Report, trainer: Any, meta: dict[str, Any], arrays: Arrays, images: Tensor) -> None:
    """A method that learns nothing: templates, features, logits."""
    report.check("templates", trainer.templates() == meta["templates"])
    vectors = trainer.class_vectors(meta["classnames"])
    report.compare("features", "text features", vectors.features, arrays["text_features"])
    report.compare("features", "image features", trainer.image_features(images), arrays["image_features_raw"])
    logits = trainer.classifier(meta["classnames"])(images)
    report.compare("logits", "logits", logits, arrays["eval_before/logits"])
