"""Models by open_clip's names. open_clip and the Hub bring the files; what is in them is read and checked here.

open_clip builds the architectures and translates the names of several projects' weights; it gets tensors that were
read by promptkd.tensors, never a file that it would unpickle.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from open_clip import factory
from open_clip.pretrained import (
    download_pretrained,
    download_pretrained_from_hf,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)
from safetensors.torch import save_file
from torch import Tensor

from promptkd.bounded import named, shown
from promptkd.model.clip_config import read_config
from promptkd.model.parts import Clip
from promptkd.model.weights import NUMBERS, read_state
from promptkd.tensors import check_finite
from promptkd.tensors.numpy_files import read_numpy
from promptkd.texts import clipped

HUB, FOLDER = "hf-hub:", "local-dir:"
CONFIG_FILE = "open_clip_config.json"


@dataclass(frozen=True)
class _Release:
    """What a name stands for: an architecture, its weights, and how images are made for it.

    Attributes:
        arch: open_clip's name of it, or the whole name where `config` is given.
        weights: the file.
        config: open_clip's configuration, where it comes with the weights.
        preprocessing: mean, deviation and so on, where they go with the weights.
    """

    arch: str
    weights: Path
    config: dict[str, Any] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def from_open_clip(name: str, text: bool = True) -> Clip:
    """A model by open_clip's name: "architecture:tag", "architecture:FILE", "hf-hub:org/model" or "local-dir:FOLDER".

    Without `text` it has no tokenizer, which some architectures (SigLIP's) would fetch.

    Raises:
        ValueError: no such tag or file, or a file that cannot be used; the message names it and the field.
        OSError: a file could not be fetched.
    """
    arch = name if name.startswith((HUB, FOLDER)) else name.partition(":")[0].replace("/", "-")
    try:
        release = _find(name)
        model = _built(release)
        model.tokenizer = open_clip.get_tokenizer(arch) if text else None
        model.config = release.config or {"model_cfg": open_clip.get_model_config(arch)}
    except ValueError:
        raise
    except (RuntimeError, OSError, KeyError, TypeError, AttributeError) as error:
        raise OSError(
            f"cannot load {clipped(name)}: {clipped(error, 300)}. "
            f"Without a network, fetch the file elsewhere and give {clipped(arch)}:FILE"
        ) from error
    return model


def _find(name: str) -> _Release:
    """The files of a name, fetched where they are not there."""
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        config = read_config(download_pretrained_from_hf(repository, filename=CONFIG_FILE))
        return _Release(name, Path(download_pretrained_from_hf(repository)), config)
    if name.startswith(FOLDER):
        folder = Path(name.removeprefix(FOLDER))
        if not (weights := factory._find_checkpoint_in_dir(folder)):
            raise ValueError(f"{named(folder)} has no weight file beside its {CONFIG_FILE}")
        return _Release(name, Path(weights), read_config(folder / CONFIG_FILE))
    arch, _, pretrained = name.partition(":")
    arch = arch.replace("/", "-")
    tags = list_pretrained_tags_by_model(arch)
    if Path(pretrained).is_file() and pretrained not in tags:
        return _Release(arch, Path(pretrained))
    if pretrained not in tags:
        raise ValueError(
            f"{shown(name)}: {shown(pretrained)} is neither a file nor weights of {arch}; "
            f"write {arch}:FILE or {arch}:TAG with one of {', '.join(tags) or '(none published)'}"
        )
    about = get_pretrained_cfg(arch, pretrained)
    return _Release(arch, Path(download_pretrained(about)), None, about)


def _built(release: _Release) -> Clip:
    """The model of a release with its weights."""
    source = release.weights
    with TemporaryDirectory() as folder:
        arch, checked = release.arch, source
        if release.config:
            Path(folder, CONFIG_FILE).write_text(json.dumps(release.config), encoding="utf-8")
            arch = f"{FOLDER}{folder}"
        if source.suffix == ".npz":  # of big_vision
            numbers = {name: torch.from_numpy(value) for name, value in read_numpy(source).items()}
        else:
            state = read_state(source)
            numbers = {key: value for key, value in state.items() if key.rpartition(".")[2] not in NUMBERS}
        _check(numbers, source)
        if source.suffix != ".npz":
            checked = Path(folder) / "checked.safetensors"  # open_clip translates names from a file alone
            save_file({key: value.detach().clone().contiguous() for key, value in numbers.items()}, checked)
        try:
            _check_size(arch, release, sum(value.numel() for value in numbers.values()))
            model = open_clip.create_model(
                arch, load_weights=False, pretrained_text=False, force_preprocess_cfg=dict(release.preprocessing)
            )
            factory.load_checkpoint(model, str(checked))
        except (RuntimeError, KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
            if isinstance(error, RuntimeError) and "install" in str(error):  # a library that is not there
                raise
            what = release.arch if release.config is None else "its configuration"
            raise ValueError(f"{named(source)} does not fit {what}: {clipped(error, 400)}") from error
    return model


def _check(numbers: Mapping[str, Tensor], source: Path) -> None:
    """Raises ValueError where weights are not finite, or no numbers; some towers keep whole numbers, too."""
    if not numbers:
        raise ValueError(f"{named(source)} holds no tensors")
    for name, value in numbers.items():
        if value.is_complex() or not value.numel():
            raise ValueError(f"{named(source)}: {clipped(name)} is {tuple(value.shape)} of {value.dtype}, no weights")
        check_finite(value, name, source)


def _check_size(arch: str, release: _Release, there: int) -> None:
    """Raises ValueError where an architecture wants far more numbers than a file holds, before memory is taken."""
    # Not every tower can be built without numbers; what is wrong with a configuration shows when it is built with them.
    with contextlib.suppress(NotImplementedError, RuntimeError), torch.device("meta"):
        model = open_clip.create_model(arch, load_weights=False, pretrained_text=False, device="meta")
        wanted = sum(value.numel() for value in model.parameters())
        if wanted > 2 * there + 1_000_000:
            what = release.arch if release.config is None else "its configuration"
            raise ValueError(f"{named(release.weights)} holds {there:,} numbers, {clipped(what)} wants {wanted:,}")
