"""A frozen teacher: prompted CLIP, the class vectors of all classes computed once, and its logit scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.data.checks import clip_name
from promptkd.engine import checkpoints
from promptkd.engine.config import node_of
from promptkd.model.class_vectors import FILE_NAME, ClassVectors, scale_of, template_features, weights_hash
from promptkd.model.coupled import CompoundPrompts
from promptkd.model.precision import Precision
from promptkd.model.prompts import Prompts
from promptkd.model.zoo import load_clip


@dataclass(frozen=True)
class Teacher:
    """What distils: prompted image features against class vectors of every class of the task, on the device."""

    clip: nn.Module
    prompts: Prompts
    class_vectors: ClassVectors
    description: dict[str, Any]  # what results say of it

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """Un-normalised: (B, 3, H, W) -> (B, D)."""
        return self.prompts.encode_image(self.clip, images)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C) float32."""
        return self.class_vectors.logits(self.image_features(images))


def load_teacher(
    source: str, backbone: str, classnames: Sequence[str], templates: Sequence[str], phrase: str, precision: Precision
) -> Teacher:
    """A teacher from a run's directory, a published checkpoint, or a plain CLIP's name.

    Args:
        source: directory of a run of ours; a `.pth.tar` of PromptSRC or PromptKD's teacher zoo (or a folder that holds
            one); or a CLIP name, which makes a zero-shot teacher.
        backbone: CLIP of a published checkpoint, which does not say it itself.
        classnames: all C classes of the task.
        templates: prompt templates of a zero-shot teacher, averaged.
        phrase: words that the published checkpoint's context stood for.
        precision: arithmetic and device.

    Raises:
        FileNotFoundError: the directory holds no checkpoint.
        ValueError: the checkpoint is of another backbone or method.
    """
    path = Path(source)
    if (path / "config.yaml").is_file():
        clip, prompts, description = _from_run(path)
    elif path.is_dir() or ".pth" in path.name:  # model.pth.tar-20; any other file is a CLIP
        clip, prompts, description = _from_published(path, backbone, phrase)
    else:
        try:
            clip = load_clip(source)
        except ValueError as error:
            raise ValueError(f"teacher {source!r} is no run's directory, no .pth.tar and no CLIP: {error}") from error
        prompts, description = Prompts(clip), {"source": source, "backbone": source, "trainer": "ZeroshotCLIP"}
    clip = precision.store(clip)
    prompts.to(precision.device).requires_grad_(False).eval()
    with torch.no_grad(), precision.autocast():
        if description["trainer"] == "ZeroshotCLIP":
            features = template_features(clip, classnames, templates)
        else:
            features = F.normalize(prompts.encode_text(clip, prompts.tokens(clip, classnames)).float(), dim=-1)
    made_by = f"{description['trainer']} on {description['backbone']}"
    told = {key: str(description[key]) for key in ("dataset", "shots") if key in description}
    template = " | ".join(templates) if description["trainer"] == "ZeroshotCLIP" else prompts.template
    origin = {"made_by": made_by, "source": source, "weights": weights_hash(prompts), "template": template} | told
    vectors = ClassVectors(tuple(classnames), features, scale_of(clip), origin)
    return Teacher(clip, prompts, vectors, description)


def class_note(source: str, classnames: Sequence[str]) -> str:
    """What must be said of a teacher that is a run of other classes: it takes any name, a wrong one too."""
    if not Path(source, FILE_NAME).is_file():
        return ""
    known = {clip_name(name): name for name in ClassVectors.load(Path(source, FILE_NAME)).classnames}
    strange = [name for name in classnames if clip_name(name) not in known]
    if not strange:
        return ""
    shown = []
    for name in strange[:5]:
        close = get_close_matches(clip_name(name), known, n=1, cutoff=0.8)
        shown.append(f"{name!r}" + (f" (did you mean {known[close[0]]!r}?)" if close else ""))
    return (
        f"WARNING: {len(strange)} of {len(classnames)} classes are none of the {len(known)} of the teacher's data set: "
        f"{', '.join(shown)}{', ...' if len(strange) > 5 else ''}; it knows them by their names alone"
    )


def _from_run(directory: Path) -> tuple[nn.Module, Prompts, dict[str, Any]]:
    cfg = CfgNode(yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")))
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if not trainer.needs_text:
        raise ValueError(f"{directory} is a {cfg.TRAINER.NAME} run: it has no text encoder to make class vectors with")
    options = cfg.TRAINER.get(node_of(cfg.TRAINER.NAME), CfgNode())
    if trainer.text_depends_on_image or options.get("CSC", False):
        raise ValueError(f"{directory} is a {cfg.TRAINER.NAME} run without class vectors for any class: no teacher")
    clip = load_clip(cfg.MODEL.BACKBONE.NAME)
    prompts = trainer.build_prompts(options, clip, ())
    description = {"source": str(directory), "backbone": cfg.MODEL.BACKBONE.NAME, "trainer": cfg.TRAINER.NAME}
    if any(True for _ in prompts.parameters()):
        description |= {"dataset": cfg.DATASET.NAME, "shots": cfg.DATASET.NUM_SHOTS}
        file = checkpoints.latest(directory / trainer.registered_name)
        content = checkpoints.read_checkpoint(file)
        checkpoints.load_learned(prompts, content["state_dict"], file)
        description |= {"checkpoint": file.name, "epoch": content["epoch"]}
    return clip, prompts, description


def _from_published(path: Path, backbone: str, phrase: str) -> tuple[nn.Module, Prompts, dict[str, Any]]:
    if path.is_dir():
        path = checkpoints.latest(
            next(
                (
                    path / n
                    for n in ("VLPromptLearner", "MultiModalPromptLearner", "prompt_learner")
                    if (path / n).is_dir()
                ),
                path,
            )
        )
    content = checkpoints.read_checkpoint(path)
    learned = checkpoints.from_published(content["state_dict"])
    if "ctx" not in learned:
        raise ValueError(f"{path} holds no learned context (ctx): it is no PromptSRC, IVLP, MaPLe or CoOp checkpoint")
    clip = load_clip(backbone)

    def count(kind: str) -> int:
        return sum(name.startswith(f"{kind}.") for name in learned)

    n_text, depth_text, vision = learned["ctx"].shape[-2], count("text_prompts") + 1, learned.get("vision_prompts.0")
    if "projections.0.weight" in learned:
        prompts: Prompts = CompoundPrompts(clip, n_text, depth_text, phrase)
    else:
        n_vision = 0 if vision is None else len(vision)
        prompts = Prompts(clip, n_text, depth_text, n_vision, count("vision_prompts"), phrase)
    checkpoints.load_learned(prompts, learned, path)
    return (
        clip,
        prompts,
        {"source": str(path), "backbone": backbone, "trainer": "published checkpoint", "epoch": content.get("epoch")},
    )
