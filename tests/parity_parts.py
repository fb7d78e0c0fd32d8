"""Replays what a golden set records beside training: tokenizer, preprocessing, schedule, plain CLIP, an image tree."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import image_transform
from parity_data import replay_splits
from parity_measure import Golden, Report, load_npz, read_json
from PIL import Image
from torch import nn
from torch.nn import functional as F
from yacs.config import CfgNode

import clip
from dassl.data.transforms import build_transform
from dassl.engine import build_trainer
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import read_image
from promptkd.engine import checkpoints
from promptkd.model.class_vectors import encode_prompts, scale_of
from promptkd.model.prompting import encode_image
from promptkd.model.tokens import class_prompt
from promptkd.model.zoo import load_clip
from train import configure, parser


def replay_tokenizer(golden: Golden) -> Report:
    """Ids of every string, and which are refused."""
    report = Report("tokenizer")
    content = read_json(golden.directory / "tokenizer.json")
    length = content["context_length"]
    for item in content["items"]:
        text, ids = item["text"], item["ids_truncated"]
        got = clip.tokenize(text, length, truncate=True)[0]
        report.check(f"ids of {text[:40]!r}", got.tolist() == ids + [0] * (length - len(ids)))
        try:
            raised = None
            clip.tokenize(text, length)
        except Exception as error:
            raised = type(error).__name__
        report.check(f"exception of {text[:40]!r}", raised == item["exception_without_truncate"])
    report.note = f"{len(content['items'])} strings equal" if not report.lines else ""
    return report


def replay_preprocess(golden: Golden) -> Report:
    """Dassl's test transform on each picture and resolution, and OpenAI's where that differs: equal to the last bit."""
    report, folder = Report("preprocess"), golden.directory / "preprocess"
    arrays = load_npz(folder / "preprocess.npz")
    mean, std = clip.OPENAI_DATASET_MEAN, clip.OPENAI_DATASET_STD
    for key, want in arrays.items():
        kind, _, name = key.partition("/")
        origin, resolution, *as_pixels = kind.split("_")
        if origin == "dassl":
            argv = ["--output-dir", str(golden.work), "INPUT.SIZE", f"({resolution}, {resolution})"]
            transform = build_transform(configure(parser().parse_args(argv)), is_train=False)
            got = transform(read_image(str(folder / f"{name}.png")))
        else:  # what clip.load returns, at any resolution
            transform = image_transform(int(resolution), is_train=False, mean=mean, std=std)
            got = transform(Image.open(folder / f"{name}.png"))
        if as_pixels:
            pixels = (got * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]) * 255
            report.check(key, np.array_equal(pixels.round().numpy().astype(np.uint8), want))
        else:
            report.compare("features", key, got, want)
    report.note = f"{len(arrays)} pictures"
    return report


def replay_schedule(golden: Golden) -> Report:
    """The learning rate of each epoch."""
    report = Report("lr_schedule")
    for name, record in read_json(golden.directory / "lr_schedule.json").items():
        options = CfgNode({k: tuple(v) if isinstance(v, list) else v for k, v in record["optim"].items()})
        optimizer = build_optimizer(nn.Linear(1, 1), options)
        scheduler = build_lr_scheduler(optimizer, options)
        rates = []
        for _ in record["lr_per_epoch"]:
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        report.compare("rates", name, rates, record["lr_per_epoch"])
        report.compare("rates", f"{name}, end", optimizer.param_groups[0]["lr"], record["lr_after_last_step"])
    return report


def replay_splits_file(golden: Golden) -> Report:
    """Splits and few-shot lists."""
    report = Report("splits")
    lines = replay_splits(golden.directory)
    for name, ok, detail in lines:
        if not ok:
            report.fail(f"{name}: {detail}")
    report.note = f"{len(lines)} lists" if not report.lines else ""
    return report


def replay_teacher_checkpoint(golden: Golden) -> Report:
    """A published teacher's file holds the recorded prompts, once its stored tokens are left out."""
    report = Report("teacher_checkpoint")
    content = checkpoints.read_checkpoint(golden.directory / "teacher_prompts_only.pth.tar")
    learned = checkpoints.to_published(checkpoints.from_published(content["state_dict"]))
    want = load_npz(golden.directory / "teacher_prompts.npz")
    report.check("set of learned tensors", learned.keys() == want.keys())
    for name in learned.keys() & want.keys():
        report.compare("weights", name, learned[name], want[name])
    return report


@torch.no_grad()
def replay_plain_clip(golden: Golden, name: str) -> Report:
    """Both models without any prompt."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    # As the set says that it was recorded: underscores of class names are spaces.
    texts = [class_prompt("a photo of a {}.", classname) for classname in meta["classnames"]]
    if "tokens" in arrays:
        report.check("tokens", np.array_equal(clip.tokenize(texts).numpy(), arrays["tokens"]))
    for role in ("student", "teacher"):
        if not golden.has(f"clip_{role}.npz") or f"{role}/image_features_raw" not in arrays:
            continue
        model = load_clip(golden.clip_file(f"clip_{role}.npz"))
        image = encode_image(model.visual, golden.images("batches.npz:test_images"))
        text = encode_prompts(model, texts)
        logits = scale_of(model) * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()
        report.compare("features", f"{role} image features", image, arrays[f"{role}/image_features_raw"])
        report.compare("features", f"{role} text features", text, arrays[f"{role}/text_features_raw"])
        report.compare("logits", f"{role} logits", logits, arrays[f"{role}/logits_per_image"])
        report.compare("logits", f"{role} logits", logits.t(), arrays[f"{role}/logits_per_text"])
    return report


def replay_tree(golden: Golden, name: str) -> Report:
    """Zero-shot CLIP from JPEG files to accuracies, for each class group, as `train.py --eval-only` runs it."""
    meta, arrays = golden.fixture(name)
    report = golden.report(name)
    split = min((golden.directory / "data").glob("*/split_zhou_*.json"))
    root = golden.work / "data"
    if not root.exists():
        shutil.copytree(golden.directory / "data", root, copy_function=shutil.copyfile)
    backbone = golden.clip_file("clip_student.npz")
    resolution = load_clip(backbone, text=False).visual.image_size
    size = resolution if isinstance(resolution, int) else resolution[0]
    for group in ("all", "base", "new"):
        if f"{group}/logits" not in arrays:
            continue
        argv = ["--root", str(root), "--trainer", "ZeroshotCLIP", "--output-dir", str(golden.work / name / group)]
        options: dict[str, Any] = {
            "DATASET.NAME": split.stem.removeprefix("split_zhou_"), "DATASET.SUBSAMPLE_CLASSES": group,
            "MODEL.BACKBONE.NAME": backbone, "INPUT.SIZE": (size, size), "DATALOADER.NUM_WORKERS": 0, "USE_CUDA": False,
        }  # fmt: skip
        argv += [str(word) for pair in options.items() for word in pair]
        trainer = build_trainer(configure(parser().parse_args(argv)))
        logits, metrics = _observed_evaluation(trainer)
        items = trainer.task.evaluation_loader.dataset.data_source
        members = torch.tensor(trainer.task.groups[group])
        labels = torch.tensor([item.label for item in items])
        inside = torch.isin(labels, members)
        want = meta[group]
        report.check(f"{group} class names", [trainer.task.all_classnames[i] for i in members] == want["classnames"])
        own = torch.searchsorted(members, labels[inside])
        report.check(f"{group} labels", np.array_equal(own.numpy(), arrays[f"{group}/labels"]))
        report.compare("logits", f"{group} logits", logits[inside][:, members], arrays[f"{group}/logits"])
        files = [Path(item.impath).as_posix() for item, used in zip(items, inside, strict=True) if used]
        same = len(files) == len(want["test_items"]) and all(map(str.endswith, files, want["test_items"]))
        report.check(f"{group} test files", same)
        for measure, value in want["results"].items():
            report.compare("rates", f"{group} {measure}", metrics[group][measure], value)
    return report


def _observed_evaluation(trainer: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    classify = trainer.model.classifier(trainer.task.all_classnames)
    seen: list[torch.Tensor] = []

    def observed(images: torch.Tensor) -> torch.Tensor:
        seen.append(classify(images))
        return seen[-1]

    metrics = trainer.training.evaluation.evaluate(observed)
    return torch.cat(seen), metrics
