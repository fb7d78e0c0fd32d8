"""Replays recorded runs of methods that learn without labels (the set's UNSUPERVISED.md) with the real trainers."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_compare import compare_evaluation, compare_tokens
from parity_measure import Arrays, Golden, Report
from parity_train import Batches, Observed, replaying
from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine import checkpoints, config
from promptkd.engine.losses import likeliest_classes
from promptkd.engine.pseudo_labels import PseudoLabel, most_confident
from promptkd.model.class_vectors import ClassVectors, cosine_logits
from promptkd.model.feature_cache import FeatureCache, class_probabilities
from promptkd.model.tokens import class_prompt, tokenize
from promptkd.teacher.labelling import mean_probabilities, zero_shot
from promptkd.teacher.pool import Pool
from promptkd.trainers import tfup
from train import BASE


def configuration(golden: Golden, recorded: Mapping[str, Any], name: str, trainer: str, changes: dict) -> CfgNode:
    """What train.py would build from recorded options and changes of ours."""
    cfg = config.default_config(DATASET_DEFAULTS)
    config.merge_file(cfg, BASE)
    config.merge(cfg, recorded, name)
    ours: dict[str, Any] = {
        "OUTPUT_DIR": str(golden.work / name), "USE_CUDA": False, "VERBOSE": False,
        "TEST": {"NO_TEST": True, "FINAL_MODEL": "last_step"}, "TRAINER": {"NAME": trainer},
    }  # fmt: skip
    config.merge(cfg, ours, "parity")
    config.merge(cfg, changes, "parity")
    config.merge_options(cfg, golden.options)
    cfg.freeze()
    return cfg


def start(trainer: Any, init: Mapping[str, Any], name: str) -> None:
    """Gives a trainer the recorded start, and zero-filled buffers their own values back."""
    own = trainer.model.prompts.state_dict()
    buffers = {key: own[key] for key, _ in trainer.model.prompts.named_buffers()}
    recorded = {key: torch.from_numpy(value) for key, value in init.items()}
    if projections := [key for key in recorded if "projections.0." in key]:  # copies of one layer, stored once
        for key in projections:
            for number in range(1, len(trainer.model.prompts.projections) - 1):
                recorded.setdefault(key.replace("projections.0.", f"projections.{number}."), recorded[key])
    checkpoints.load_learned(trainer.model.prompts, buffers | recorded, name)


def compare_steps(report: Report, trainer: Any, arrays: Arrays, record: dict[str, list[Any]], prefix: str = "") -> None:
    """Losses, rates, first gradients, and what was learned after the last step."""
    report.compare("losses", "loss", [step["loss"] for step in record["losses"]], arrays[f"{prefix}train/loss"])
    report.compare("rates", "learning rate", record["lr"], arrays[f"{prefix}train/lr"])
    if f"{prefix}train/lr_after" in arrays:
        report.compare("rates", "rate after training", trainer.get_current_lr(), arrays[f"{prefix}train/lr_after"])
    gradients = checkpoints.to_published(record["gradients"][0])
    for name, value in arrays.group(f"{prefix}grad_step1").items():
        report.compare("gradients", f"gradient of {name}", gradients[name], value)
    init = arrays.group(f"{prefix}init")
    final = checkpoints.to_published(trainer.model.prompts.state_dict())
    begun = checkpoints.to_published(record["start"][0])
    for name, value in arrays.group(f"{prefix}final").items():
        report.compare_weight(name, final[name], value, init.get(name, as_numpy(begun[name])), False)


def as_numpy(value: Tensor) -> Any:
    """A tensor's values, apart from it."""
    return value.detach().clone().numpy()


def replay_kdpl(golden: Golden, name: str) -> Report:
    """A prompt learner distilled from a teacher, over its classes or over a list of names."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    trainer_name, names = meta["trainer"], list(meta["training_classnames"])
    list_of_names = golden.work / f"{name}.txt"
    list_of_names.write_text("\n".join(names) + "\n")
    changes = {
        "MODEL": {"BACKBONE": {"NAME": golden.clip_file(file_of(meta["student"]))}},
        "TRAINER": {"KDPL": {"TEACHER": golden.clip_file(file_of(meta["teacher"])), "CONCEPTS": str(list_of_names)}},
    }
    cfg = configuration(golden, meta["config"], name, trainer_name, changes)
    images = golden.images(meta["train_images"])
    labels = torch.zeros(images.shape[:2], dtype=torch.long)  # nothing reads them
    batches = Batches(images, labels, meta["batches_per_epoch"], golden.directory / "fixtures" / f"{name}.json")
    record: dict[str, list[Any]] = defaultdict(list)
    described = meta | {"arrays": {}}  # teacher and student are compared here, not by the replaying class
    kind = replaying(TRAINER_REGISTRY.get(trainer_name), described, batches, record, observing=False)
    trainer = kind(cfg)
    teacher = trainer.vocabulary
    report.check("template of the teacher", teacher.teacher.template == meta["teacher_template"])
    report.check("names of the teacher", list(teacher.names) == names)
    raw = F.normalize(torch.from_numpy(arrays["teacher_text_features_raw"]), dim=-1)
    report.compare("features", "class vectors", teacher.vectors.features, raw)
    texts = [class_prompt(meta["teacher_template"], one) for one in names]
    report.check("teacher's tokens", np.array_equal(tokenize(texts).numpy(), arrays["teacher_tokenized_prompts"]))
    compare_kdpl_targets(report, trainer, meta, arrays, images)
    start(trainer, arrays.group("init"), name)
    record["start"].append({key: value.clone() for key, value in trainer.model.prompts.state_dict().items()})
    if "tokenized_prompts" in arrays:
        tokens, ids = trainer.model.tokens(names), torch.from_numpy(arrays["tokenized_prompts"]).long()
        table = trainer.model.clip.token_embedding.weight[ids[:, : tokens.embeddings.shape[1]]]
        report.check("tokenized prompts", torch.equal(tokens.embeddings, table))
    test_images = golden.images(meta["test_images"])
    compare_evaluation(report, Observed(trainer), arrays, "eval_before", test_images)
    choose, given = teacher.targets, []

    def observed_targets(images: Tensor, scale: float) -> tuple[Tensor | None, Tensor]:
        given.append(choose(images, scale))
        record["student"].append(student_logits(trainer, images, given[-1][0]))
        return given[-1]

    teacher.targets = observed_targets
    trainer.train()
    compare_steps(report, trainer, arrays, record)
    report.compare("logits", "student logits", torch.stack(record["student"]), arrays["train/student_logits"])
    for part in ("kl", "scl_text", "scl_image", "scl_logits"):
        if f"train/loss_{part}" in arrays:
            values = [step.get(f"loss_{part}", step["loss"]) for step in record["losses"]]
            report.compare("losses", f"loss_{part}", values, arrays[f"train/loss_{part}"])
    if "gauss" in arrays:
        report.compare("weights", "GPA weights", trainer.callbacks()[0].weights, arrays["gauss"])
    for epoch in range(1, meta["epochs"] + 1):
        state = checkpoints.to_published(record["states"][epoch * meta["batches_per_epoch"] - 1])
        for key, value in arrays.group(f"epoch{epoch}").items():
            report.compare("weights", f"{key} after epoch {epoch}", state[key], value)
    compare_evaluation(report, Observed(trainer), arrays, "eval_after", test_images)
    report.check("name of the checkpoint folder", trainer.registered_name == meta["registered_model_name"])
    return report


@torch.no_grad()
def compare_kdpl_targets(report: Report, trainer: Any, meta: Mapping[str, Any], arrays: Arrays, images: Tensor) -> None:
    """The teacher's logits of all names with the student's scale, the chosen classes, and both divergences."""
    teacher, scale = trainer.vocabulary, trainer.model.logit_scale
    logits = torch.stack(
        [cosine_logits(teacher.teacher.image_features(step), teacher.vectors.features, scale) for step in images]
    )
    report.compare("logits", "teacher logits", logits, arrays["train/teacher_logits"])
    count = arrays["train/selected"].shape[1]
    for step, batch in enumerate(images):
        rows, target = teacher.targets(batch, scale)
        chosen = torch.arange(len(teacher.names)) if rows is None else rows
        report.check(f"classes of step {step + 1}", np.array_equal(chosen.numpy(), arrays["train/selected"][step]))
        report.check("logits of the classes", torch.allclose(target, logits[step][:, chosen], atol=1e-4))
        report.check("number of classes", len(likeliest_classes(target, count)) == count)
    student = torch.from_numpy(arrays["train/student_logits"]).double().log_softmax(-1)
    selected = torch.from_numpy(arrays["train/selected"])[:, None].expand(-1, images.shape[1], -1)
    ours = logits.double().gather(2, selected).log_softmax(-1)
    for which, (one, other) in {"forward": (ours, student), "reverse": (student, ours)}.items():
        divergence = (one.exp() * (one - other)).sum(-1).mean(-1)
        report.compare("losses", f"{which} divergence", divergence, arrays[f"train/loss_kl_{which}"])


@torch.no_grad()
def student_logits(trainer: Any, images: Tensor, rows: Tensor | None) -> Tensor:
    """The student's logits of a batch, of some classes or all."""
    model, names = trainer.model, trainer.vocabulary.names
    if model.conditional:
        return model.conditional_logits(images, names, rows)
    return model.logits(images, model.text_features(names, rows))


def file_of(described: str) -> str:
    """ "clip_teacher.npz (loaded as ...)" -> "clip_teacher.npz"."""
    return Path(described.split(" ")[0]).name


def replay_upl(golden: Golden, name: str) -> Report:
    """UPL, by the step that was recorded."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    if "train/loss" in arrays:
        replay_upl_training(golden, report, meta, arrays)
    elif "paths" in meta:
        replay_upl_labels(golden, report, meta, arrays)
    else:
        replay_upl_choice(report, arrays)
    if unseen := arrays.unseen():
        report.note = f"not compared: {', '.join(unseen[:3])}{', ...' if len(unseen) > 3 else ''}"
    return report


TIES = 1e-5  # values of two images that are this close, relatively, may change places by rounding


def same_order(ours: Sequence[int], theirs: Sequence[int], value: Callable[[int], float]) -> bool:
    """Whether two lists of rows are equal but for neighbours that a measure of rows does not tell apart."""
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=False) if one != other]
    values = [(value(one), value(other)) for one, other in pairs]
    close = all(abs(one - other) <= TIES * max(abs(one), abs(other)) for one, other in values)
    return len(ours) == len(theirs) and len(set(ours)) == len(set(theirs)) and close


def compare_choice(
    report: Report, chosen: list[PseudoLabel], arrays: Arrays, prefix: str, probabilities: Tensor
) -> None:
    """The chosen rows of each class, the surest first; recorded classes come in no order."""
    index, label = arrays[f"{prefix}/index"], arrays[f"{prefix}/label"]
    classes = set(label.tolist()) | {one.label for one in chosen}
    for each in classes:
        ours, theirs = [one.row for one in chosen if one.label == each], index[label == each].tolist()
        same = same_order(ours, theirs, lambda row, each=each: probabilities[row, each].item())
        report.check(f"{prefix}: images of class {each}", same)
    want = dict(zip(index.tolist(), arrays[f"{prefix}/confidence"].tolist(), strict=True))
    got = [one.confidence for one in chosen]
    report.compare("losses", f"{prefix}: confidences", got, [want.get(one.row, np.nan) for one in chosen])


def replay_upl_choice(report: Report, arrays: Arrays) -> None:
    """The choice of images from recorded probabilities."""
    logits = torch.from_numpy(arrays["logits"])
    sums = logits.sum(-1)
    probabilities = logits if torch.allclose(sums, torch.ones_like(sums), atol=1e-3) else logits.softmax(-1)
    files = [f"{row:06d}" for row in range(len(logits))]
    for prefix in (key for key in arrays.groups("k") if f"{key}/index" in arrays):
        chosen = most_confident(probabilities, files, int(prefix.removeprefix("k")))
        compare_choice(report, chosen, arrays, prefix, probabilities)


def replay_upl_labels(golden: Golden, report: Report, meta: Mapping[str, Any], arrays: Arrays) -> None:
    """The labelling pass over the image tree, through the trainer: from files to its training list."""
    split = min((golden.directory / "data").glob("*/split_zhou_*.json"))
    root = golden.work / "data"
    if not root.exists():
        shutil.copytree(golden.directory / "data", root, copy_function=shutil.copyfile)
    clips = {role: golden.clip_file(file) for role, file in meta["clip"].items()}
    groups = sorted({key.split("/")[1] for key in meta["arrays"] if key.startswith("select/")})
    fewest = min(int(group.partition("_k")[2]) for group in groups)  # images a class of the trainer's own list
    changes = {
        "DATASET": {"ROOT": str(root), "NAME": split.stem.removeprefix("split_zhou_")},
        "DATALOADER": {"NUM_WORKERS": 0},
        "INPUT": {"SIZE": tuple(meta["input_size"])},
        "MODEL": {"BACKBONE": {"NAME": clips["student"]}},
        "TRAINER": {
            "UPL": {
                "LABELLERS": ",".join(clips.values()),
                "SHOTS": fewest,
                "PREC": "fp32",
                "LABELLING_VIEW": "squash_as_published",
            }
        },
    }
    cfg = configuration(golden, {}, report.name, "UPL", changes)
    trainer = TRAINER_REGISTRY.get("UPL")(cfg)
    names, template, precision = trainer.task.classnames, trainer.task.template, trainer.model.precision
    report.check("class names", names == meta["classnames"])
    report.check("template", template == meta["template"])
    pool = Pool(trainer.task, trainer.task.manager.dataset.train_x, squash=True)
    rows = rows_of(pool.paths, meta["paths"])
    report.check("true labels", [pool.truth[row] for row in rows] == meta["true_label"])
    probabilities = {}
    for role, file in clips.items():
        probabilities[role] = mean_probabilities(pool, [file], names, template, precision)
        model = zero_shot(file, template, precision)
        features = F.normalize(pool.weak_features(model)[rows], dim=-1)
        report.compare("features", f"{role} image features", features, arrays[f"{role}/image_features"])
        vectors = model.class_vectors(names).features
        report.compare("features", f"{role} text features", vectors, arrays[f"{role}/text_features"])
        report.compare("logits", f"{role} probabilities", probabilities[role][rows], arrays[f"{role}/probs"])
        best = probabilities[role][rows].max(-1)
        report.compare("logits", f"{role} confidences", best.values, arrays[f"{role}/json_confidence"])
        report.check(f"{role} predictions", np.array_equal(best.indices.numpy(), arrays[f"{role}/json_pred"]))
    both = mean_probabilities(pool, list(clips.values()), names, template, precision)
    for group in groups:
        kind, _, count = group.partition("_k")
        given = (probabilities["student"] if kind == "single" else both)[rows]
        chosen = most_confident(given, meta["paths"], int(count))
        compare_choice(report, chosen, arrays, f"select/{group}", given)
        items = pool.labelled(sorted(PseudoLabel(rows[one.row], *one[1:]) for one in chosen), names)
        row_of = {pool.paths[row]: number for number, row in enumerate(rows)}
        listed = [row_of[item.impath] for item in items]
        report.check(f"{group}: training list", listed == arrays[f"select/{group}/train_index"].tolist())
        labels = [item.label for item in items]
        report.check(f"{group}: its labels", labels == arrays[f"select/{group}/train_label"].tolist())
        if group == f"ensemble_k{fewest}":
            own = [item.impath for item in trainer.task.train_loader.dataset.data_source]
            report.check("the trainer's list", own == [item.impath for item in items])


def replay_upl_training(golden: Golden, report: Report, meta: Mapping[str, Any], arrays: Arrays) -> None:
    """Each prompt by itself, and all of them as one ensemble."""
    images, labels = golden.images(meta["train_images"]), torch.from_numpy(arrays["train/labels"])
    recorded = {key: meta["config"][key] for key in ("OPTIM", "INPUT", "SEED")}
    own = meta["config"]["TRAINER"]["UPLTrainer"]
    prefixes = ["", *(f"{seed}/" for seed in meta["seeds"] if f"{seed}/train/loss" in arrays)]
    test_images = golden.images(meta["test_images"])

    def trainer_of(members: int) -> tuple[Any, dict[str, list[Any]]]:
        changes = {
            "MODEL": {"BACKBONE": {"NAME": golden.clip_file(meta["clip"])}},
            "TRAINER": {"UPL": {**own, "MEMBERS": members}},
        }
        cfg = configuration(golden, recorded, f"{report.name}_{len(list(golden.work.iterdir()))}", "UPL", changes)
        source = golden.directory / "fixtures" / f"{report.name}.json"
        record: dict[str, list[Any]] = defaultdict(list)
        batches = Batches(images, labels, meta["batches_per_epoch"], source)
        kind = replaying(TRAINER_REGISTRY.get("UPL"), meta, batches, record, observing=members == 1)
        return type("Labelled", (kind,), {"prepare": lambda self: None})(cfg), record  # its labels are recorded

    for prefix in prefixes:
        trainer, record = trainer_of(1)
        start(trainer, arrays.group(f"{prefix}init"), report.name)
        record["start"].append({key: value.clone() for key, value in trainer.model.prompts.state_dict().items()})
        if not prefix:
            compare_tokens(
                report, trainer.model, meta["classnames"], torch.from_numpy(arrays["tokenized_prompts"]).long()
            )
            compare_evaluation(report, Observed(trainer), arrays, "eval_before", test_images)
            image = F.normalize(trainer.model.image_features(test_images), dim=-1)
            report.compare("features", "image features", image, arrays["image_features_normalised"])
        trainer.train()
        compare_steps(report, trainer, arrays, record, prefix)
        logits = torch.stack(record["logits"])
        report.compare("logits", "training logits", logits, arrays[f"{prefix}train/logits"])
        correct = (logits.argmax(-1) == labels).double().mean(-1)
        report.compare("rates", "training accuracy", 100 * correct, arrays[f"{prefix}train/acc"])
        compare_evaluation(report, Observed(trainer), arrays, f"{prefix}eval_after", test_images)
        vectors = trainer.model.class_vectors(meta["classnames"]).features
        report.compare("features", "class vectors", vectors, arrays[f"{prefix}eval_after/text_features_normalised"])
    if len(prefixes) == 1:
        return
    ensemble, record = trainer_of(len(prefixes))
    begun = [torch.from_numpy(arrays[f"{prefix}init/prompt_learner.ctx"]) for prefix in prefixes]
    ensemble.model.prompts.load_state_dict({"ctx": torch.stack(begun).float()})
    ensemble.train()
    losses = sum(arrays[f"{prefix}train/loss"] for prefix in prefixes)
    report.compare("losses", "sum of the members' losses", [step["loss"] for step in record["losses"]], losses)
    for number, prefix in enumerate(prefixes):
        context, want = ensemble.model.prompts.ctx[number], arrays[f"{prefix}final/prompt_learner.ctx"]
        report.compare_weight(f"context {number} of the ensemble", context, want, begun[number], False)
    stored = golden.work / "ensemble.safetensors"
    ensemble.model.class_vectors(meta["classnames"]).save(stored)
    with torch.no_grad():
        logits = ClassVectors.load(stored).logits(ensemble.model.image_features(test_images))
    report.compare("logits", "ensemble, by its class vectors", logits, arrays["ensemble/logits"])
    test_labels = golden.images(meta["test_images"].replace("test_images", "test_labels"))
    accuracy = 100 * (logits.argmax(-1) == test_labels).double().mean()
    recorded_accuracy = float(arrays["ensemble/accuracy"])
    if recorded_accuracy <= 1 < accuracy:
        accuracy = accuracy / 100
    report.compare("rates", "accuracy of the ensemble", accuracy, recorded_accuracy)


def tfup_trainer(golden: Golden, meta: Mapping[str, Any], name: str, kind: str, own: Mapping[str, Any]) -> Any:
    """TFUP's or TFUP-T's trainer on the set's image tree, with the template or the descriptions of a recording."""
    split = min((golden.directory / "data").glob("*/split_zhou_*.json"))
    root = golden.work / "data"
    if not root.exists():
        shutil.copytree(golden.directory / "data", root, copy_function=shutil.copyfile)
    options = {"PREC": "fp32", **own}
    if options.pop("described"):
        file = golden.work / "descriptions.json"
        file.write_text(json.dumps(meta["descriptions"]))
        options["DESCRIPTIONS"] = str(file)
    changes = {
        "TEMPLATE": meta["template"],
        "DATASET": {"ROOT": str(root), "NAME": split.stem.removeprefix("split_zhou_")},
        "DATALOADER": {"NUM_WORKERS": 0},
        "INPUT": {"SIZE": (meta["resolution"],) * 2},
        "MODEL": {"BACKBONE": {"NAME": golden.clip_file(meta["clip"])}},
        "TRAINER": {kind: options},
    }
    return TRAINER_REGISTRY.get(kind)(configuration(golden, {}, name, kind, changes))


def rows_of(paths: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """For each wanted file its place in a list of paths."""
    place = {"/".join(path.split("/")[-2:]): row for row, path in enumerate(paths)}
    return [place["/".join(path.split("/")[-2:])] for path in wanted]


def replay_tfup(golden: Golden, name: str) -> Report:
    """TFUP's choices, similarities and logits, from files, for each recorded run."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    for run, about in meta["runs"].items():
        own = {"SHOTS": about["cache_shots"], "IMAGES": about["unlabelled"], "described": "descriptions" in run}
        own |= {"ALPHA": float(meta["alpha"]), "BETA": float(meta["beta"])}
        trainer = tfup_trainer(golden, meta, f"{name}_{run}", "TFUP", own)
        compare_tfup_run(report, trainer, meta, arrays, run)
    if unseen := arrays.unseen():
        report.note = f"not compared: {', '.join(unseen[:3])}{', ...' if len(unseen) > 3 else ''}"
    return report


def same_scores(ours: Sequence[int], theirs: Sequence[int], features: Tensor, weights: Tensor, classes: int) -> bool:
    """Whether two lists of representatives, class by class, are equal but for prototype scores that are as close as
    single precision leaves them: the recorded divergences are sums in it."""
    if len(ours) != len(theirs) or len(ours) % classes:
        return False
    p = class_probabilities(features, weights).clamp_min(torch.finfo(torch.float64).tiny)  # (N, C)
    count, alike = len(ours) // classes, []
    for label in range(classes):
        among = p[p[:, label].argsort(descending=True, stable=True)[: 2 * count]]
        scores = len(among) * (p * p.log()).sum(-1) - p @ among.log().sum(0)  # (N,)
        part = slice(label * count, (label + 1) * count)
        alike.append(same_order(ours[part], theirs[part], lambda row, scores=scores: scores[row].item()))
    return all(alike)


@torch.no_grad()
def compare_tfup_run(report: Report, trainer: Any, meta: Mapping[str, Any], arrays: Arrays, run: str) -> None:
    """One run of TFUP's recording."""
    about, names = meta["runs"][run], trainer.task.all_classnames
    report.check("class names", names == meta["classnames"])
    pool = tfup.pool_of(trainer)
    pool.items = [pool.items[row] for row in rows_of(pool.paths, meta[f"{about['unlabelled']}_paths"])]
    features = pool.weak_features(tfup.plain_clip(trainer))
    report.compare("features", "image features", features, arrays[f"{about['unlabelled']}_image_features"])
    kind = "descriptions" if "descriptions" in run else "template"
    weights = tfup.class_weights(trainer, names)
    report.compare("features", f"class weights, {kind}", weights, arrays[f"class_weights_{kind}"])
    report.check("true labels", pool.truth == arrays[f"{about['unlabelled']}_labels"].tolist())
    cache, chosen = tfup.build_cache(features, weights, about["cache_shots"])
    theirs = arrays[f"{run}/cache_index"].tolist()
    report.check(f"{run}: cache", same_scores([one.row for one in chosen], theirs, features, weights, len(names)))
    report.check(f"{run}: labels", [one.label for one in chosen] == arrays[f"{run}/cache_label"].tolist())
    cache = FeatureCache(features[theirs], cache.labels)  # in the recorded order
    scale = trainer.model.logit_scale
    own = tfup.tfup_logits(features, weights, cache, scale, trainer.options).argmax(-1)
    _, refined = tfup.build_cache(features, weights, about["training_shots"])
    rows = arrays[f"{run}/refine_index"].tolist()
    ours = [one.row for one in refined]
    report.check(f"{run}: refined list", same_scores(ours, rows, features, weights, len(names)))
    labels = own[rows].tolist()
    report.check(f"{run}: its labels", labels == arrays[f"{run}/refine_pseudo_label"].tolist())
    loader = trainer.task.evaluation_loader
    tested = rows_of([item.impath for item in loader.dataset.data_source], meta["test_paths"])
    images = torch.cat([batch["img"] for batch in loader])[tested]
    image = trainer.model.image_features(images)
    report.compare("features", "test features", image, arrays["test_image_features"])
    similarity = cache.similarity(image, weights)
    report.compare("similarities", f"{run}: similarity", similarity, arrays[f"{run}/semantic_similarity"])
    plain = cosine_logits(image, weights, scale)
    report.compare("logits", f"{run}: zero-shot logits", plain, arrays[f"{run}/zero_shot_logits"])
    logits = trainer.classifier(names)(images)
    report.compare("logits", f"{run}: logits", logits, arrays[f"{run}/tfup_logits"])
    truth = torch.from_numpy(arrays["test_labels"])
    accuracies = [100 * (one.argmax(-1) == truth).double().mean() for one in (plain, logits)]
    report.compare("rates", f"{run}: accuracy", torch.stack(accuracies), arrays[f"{run}/accuracy"])


PHASES = ("warmup_batches", "main_batches")


def batches_in(described: str) -> str:
    """ "train_images[0:2] (8 images each) ..." -> "train_images[0:2]"."""
    found = re.match(r"\w+(\[[^\]]*\])?", described)
    assert found is not None, described
    return found[0]


class TwoPhases:
    """A loader of recorded batches: those of the warm-up, then those of all images."""

    generator = sampler = None
    dataset: Sequence[Any] = ()

    def __init__(self, warm: list[dict[str, Tensor]], main: list[dict[str, Tensor]], warm_epochs: int) -> None:
        self.warm, self.main, self.warm_epochs = warm, main, warm_epochs
        self.trainer: Any = None
        self.first_of_epoch: list[int] = []

    @property
    def batches(self) -> list[dict[str, Tensor]]:
        """Those of the trainer's current epoch, where they are as many as one epoch has."""
        epoch = getattr(self.trainer, "epoch", 0)
        return self.warm if epoch < self.warm_epochs else self.main

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches)


def replay_tfupt(golden: Golden, name: str) -> Report:
    """TFUP-T's training from the recorded start: warm-up, then weak and strong views."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    other, _, key = meta["class_weights"].partition(" ")[0].partition(":")
    about, of_tfup = golden.fixture(Path(other).stem)
    weak = meta["main_batches"].partition(f"{other}:")[2].partition("[")[0]
    recorded, optim, adamw = meta["config"]["TRAINER"]["TFUP"], meta["config"]["OPTIM"], meta["adamw"]
    warm_labels, index = torch.from_numpy(arrays["refine_labels"]), torch.from_numpy(arrays["total_index"])
    warm_images, strong = (golden.images(f"batches.npz:{batches_in(meta[part])}") for part in PHASES)
    count = len(warm_labels)
    warm = [{"img": warm_images[i], "label": warm_labels[i], "index": warm_labels[i]} for i in range(count)]
    main = [{"img": strong[i], "label": 0 * index[i], "index": index[i]} for i in range(len(index))]
    loader = TwoPhases(warm, main, optim["WARMUP_EPOCH"])
    record: dict[str, list[Any]] = defaultdict(list)
    replayed = replaying(TRAINER_REGISTRY.get("TFUPT"), about, loader, record, observing=False)
    weights, tested = (torch.from_numpy(of_tfup[one]).float() for one in (key, "test_image_features"))

    class Replay(replayed):
        def prepare(self) -> None:
            self.adapters.class_weights.copy_(weights)
            self.features = torch.from_numpy(of_tfup[weak]).float()
            keys, labels = (torch.from_numpy(arrays[f"cache_{part}"]) for part in ("keys", "labels"))
            self.cache = FeatureCache(keys.float(), labels)

        def count_batches(self) -> tuple[int, int]:
            return len(warm), len(main)

        def turn_to_images(self, epoch: int) -> None:
            """The recorded loader turns by itself."""

        def losses(self, model: Any, batch: Any) -> dict[str, Tensor]:
            record["rates"].append(self.training.optimizer.param_groups[0]["lr"])
            with torch.no_grad():
                image = self.adapters.adapt(model.frozen_image_features(batch.images))
                record["logits"].append(cosine_logits(image, self.adapters.adapted_weights, model.logit_scale))
                if self.epoch >= optim["WARMUP_EPOCH"]:
                    features = self.adapters.adapt(self.features[batch.index])
                    scores = self.tfup(features).softmax(-1).max(-1)
                    sure = scores.values > self.options.threshold
                    record["sure"].append(sure.sum())
                    record["taught"].append(scores.indices[sure])
            return super().losses(model, batch)

        def tfup(self, features: Tensor) -> Tensor:
            """Logits with the cache."""
            scale = self.model.logit_scale
            return tfup.tfup_logits(features, self.adapters.adapted_weights, self.cache, scale, self.options)

        @torch.no_grad()
        def after_epoch(self) -> None:
            adapted = self.adapters.adapt(tested)
            plain = cosine_logits(adapted, self.adapters.adapted_weights, self.model.logit_scale)
            record["eval"].append(plain)
            record["eval_with_cache"].append(self.tfup(adapted))
            super().after_epoch()

    own = {
        "PREC": "fp32", "WARMUP_EPOCHS": optim["WARMUP_EPOCH"], "EPS": adamw["eps"], "SCHEDULE": "as_published",
        "ALPHA": recorded["alpha"], "BETA": recorded["beta"], "THRESHOLD": meta["threshold"],
        "MARGINAL_WEIGHT": meta["marginal_weight"],
    }  # fmt: skip
    changes = {
        "INPUT": {"SIZE": (about["resolution"],) * 2},
        "OPTIM": {"NAME": "adamw", "LR": adamw["lr"], "WEIGHT_DECAY": adamw["weight_decay"], "WARMUP_EPOCH": 0,
                  "MAX_EPOCH": optim["MAX_EPOCH"]},
        "MODEL": {"BACKBONE": {"NAME": golden.clip_file(about["clip"])}},
        "TRAINER": {"TFUPT": own},
    }  # fmt: skip
    trainer = Replay(configuration(golden, {}, name, "TFUPT", changes))
    start(trainer, arrays.group("init"), name)
    record["start"].append({key: value.clone() for key, value in trainer.model.prompts.state_dict().items()})
    trainer.train()
    record["lr"] = record["rates"]  # those of the steps, not those that Dassl's schedule gives between them
    compare_steps(report, trainer, arrays, record)
    logits = record["logits"]
    report.compare("logits", "warm-up", torch.stack(logits[:count]), arrays["warmup/logits"])
    report.compare("logits", "strong views", torch.stack(logits[count:]), arrays["train/strong_logits"])
    warm_loss = [step["loss"] for step in record["losses"][:count]]
    report.compare("losses", "cross-entropy of the warm-up", warm_loss, arrays["train/loss_ce_warmup"])
    parts = {"loss_ce_strong": 1.0, "loss_marginal": meta["marginal_weight"]}
    for part, factor in parts.items():
        values = [step[part] / factor for step in record["losses"][count:]]
        report.compare("losses", part, values, arrays[f"train/{part}"])
    report.check("sure images", [int(one) for one in record["sure"]] == arrays["train/n_confident"].tolist())
    report.check(
        "their labels", torch.cat(record["taught"]).tolist() == arrays["train/pseudo_labels_confident"].tolist()
    )
    report.compare("logits", "evaluations", torch.stack(record["eval"]), arrays["eval/logits"])
    report.compare("logits", "with the cache", torch.stack(record["eval_with_cache"]), arrays["eval/logits_with_cache"])
    truth = torch.from_numpy(of_tfup["test_labels"])
    accuracies = [100 * (one.argmax(-1) == truth).double().mean() for one in record["eval"]]
    report.compare("rates", "accuracies", torch.stack(accuracies), arrays["eval/accuracy"])
    if unseen := arrays.unseen():
        report.note = f"not compared: {', '.join(unseen[:3])}{', ...' if len(unseen) > 3 else ''}"
    return report


REPLAYS = {**dict.fromkeys(("CoOp_KDPL", "CoCoOp_KDPL", "VPT_KDPL", "MaPLe_KDPL", "PromptSRC_KDPL"), replay_kdpl)}
REPLAYS["UPLTrainer"] = replay_upl
REPLAYS |= {"TFUP": replay_tfup, "TFUP-T": replay_tfupt}
