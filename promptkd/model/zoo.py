"""Frozen open_clip models by name or path; their weights are taken from this disk where they are, else downloaded."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import open_clip
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, build_model_from_openai_state_dict
from open_clip.pretrained import get_pretrained_url, list_pretrained_models_by_tag
from torch import Tensor

from promptkd.bounded import named, shown
from promptkd.home import ROOT
from promptkd.model.clip_config import is_plain, read_config
from promptkd.model.open_clip_names import from_open_clip
from promptkd.model.parts import Clip
from promptkd.model.prompting import shape_of
from promptkd.model.timm_names import TIMM, from_timm
from promptkd.model.weights import check_values, read_state
from promptkd.texts import clipped, closest

log = logging.getLogger(__name__)

MINI = ROOT / "clip" / "mini"
# OpenAI writes "ViT-L/14@336px" where open_clip writes "ViT-L-14-336".
OPENAI = {
    {"ViT-L-14-336": "ViT-L/14@336px"}.get(arch, arch.replace("ViT-B-", "ViT-B/").replace("ViT-L-", "ViT-L/")): arch
    for arch in list_pretrained_models_by_tag("openai")
    if not arch.endswith("-quickgelu")
}
_TEXT_PARTS = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection", "text")

_LARGEST_TABLE = 2**26  # numbers


def available_models() -> list[str]:
    """The names of the bundled models and of OpenAI's; open_clip's `architecture:tag` and `hf-hub:` names also work."""
    return [*sorted(path.stem for path in MINI.glob("*.safetensors")), *OPENAI]


def weight_directories() -> list[Path]:
    """The folders in which a weight file is looked for, in this order; the last one receives downloads."""
    cache = os.environ.get("CLIP_CACHE", "~/.cache/clip")
    return [Path("clip"), ROOT / "clip", Path("weights"), Path(cache).expanduser()]


def load_clip(name: str, text: bool = True) -> Clip:
    """Loads a frozen open_clip model in evaluation mode, float32, on the CPU.

    Args:
        name: OpenAI's name ("ViT-B/16"), a bundled one ("mini-student"), open_clip's "architecture:pretrained" where
            pretrained is a tag or a file, "hf-hub:org/model", "timm:NAME" (no text encoder), or a file (OpenAI's
            archive or state dict; safetensors with an open_clip_config.json, or a .json of its own name, beside it).
        text: whether the text encoder is loaded; a student that is only evaluated or served does without.

    Raises:
        ValueError: there is no model of that name (the message has the closest one), or a file holds no CLIP.
        OSError: weights could not be fetched; the message gives the URL, the checksum and where to put the file.
    """
    if (MINI / f"{name}.safetensors").is_file():
        model = _from_file(MINI / f"{name}.safetensors", text)
    elif name in OPENAI:
        model = _from_file(fetch(get_pretrained_url(OPENAI[name], "openai")), text)
    elif Path(name).is_file():
        model = _from_file(Path(name), text)
    elif name.startswith(TIMM):
        model = from_timm(name)
    elif name.startswith("hf-hub:") or name.partition(":")[0].replace("/", "-") in open_clip.list_models():
        model = from_open_clip(name, text)
    else:
        close = closest(name, [*available_models(), *open_clip.list_models()], 0.4)
        raise ValueError(
            f"no CLIP model {shown(name)}"
            + (f"; closest: {close!r}" if close else "")
            + f". Choose one of {', '.join(available_models())}, open_clip's architecture:tag, hf-hub:..., timm:... or "
            "a file"
        )
    if not text:
        if not hasattr(model.visual, "output_dim"):  # of timm's towers in open_clip, which the text encoder tells
            model.visual.output_dim = shape_of(model).embed_dim
        for part in _TEXT_PARTS:
            if hasattr(model, part):
                setattr(model, part, None)
    model.requires_grad_(False)
    return model.eval()


def fetch(url: str) -> Path:
    """The path of a weight file of OpenAI's by its URL, which ends in its sha256 and its name; downloaded if needed.

    Raises:
        OSError: it could not be fetched; the message gives the URL, the checksum and where to put the file.
    """
    *_, checksum, file_name = url.split("/")
    for directory in weight_directories():
        if (directory / file_name).is_file():
            return directory / file_name
    target = weight_directories()[-1] / file_name
    log.info("Downloading %s to %s", file_name, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # writes to a temporary file, shows progress, checks the sha256, then renames
        torch.hub.download_url_to_file(url, str(target), hash_prefix=checksum)
    except (URLError, OSError, RuntimeError) as error:
        places = ", ".join(str(directory / file_name) for directory in weight_directories())
        raise OSError(
            f"cannot fetch the weights {file_name} ({error}). Fetch {url} (sha256 {checksum}) elsewhere and put it at "
            f"one of: {places}"
        ) from error
    return target


def _from_file(path: Path, text: bool) -> Clip:
    """A model from a weight file, and the configuration beside it where there is one."""
    files = [path.with_suffix(".json"), path.parent / "open_clip_config.json"]
    file = next((file for file in files if file.is_file()), None)
    config = None if file is None else read_config(file)
    if config is not None and not is_plain(config["model_cfg"]):
        return from_open_clip(f"local-dir:{path.parent}", text)
    return from_state(read_state(path), config, str(path), text)


def from_state(
    state: dict[str, Tensor], config: dict[str, Any] | None = None, source: str = "the state dict", text: bool = True
) -> Clip:
    """Builds a model from its tensors, without initialising it, and checks that every tensor is given.

    The model's `config` is the one given, or {}.

    Args:
        state: tensors under the names of OpenAI's and open_clip's plain CLIP; they become float32.
        config: open_clip's configuration; None for OpenAI's architecture of these shapes.
        source: the origin of the tensors, for messages.
        text: whether the text encoder is built.

    Raises:
        ValueError: the tensors are no CLIP's, or not those of this architecture.
    """
    state = {key: value for key, value in state.items() if key != "attn_mask"}  # no weight: made anew below
    check_values(state, source)
    try:
        with torch.device("meta"):
            model = _empty_model(source, state, config)
        if not text:
            for part in _TEXT_PARTS:
                setattr(model, part, None)
            state = {key: value for key, value in state.items() if key.startswith(("visual.", "logit_"))}
        model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{named(source)} does not fit its architecture: {clipped(error, 400)}") from error
    length = model.context_length
    model.attn_mask = torch.full((length, length), float("-inf")).triu_(1)
    model.config = config or {}
    return model


def _empty_model(source: str, state: dict[str, Tensor], config: dict[str, Any] | None) -> Clip:
    """The architecture of a state dict, from its configuration or else from its shapes; completes the state dict."""
    if config is not None:
        try:
            model = CLIP(**config["model_cfg"], cast_dtype=torch.float16)  # norms in float32, whatever the weights are
        except Exception as error:  # sizes that do not go together: open_clip and PyTorch have many kinds of error
            raise ValueError(f"the configuration of {named(source)} makes no CLIP ({clipped(error)})") from error
        model.visual.preprocess_cfg = config.get("preprocess_cfg", {})
        if not hasattr(model.visual, "output_dim"):  # timm's
            model.visual.output_dim = config["model_cfg"]["embed_dim"]
        if "token_ids" in state:
            try:
                state["token_embedding.weight"] = _full_table(state, model.vocab_size)
            except (ValueError, KeyError) as error:
                raise ValueError(f"{named(source)}: {clipped(error)}") from error
        return model
    if "text_projection" not in state or "ln_final.weight" not in state:
        raise ValueError(
            f"{named(source)} holds no CLIP state dict (first keys: {clipped(', '.join(list(state)[:3]))}); "
            f"give open_clip weights as architecture:{source}"
        )
    if "input_resolution" not in state:
        log.info(
            "%s names no architecture: read as OpenAI's (QuickGELU); for others give architecture:%s", source, source
        )
    for key in ("input_resolution", "context_length", "vocab_size"):
        state.pop(key, None)
    try:
        return build_model_from_openai_state_dict({key: value.to("meta") for key, value in state.items()})
    except Exception as error:  # as above: it takes sizes from the shapes of tensors that may be missing or odd
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{named(source)} does not fit its architecture: {clipped(reason)}") from error


def _full_table(state: dict[str, Tensor], vocab_size: int) -> Tensor:
    """The token table of a bundled model, which stores the rows of its training words; all other rows are zero."""
    ids, rows = state.pop("token_ids").flatten().long(), state["token_embedding.weight"].float()
    if rows.dim() != 2 or len(ids) != len(rows) or not ((ids >= 0) & (ids < vocab_size)).all():
        raise ValueError(f"token_ids of shape {tuple(ids.shape)} for a table of {tuple(rows.shape)}")
    if vocab_size * rows.shape[1] > _LARGEST_TABLE:
        raise ValueError(f"a table of {vocab_size} tokens with {rows.shape[1]} channels is too large")
    table = torch.zeros(vocab_size, rows.shape[1], device="cpu")
    table[ids] = rows
    return table


def image_statistics(model: Clip) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation, per channel of values in [0, 1], by which a model's images are normalised."""
    config = getattr(model.visual, "preprocess_cfg", {})
    return tuple(config.get("mean", OPENAI_DATASET_MEAN)), tuple(config.get("std", OPENAI_DATASET_STD))
