"""Checkpoint files, ours and the published ones: read safely, one name for each learned tensor."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptkd import tensors
from promptkd.bounded import named, shown, texts, whole_number

log = logging.getLogger(__name__)

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


# Beginnings of the names of learned tensors, ours and published: what a wrapper put in front of them is left out.
_KNOWN = (
    "ctx", "prompt_learner.", "meta_net.", "vision_prompts.", "text_prompts.", "projector.", "projections.",
    "image_encoder.", "text_encoder.", "VPT_image_trans.", "compound_prompt", "proj.", "tower.",
)  # fmt: skip
# Learned tensors that a student starts without, where it goes on from a projector alone; beginnings of their names.
_JOINING = {"vision_prompts.": "visual prompts", "tower.": "tuned weights of an image encoder"}
MOST_EPOCHS = 100_000
# Number of dimensions of a learned tensor, by the beginning of our name for it; others have any.
_DIMENSIONS = {"ctx": (2, 3), "vision_prompts.": (2,), "text_prompts.": (2,)}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of ours or of Dassl without running code from the file.

    Objects other than tensors and plain values, as the scheduler that old Dassl files hold, are None. A prefix that all
    names of the state dict share is left out where a wrapper gave it (DataParallel, torch.compile, a trainer).

    Returns:
        "state_dict", name -> tensor, and what else the file has: "epoch" (a whole number), "belongs_to" (names and
        texts), "run" (a mapping), "optimizer" (a mapping or None), ...

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no checkpoint, or a field of it is of another kind; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {named(path)}")
    try:
        content = tensors.read_content(path)
    except ValueError as error:
        why = str(error).removeprefix(f"{named(path)} is no weight file that can be read safely ").strip("()")
        raise ValueError(
            f"{named(path)} cannot be read as a checkpoint ({why}): is it cut off? Fetch it again, or give another"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError(f"{named(path)} is no checkpoint: it has no 'state_dict'")
    content = {key: value for key, value in content.items() if isinstance(key, str)}
    try:
        _check_fields(content)
    except ValueError as error:
        raise ValueError(f"{named(path)}: {error}") from error
    return content | {"state_dict": tensors.without_wrapper(content["state_dict"], _KNOWN)}


def let_dassl_read_safely() -> None:
    """Lets Dassl's own functions, as methods written for upstream call them, read files by promptkd.tensors.

    Our toolkit takes such a reader; an upstream Dassl in its place has none, and reads by pickle.
    """
    with contextlib.suppress(ImportError):
        from dassl.utils.reading import set_reader

        set_reader(tensors.read_content)


def _check_fields(content: Mapping[str, Any]) -> None:
    """Raises ValueError for a field of a checkpoint that is of another kind than what ours and Dassl's hold."""
    if strange := [key for key in content["state_dict"] if not isinstance(key, str)]:
        raise ValueError(f"state_dict has the name {shown(strange[0])}, which is no text")
    if content.get("epoch") is not None:
        whole_number(content["epoch"], "epoch", 0, MOST_EPOCHS)
    for field in ("optimizer", "run", "belongs_to"):
        value = content.get(field)
        if not isinstance(value, dict) and (value is not None or field == "belongs_to" and field in content):
            raise ValueError(f"{field} is {shown(value)}: it has to be a mapping")
    if "belongs_to" in content:
        identity = content["belongs_to"]
        for field in ("trainer", "backbone", "text"):
            if field not in identity and field != "text" or not isinstance(identity.get(field, ""), str):
                raise ValueError(f"belongs_to.{field} is {shown(identity.get(field))}: it has to be a text")
        texts(identity.get("classnames", ()), "belongs_to.classnames")


def from_published(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Learned tensors of a checkpoint under our names, in float32; what `learned_tensors` gives and raises."""
    half = (torch.float16, torch.bfloat16, torch.float64)
    return {name: value.float() if value.dtype in half else value for name, value in learned_tensors(state).items()}


def learned_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Learned tensors of a checkpoint under our names, as they are; frozen CLIP weights and stored tokens are left out.

    Args:
        state: a `state_dict` with published names or with ours (which pass through).

    Returns:
        name -> tensor; 1x1 convolutions of a published projector become linear layers (o, i).

    Raises:
        ValueError: a value is no tensor, has no elements, or another number of dimensions.
    """
    learned = {}
    for key, value in state.items():
        name = _our_name(key)
        if name is None:
            continue
        if not isinstance(value, Tensor):
            raise ValueError(f"{shown(key)} is {shown(value)}, no tensor")
        dimensions = next((number for begin, number in _DIMENSIONS.items() if name.startswith(begin)), range(5))
        if not value.numel() or value.dim() not in dimensions:
            raise ValueError(f"{shown(key)} is a tensor of {tuple(value.shape)}: nothing is learned in that")
        learned[name] = value.flatten(1) if name.startswith("projector") and value.dim() == 4 else value
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
        ValueError: a tensor is missing, too many, of another shape or another kind of number, or has a number that
            is not finite; the message names the first of each kind.
    """
    try:
        learned = learned_tensors(state)
    except ValueError as error:
        raise ValueError(f"{named(source)}: {error}") from error
    tensors.check_tensors(learned, module.state_dict(), source)
    module.load_state_dict(learned)


def start_from(module: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Loads learned tensors to go on from; visual prompts or a tuned encoder join where they have nothing of the kind.

    So a student goes on with a projector that was learned alone.

    Raises:
        ValueError: see `load_learned`.
    """
    try:
        known = list(learned_tensors(state))
    except ValueError:
        known = []  # load_learned says what is wrong
    for begin, what in _JOINING.items():
        part = {name: value for name, value in module.state_dict().items() if name.startswith(begin)}
        if part and known and not any(name.startswith(begin) for name in known):
            log.info("%s has no %s: these join as they start", named(source), what)
            state = {**state, **part}
    load_learned(module, state, source)


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
