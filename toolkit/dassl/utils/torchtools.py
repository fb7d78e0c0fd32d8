"""Checkpoints, and what to train in a network."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .reading import check_fields, load_state, read_content
from .tools import atomic_write, listdir_nohidden, tolist_if_not


def save_checkpoint(
    state: Mapping[str, Any],
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write a checkpoint that loads under `weights_only=True`, and its name to the text file `checkpoint` beside it.

    Both are written atomically, the checkpoint first: an interrupted save leaves the earlier one in force.

    Args:
        state: dict with state_dict, epoch (finished epochs), optimizer, scheduler, val_result.
        is_best: also copy to `model-best.pth.tar`.
        remove_module_from_keys: drop the "module." of wrapped models.
        model_name: file name in place of `model.pth.tar-<epoch>`.

    Raises:
        OSError: the folder cannot be written.
    """
    state = _plain(state)
    if remove_module_from_keys:
        weights = state["state_dict"]
        state["state_dict"] = type(weights)((key.removeprefix("module."), value) for key, value in weights.items())
    name = model_name or f"model.pth.tar-{state['epoch']}"
    fpath = os.path.join(save_dir, name)
    with atomic_write(fpath) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # how PyTorch says that it could not write
            reason = str(error).splitlines()[0]
            raise OSError(
                f'cannot write "{fpath}" ({reason}); is the disk full? The earlier checkpoint stays'
            ) from error
    print(f"Checkpoint saved to {fpath}")
    with atomic_write(os.path.join(save_dir, "checkpoint")) as temporary, open(temporary, "w") as file:
        file.write(f"{name}\n")
    if is_best:
        with atomic_write(os.path.join(save_dir, "model-best.pth.tar")) as temporary:
            shutil.copy(fpath, temporary)


def _plain(value: Any) -> Any:
    """Copy with NumPy numbers as Python's, since `weights_only=True` refuses NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict) and type(value).__name__ in ("dict", "OrderedDict"):
        return type(value)((key, _plain(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def load_checkpoint(fpath: str) -> dict[str, Any]:
    """Read a checkpoint to the CPU; nothing in it is run.

    Raises:
        FileNotFoundError: no such file; the message says what is in its folder.
        ValueError: the file holds other than tensors and plain values (as upstream's do), is damaged, or has a field of
            another kind; the message names it.
    """
    if not fpath:
        raise ValueError("the path of the checkpoint is empty")
    if not os.path.isfile(fpath):
        folder = os.path.dirname(fpath) or "."
        found = ", ".join(listdir_nohidden(folder, sort=True)) if os.path.isdir(folder) else "there is no such folder"
        raise FileNotFoundError(f'no checkpoint at "{fpath}"; in that folder: {found or "nothing"}')
    return check_fields(read_content(fpath), fpath)


def resume_from_checkpoint(
    fdir: str,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
) -> int:
    """Restore what the newest checkpoint of a folder holds.

    Returns:
        The epoch to go on with, counted from 0.

    Raises:
        FileNotFoundError: no text file `checkpoint` in the folder, or no file of the name in it.
        ValueError: that name leads out of the folder, or a field of the file is of another run.
        RuntimeError: the weights do not fit the model.
    """
    with open(os.path.join(fdir, "checkpoint"), encoding="utf-8") as file:
        name = file.readline(1000).strip()
    if name != os.path.basename(name) or name in ("", ".", ".."):
        raise ValueError(f'"{os.path.join(fdir, "checkpoint")}" names no file of its folder: {name[:80]!r}')
    fpath = os.path.join(fdir, name)
    print(f'Loading checkpoint from "{fpath}"')
    checkpoint = load_checkpoint(fpath)
    if lacking := [field for field in ("state_dict", "epoch") if field not in checkpoint]:
        raise ValueError(f'"{fpath}" has no {lacking[0]}: it is no checkpoint to go on from')
    model.load_state_dict(checkpoint["state_dict"])
    print("Loaded model weights")
    if optimizer is not None and checkpoint.get("optimizer") is not None:
        load_state(optimizer, checkpoint["optimizer"], "optimizer", fpath)
        print("Loaded optimizer")
    if scheduler is not None and checkpoint.get("scheduler") is not None:
        load_state(scheduler, checkpoint["scheduler"], "scheduler", fpath)
        print("Loaded scheduler")
    epoch = int(checkpoint["epoch"])
    print(f"Previous epoch: {epoch}")
    return epoch


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Load the weights that fit by name and shape, and report the rest.

    Raises:
        FileNotFoundError: no such file.
    """
    checkpoint = load_checkpoint(weight_path)
    weights = checkpoint.get("state_dict", checkpoint)
    own = model.state_dict()
    matched, left = {}, []
    for key, value in weights.items():
        name = key.removeprefix("module.")
        if name in own and isinstance(value, torch.Tensor) and own[name].shape == value.shape:
            matched[name] = value
        else:
            left.append(key)
    own.update(matched)
    model.load_state_dict(own)
    if not matched:
        warnings.warn(f'no weight of "{weight_path}" fits the model by name and shape', stacklevel=2)
        return
    print(f'Loaded {len(matched)} of {len(own)} weights from "{weight_path}"')
    if left:
        print(f"Left out, as the model has none of that name and shape: {', '.join(left)}")


def count_num_param(model: nn.Module | None = None, params: Iterable[Any] | None = None) -> int:
    """Count the numbers in a model's parameters, or in tensors or parameter groups.

    Raises:
        ValueError: neither was given.
    """
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is None:
        raise ValueError("count_num_param needs a model or parameters")
    count = 0
    for item in params:
        tensors = item["params"] if isinstance(item, dict) else item
        count += sum(p.numel() for p in ([tensors] if isinstance(tensors, torch.Tensor) else tensors))
    return count


def open_all_layers(model: nn.Module) -> None:
    """Train all layers: training mode and gradients on."""
    model.train()
    for p in model.parameters():
        p.requires_grad = True


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Train the named children of the model only; the others are in evaluation mode without gradients.

    Raises:
        ValueError: the model has no child of that name.
    """
    names = tolist_if_not(open_layers)
    children = dict(model.named_children())
    for name in names:
        if name not in children:
            raise ValueError(f"the model has no layer '{name}'; it has: {', '.join(children)}")
    for name, module in children.items():
        module.train(name in names)
        for p in module.parameters():
            p.requires_grad = name in names


def init_network_weights(model: nn.Module, init_type: str = "normal", gain: float = 0.02) -> None:
    """Draw the weights of linear and convolution layers anew: normal, xavier, kaiming or orthogonal.

    Normalisation layers get ones, biases zeros; `gain` is the standard deviation of normal, the gain of xavier and
    orthogonal.

    Raises:
        ValueError: another init_type.
    """
    if init_type not in ("normal", "xavier", "kaiming", "orthogonal"):
        raise ValueError(f"unknown init_type '{init_type}'; choose normal, xavier, kaiming or orthogonal")
    for module in model.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            if init_type == "normal":
                nn.init.normal_(module.weight, 0.0, gain)
            elif init_type == "xavier":
                nn.init.xavier_normal_(module.weight, gain=gain)
            elif init_type == "kaiming":
                nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
            else:
                nn.init.orthogonal_(module.weight, gain=gain)
        elif isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm) and weight is not None:
            nn.init.ones_(weight)
        else:
            continue
        if bias is not None:
            nn.init.zeros_(bias)
