"""Image towers of timm, `timm:NAME` or `timm:NAME:FILE`: without a text encoder, so they know images alone.

timm builds the architecture and translates the names of other projects' weights; it gets tensors that were read and
checked here, never a file that it would unpickle.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.pretrained import download_pretrained_from_hf
from torch import Tensor, nn

from promptkd.bounded import named, shown
from promptkd.model.clip_config import check_preprocessing
from promptkd.model.weights import NUMBERS, read_state
from promptkd.tensors import check_finite, check_tensors
from promptkd.texts import clipped, closest

TIMM = "timm:"
SCALE = 100.0  # of a tower that was never compared to texts: CLIP's
_WEIGHTS = "model.safetensors"  # in timm's repositories on the hub


class TimmTower(nn.Module):
    """A timm model without its classifier, under the names by which open_clip's towers are known.

    Args:
        trunk: the model, whose output is (B, D).
        settings: timm's `pretrained_cfg`: input size, mean and standard deviation.
    """

    def __init__(self, trunk: Any, settings: dict[str, Any]) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Identity()
        side = settings["input_size"][-1]
        self.image_size = (side, side)
        self.output_dim = int(getattr(trunk, "head_hidden_size", None) or trunk.num_features)
        self.preprocess_cfg = {"size": side, "mean": tuple(settings["mean"]), "std": tuple(settings["std"])}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), not normalised."""
        return self.head(self.trunk(images))


class ImageOnly(nn.Module):
    """What stands in the place of a CLIP: an image tower, a logit scale, and no text encoder.

    Args:
        visual: the tower.
    """

    def __init__(self, visual: TimmTower) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        self.config: dict[str, Any] = {}

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), not normalised."""
        return self.visual(images)


def from_timm(name: str) -> ImageOnly:
    """An image tower with its weights, float32, on the CPU.

    Args:
        name: "timm:NAME" as timm calls a model, with or without its tag, whose weights come from timm's repository on
            the hub; or "timm:NAME:FILE" with the file of its weights.

    Raises:
        ValueError: no such model, or weights that are not its; the message says what is wrong.
        OSError: the weights could not be fetched.
        ImportError: timm is not installed.
    """
    import timm

    model, _, file = name.removeprefix(TIMM).partition(":")
    if not timm.is_model(model):
        close = closest(model.partition(".")[0], timm.list_models())
        raise ValueError(f"timm has no model {shown(model)}" + (f"; closest: {close!r}" if close else ""))
    settings = timm.get_pretrained_cfg(model)
    if settings is None:
        raise ValueError(
            f"timm:{model} has no weights: give timm:{model}:FILE with a name that has some, or another one"
        )
    if file and not Path(file).is_file():
        raise ValueError(f"{shown(name)}: there is no file {named(file)} of weights")
    try:
        weights = Path(file or download_pretrained_from_hf(settings.hf_hub_id, settings.hf_hub_filename or _WEIGHTS))
    except (OSError, ValueError) as error:
        raise OSError(
            f"cannot fetch the weights of {name} ({clipped(error, 200)}). Without a network, fetch {_WEIGHTS} of "
            f"https://huggingface.co/{settings.hf_hub_id} elsewhere and give {name}:FILE"
        ) from error
    trunk = timm.create_model(model, pretrained=False, num_classes=0)
    _load(trunk, weights, settings.classifier)
    clip = ImageOnly(TimmTower(trunk, settings.to_dict()))
    about = clip.visual.preprocess_cfg
    clip.config = {"timm": model, "preprocess_cfg": about | {"mean": [*about["mean"]], "std": [*about["std"]]}}
    return clip


def from_configuration(config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> ImageOnly:
    """An image tower from its `config` and the tensors of its state dict, which may be somebody else's.

    Args:
        config: "timm", the model's name, and "preprocess_cfg" with "size", "mean" and "std".
        tensors: under the names of an `ImageOnly`'s state dict.
        source: their origin, for messages.

    Raises:
        ValueError: no such model, or tensors that are not its; the message says what is wrong.
        ImportError: timm is not installed.
    """
    import timm

    name, about = config["timm"], config.get("preprocess_cfg")
    check_preprocessing(about)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", name) or not timm.is_model(name):
        raise ValueError(f"{named(source)}: timm has no model {shown(name)}")
    settings: dict[str, Any] = {"mean": [], "std": [], "size": 224} | dict(about or {})
    settings["input_size"] = (3, settings["size"], settings["size"])
    with torch.device("meta"):  # compared before memory is taken
        wanted = ImageOnly(TimmTower(timm.create_model(name, pretrained=False, num_classes=0), settings)).state_dict()
    check_tensors(tensors, wanted, source)
    clip = ImageOnly(TimmTower(timm.create_model(name, pretrained=False, num_classes=0), settings))
    clip.load_state_dict(dict(tensors))
    clip.config = dict(config)
    return clip


def _load(trunk: nn.Module, weights: Path, classifier: str | tuple[str, ...] | None) -> None:
    """Loads a file's tensors, all of them but the classifier's; raises ValueError where they are not the model's."""
    state = read_state(weights)
    if not state:
        raise ValueError(f"{named(weights)} holds no tensors")
    for key, value in state.items():
        if key.rpartition(".")[2] not in NUMBERS:
            check_finite(value, key, weights)
    translate = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    try:
        if translate is not None:
            state = translate(state, trunk)
        heads = (classifier,) if isinstance(classifier, str) else classifier or ()
        rest = {key: value for key, value in state.items() if not key.startswith(tuple(f"{one}." for one in heads))}
        trunk.load_state_dict(rest, strict=True)
    except (RuntimeError, KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{named(weights)} does not fit timm's {type(trunk).__name__}: {clipped(error, 400)}"
        ) from error
