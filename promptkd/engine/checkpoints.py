"""Checkpoint files, ours and the published ones: read safely, one name for each learned tensor."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

BEST = "model-best.pth.tar"  # Dassl's name of the best epoch's file

# Published key -> ours. What no rule names is frozen CLIP, or tokens that are made anew from the class names.
_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), ours)
    for pattern, ours in [
        (r"(?:prompt_learner\.)?ctx", "ctx"),
        (r"image_encoder\.VPT", "vision_prompts.0"),
        (r"image_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"vision_prompts.\1"),
        (r"text_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"text_prompts.\1"),
        (r"VPT_image_trans\.conv1\.(\d+)\.(\w+)", r"projector.\1.\2"),
        (r"(?:prompt_learner\.)?meta_net\.(\w+\.\w+)", r"meta_net.\1"),
        (r"(?:prompt_learner\.)?compound_prompts_text\.(\d+)", r"text_prompts.\1"),
        (r"(?:prompt_learner\.)?proj\.(\w+)", r"projections.0.\1"),
        (r"(?:prompt_learner\.)?compound_prompt_projections\.(\d+)\.(\w+)", r"projections.\1.\2"),
    ]
]
_FROZEN = re.compile(
    r"(image_encoder|text_encoder|prompt_learner\.ZS_image_encoder|model|clip_model)\.|logit_scale$|dtype$"
    r"|(.*\.)?(token_prefix2?|token_suffix2?)$"
)


class _Inert:
    """Stands for any object of an old file that is not a tensor: it is built and filled, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _nothing(self, *args: Any) -> None:
        pass

    # How a pickle fills objects, dictionaries (an optimiser's state is a defaultdict) and lists.
    __setstate__ = __setitem__ = append = extend = _nothing


class _TensorUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers; every other class of the file becomes inert, so no code of the file runs."""

    def find_class(self, module: str, name: str) -> Any:
        tensor_parts = {"_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter", "_rebuild_parameter_with_state"}
        if module == "torch._utils" and name in tensor_parts:
            return getattr(torch._utils, name)
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module == "torch" and (name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        if module == "torch.storage" and name in {"TypedStorage", "UntypedStorage"}:
            return getattr(torch.storage, name)
        return _Inert


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of ours or of Dassl without running code from the file.

    Old Dassl files hold a pickled scheduler object, which `weights_only=True` refuses; they are read by an unpickler
    that builds nothing but tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            safe = SimpleNamespace(Unpickler=_TensorUnpickler, load=_load_tensors, __name__="tensors_only")
            content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=safe)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({why}): is it cut off? Fetch it again, or give another"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError(f"{path} is no checkpoint: it has no 'state_dict'")
    return {key: None if isinstance(value, _Inert) else value for key, value in content.items()}


def _load_tensors(file: Any, **kwargs: Any) -> Any:
    return _TensorUnpickler(file, **kwargs).load()


def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Learned tensors of a checkpoint under our names; frozen CLIP weights and stored tokens are left out.

    Args:
        state: a `state_dict` with published names or with ours (which pass through).

    Returns:
        name -> tensor; 1x1 convolutions of a published projector become linear layers (o, i), and values of half
        precision become float32.
    """
    learned = {}
    for key, value in state.items():
        name = _our_name(key)
        if name is not None:
            value = value.flatten(1) if name.startswith("projector") and value.dim() == 4 else value
            learned[name] = value.float() if value.is_floating_point() else value
    return learned


def _our_name(key: str) -> str | None:
    for pattern, ours in _RULES:
        if match := pattern.fullmatch(key):
            if key.startswith("text_encoder."):  # ours count from block 1, where the first deep text prompt goes in
                return f"text_prompts.{int(match[1]) - 1}"
            if "compound_prompt_projections" in key:  # ours count the map of the first block too
                return f"projections.{int(match[1]) + 1}.{match[2]}"
            return match.expand(ours)
    return None if _FROZEN.match(key) else key


def to_published(state: dict[str, Tensor], prompt_learner_only: bool = False) -> dict[str, Tensor]:
    """Our learned tensors under the published names, so that the published code loads them.

    Args:
        state: a state dict of ours.
        prompt_learner_only: CoOp, CoCoOp and KgCoOp save the prompt learner alone ("ctx", not "prompt_learner.ctx").
    """
    published = {}
    learner = "" if prompt_learner_only else "prompt_learner."
    compound = any(name.startswith("projections.") for name in state)
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind in ("ctx", "meta_net"):
            name = f"{learner}{name}"
        elif kind == "projections":
            number, _, part = rest.partition(".")
            first = number == "0"
            name = (
                f"{learner}proj.{part}" if first else f"{learner}compound_prompt_projections.{int(number) - 1}.{part}"
            )
        elif kind == "text_prompts" and compound:
            name = f"{learner}compound_prompts_text.{rest}"
        elif name == "vision_prompts.0":
            name = "image_encoder.VPT"
        elif kind == "vision_prompts":
            name = f"image_encoder.transformer.resblocks.{rest}.VPT_shallow"
        elif kind == "text_prompts":
            name = f"text_encoder.transformer.resblocks.{int(rest) + 1}.VPT_shallow"
        elif kind == "projector":
            name = f"VPT_image_trans.conv1.{rest}"
            value = value[:, :, None, None] if value.dim() == 2 else value
        published[name] = value
    return published


def load_learned(module: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Loads learned tensors strictly.

    Raises:
        ValueError: a tensor is missing, too many, or of another shape; the message names the first of each kind.
    """
    learned, expected = from_published(state), module.state_dict()
    missing = [name for name in expected if name not in learned]
    extra = [name for name in learned if name not in expected]
    other = [name for name in expected if name in learned and learned[name].shape != expected[name].shape]
    if missing or extra or other:
        parts = []
        if missing:
            parts.append(f"{len(missing)} tensors are missing (first {missing[0]})")
        if extra:
            parts.append(f"{len(extra)} are too many (first {extra[0]})")
        if other:
            name = other[0]
            parts.append(f"{name} is {tuple(learned[name].shape)}, this model wants {tuple(expected[name].shape)}")
        raise ValueError(
            f"{source} does not fit: {'; '.join(parts)}. Is it of another backbone, prompt depth or context length?"
        )
    module.load_state_dict(learned)


def latest(directory: str | Path, epoch: int | None = None) -> Path:
    """The checkpoint file of a `<run>/<registered name>` directory: of an epoch, else the best, else the last.

    Raises:
        FileNotFoundError: it is not there; the message lists what is.
    """
    directory = Path(directory)
    files = numbered(directory)
    best = directory / BEST
    if epoch is not None:
        path = directory / f"model.pth.tar-{epoch}"
    elif best.is_file():
        path = best
    elif files:
        path = files[max(files)]
    else:
        path = best
    if not path.is_file():
        files_text = ", ".join(file.name for file in files.values()) or "no checkpoint"
        raise FileNotFoundError(
            f"no checkpoint at {path}; there is {files_text}" + ("" if directory.is_dir() else " (nor the directory)")
        )
    return path


def numbered(directory: str | Path) -> dict[int, Path]:
    """Epoch -> checkpoint file, in order, of those named `model.pth.tar-<epoch>`."""
    files = {}
    for file in Path(directory).glob("model.pth.tar-*"):
        number = file.name.rpartition("-")[2]
        if number.isdigit():
            files[int(number)] = file
    return dict(sorted(files.items()))
