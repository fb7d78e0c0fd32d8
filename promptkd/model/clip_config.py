"""open_clip's JSON configurations: typed and bounded before a model is built from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptkd.bounded import named, read_json, shown, whole_number
from promptkd.texts import clipped

LONGEST_TEXT = 4096  # tokens
# Largest whole number of each size; a list is checked number by number (a ResNet's layers, an image's sides).
_SIZES = {
    "embed_dim": 16_384, "image_size": 4096, "layers": 200, "width": 16_384, "head_width": 4096, "patch_size": 512,
    "context_length": LONGEST_TEXT, "vocab_size": 1_000_000, "heads": 512,
}  # fmt: skip
_TOKENIZER = {"clean": str, "strip_sep_token": bool, "language": str}  # what released configurations give


def read_config(path: str | Path) -> dict[str, Any]:
    """The configuration of a CLIP: "model_cfg", and "preprocess_cfg" where it is given.

    Raises:
        ValueError: it is no such JSON, or a size is no whole number of a possible range; the message names file and
            field.
    """
    try:
        return check_config(read_json(path))
    except ValueError as error:
        where = "" if named(path) in str(error) else f"{named(path)}: "
        raise ValueError(f"{where}{error}") from error


def check_config(config: Any) -> dict[str, Any]:
    """The configuration itself; raises ValueError with the field where it is none, or a size is out of range."""
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise ValueError("no mapping model_cfg, as open_clip's configurations have")
    model = config["model_cfg"]
    _check(model, "model_cfg")
    for tower in ("vision_cfg", "text_cfg"):
        if not isinstance(model.get(tower), dict):
            raise ValueError(f"model_cfg.{tower} is {shown(model.get(tower))}: it has to be a mapping")
        _check(model[tower], f"model_cfg.{tower}")
    timm = model["vision_cfg"].get("timm_model_name") or ""
    if not isinstance(timm, str) or not re.fullmatch(r"[\w.]*", timm, re.ASCII):  # hf-hub:... would be fetched
        raise ValueError(f"model_cfg.vision_cfg.timm_model_name is {shown(timm)}: the name of a timm model is wanted")
    _check_tokenizer(model["text_cfg"])
    if "embed_dim" not in model:
        raise ValueError("model_cfg has no embed_dim")
    check_preprocessing(config.get("preprocess_cfg", {}))
    return config


def is_plain(model_cfg: Mapping[str, Any]) -> bool:
    """Whether a configuration is open_clip's plain CLIP, which needs no other library to be built."""
    towers = (model_cfg.get("vision_cfg", {}), model_cfg.get("text_cfg", {}))
    return not model_cfg.get("custom_text") and not any(key.endswith("_model_name") for cfg in towers for key in cfg)


def _check(section: Mapping[str, Any], where: str) -> None:
    for key, value in section.items():
        most = _SIZES.get(key)
        if not most or value is None:
            continue
        numbers = value if isinstance(value, list) and 0 < len(value) <= 8 else [value]
        for number in numbers:
            whole_number(number, f"{where}.{key}", 1, most)


def _check_tokenizer(section: Mapping[str, Any]) -> None:
    """Raises ValueError for what would let a tokenizer's library run code, or read another file of this machine.

    open_clip hands `tokenizer_kwargs` to transformers as they are, where `trust_remote_code` imports what a repository
    holds.
    """
    options = section.get("tokenizer_kwargs", {})
    if not isinstance(options, dict) or (odd := sorted(map(str, options.keys() - _TOKENIZER.keys()))):
        what = shown(options) if not isinstance(options, dict) else f"with {clipped(', '.join(odd))}"
        raise ValueError(
            f"model_cfg.text_cfg.tokenizer_kwargs is {what}: {', '.join(_TOKENIZER)} are known, and no others"
        )
    for key, value in options.items():
        if type(value) is not _TOKENIZER[key]:
            raise ValueError(f"model_cfg.text_cfg.tokenizer_kwargs.{key} is {shown(value)}, of another kind")
    for key in ("hf_tokenizer_name", "hf_model_name"):
        name = section.get(key, "")
        if not isinstance(name, str) or not re.fullmatch(r"([\w-][\w.-]*(/[\w-][\w.-]*)?)?", name, re.ASCII):
            raise ValueError(f"model_cfg.text_cfg.{key} is {shown(name)}: the name of a Hub's repository is wanted")


def check_preprocessing(section: Any) -> None:
    """Raises ValueError where a preprocess_cfg has no size, means and deviations that images can have."""
    if not isinstance(section, dict):
        raise ValueError(f"preprocess_cfg is {shown(section)}: it has to be a mapping")
    for key in ("mean", "std"):
        values = section.get(key, [1, 1, 1])
        numbers = isinstance(values, list) and len(values) == 3 and all(type(one) in (int, float) for one in values)
        if not numbers or (key == "std" and not min(values) > 0) or not max(map(abs, values)) < 1e4:
            raise ValueError(f"preprocess_cfg.{key} is {shown(values)}: three numbers are wanted, deviations above 0")
    size = section.get("size", 1)
    for number in size if isinstance(size, list) and len(size) == 2 else [size]:
        whole_number(number, "preprocess_cfg.size", 1, _SIZES["image_size"])
