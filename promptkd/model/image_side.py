"""The image side of a prompted CLIP alone: what a deployed model computes, without text encoder or names of weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from promptkd.model.class_vectors import ClassVectors
from promptkd.model.clip_config import check_config
from promptkd.model.compound import CompoundPrompts
from promptkd.model.image_led import ImageLedPrompts
from promptkd.model.parts import Clip, ImageTower
from promptkd.model.precision import Precision
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.spec import PromptSpec
from promptkd.model.timm_names import ImageOnly, from_configuration
from promptkd.model.tuning import TunedStudent
from promptkd.model.zoo import from_state, image_statistics
from promptkd.tensors import check_tensors

# open_clip builds both encoders from a configuration; of the text encoder nothing is kept, so it is the smallest.
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 64, "heads": 1, "layers": 1}


def learned_for_images(model: PromptedClip) -> tuple[PromptSpec, dict[str, Tensor]]:
    """What a model learned for images, as a spec and its tensors: prompts of the text are left out.

    MaPLe's visual prompts, which are maps of its text prompts, become visual prompts like any other's; so do FAP's,
    whose maps to text prompts are left out.

    Raises:
        ValueError: its text features depend on the image (CoCoOp).
    """
    if model.conditional:
        raise ValueError("CoCoOp makes its text features for each image anew: it has no class vectors to be exported")
    spec, prompts = model.spec, model.prompts
    if isinstance(prompts, CompoundPrompts | ImageLedPrompts):
        made = prompts.visual_prompts() if isinstance(prompts, CompoundPrompts) else prompts.vision_prompts
        visual = [value.detach() for value in made]
        tensors = {f"vision_prompts.{block}": value for block, value in enumerate(visual)}
        return PromptSpec(n_vision=len(visual[0]), depth_vision=len(visual)), tensors
    if spec.kind == "adapters":
        return spec, dict(prompts.state_dict())
    tensors = {
        name: value
        for name, value in prompts.state_dict().items()
        if name != "ctx" and not name.startswith("text_prompts.")
    }
    return replace(spec, n_text=0, depth_text=1, phrase="", position="end", n_classes=0, members=0), tensors


def merged(model: PromptedClip) -> PromptedClip:
    """The same model with what it learned of its image encoder's weights in the encoder, frozen.

    A model that tunes no weights is returned as it is.
    """
    if not isinstance(model.prompts, TunedStudent):
        return model
    clip = copy.copy(model.clip)
    clip._modules = dict(model.clip._modules)  # a shallow copy shares them
    clip.visual = model.prompts.merged(model.clip.visual)
    spec = replace(model.spec, tune="", lora_rank=0, lora_alpha=0.0, lora_modules="")
    plain = PromptedClip(clip, spec, model.precision, vectors=model.vectors, about=model.about)
    projector = model.prompts.projector.state_dict()
    plain.prompts.load_state_dict({f"projector.{name}": value for name, value in projector.items()})
    plain.logit_scale = model.logit_scale
    return plain.freeze()


def image_configuration(clip: Clip) -> dict[str, Any]:
    """What rebuilds an image encoder, for `encoder_of`.

    Of a CLIP it is open_clip's configuration, "model_cfg" and "preprocess_cfg"; of a tower of timm's see
    `timm_names.from_configuration`.

    Raises:
        ValueError: the configuration that the model was loaded with has sizes out of range.
    """
    if isinstance(clip, ImageOnly):
        return clip.config
    config = dict(clip.config.get("model_cfg") or {})
    if config:
        model_cfg = {key: config[key] for key in ("embed_dim", "vision_cfg", "quick_gelu") if key in config}
    else:  # no configuration: OpenAI's architecture, whose sizes the modules have
        model_cfg = {"embed_dim": clip.visual.output_dim, "vision_cfg": _openai(clip.visual), "quick_gelu": True}
    mean, std = image_statistics(clip)
    config = {"model_cfg": model_cfg | {"text_cfg": _NO_TEXT}, "preprocess_cfg": {"mean": [*mean], "std": [*std]}}
    return check_config(config)


def _openai(visual: ImageTower) -> dict[str, Any]:
    size = visual.image_size
    side = int(size if isinstance(size, int) else size[0])
    if isinstance(visual, VisionTransformer):
        sizes = {"layers": len(visual.transformer.resblocks), "width": visual.conv1.out_channels}
        return sizes | {"patch_size": visual.conv1.kernel_size[0], "image_size": side}
    stages = [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    return {"layers": [len(one) for one in stages], "width": visual.layer1[0].conv1.out_channels, "image_size": side}


def image_tensors(clip: Clip) -> dict[str, Tensor]:
    """The tensors of a CLIP's image encoder and its scale, under the names of its state dict."""
    tensors = {f"visual.{name}": value for name, value in clip.visual.state_dict().items()}
    return tensors | {"logit_scale": clip.logit_scale.detach()}


def rebuild(
    encoder: Clip,
    spec: PromptSpec,
    learned: dict[str, Tensor],
    vectors: ClassVectors,
    device: torch.device | str,
    about: dict[str, Any],
) -> PromptedClip:
    """A frozen model of a loaded encoder, what was learned, and class vectors.

    Raises:
        ValueError: the parts do not fit each other.
    """
    spec.check(learned)
    model = PromptedClip(encoder, spec, Precision.choose("fp32", torch.device(device)), vectors=vectors, about=about)
    check_tensors(learned, model.prompts.state_dict(), "what was learned")
    model.prompts.load_state_dict(learned)
    return model.freeze()


def encoder_of(tensors: dict[str, Tensor], configuration: Any, source: str) -> Clip:
    """The image encoder of `image_tensors` and `image_configuration`; raises ValueError where they do not fit."""
    if isinstance(configuration, dict) and "timm" in configuration:
        return from_configuration(configuration, tensors, source).requires_grad_(False).eval()
    return from_state(tensors, check_config(configuration), source, text=False).requires_grad_(False).eval()
