"""From configuration to a torch optimiser."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from dassl.utils import check_availability

from .radam import RAdam

AVAI_OPTIMS = ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]


def build_optimizer(
    model: nn.Module | Iterable[Any],
    optim_cfg: CfgNode,
    param_groups: Iterable[Any] | None = None,
) -> torch.optim.Optimizer:
    """Build the optimiser that `optim_cfg` (the node cfg.OPTIM) asks for.

    Args:
        model: a module, or parameters or parameter groups.
        param_groups: used in place of the model's parameters; then STAGED_LR does not apply.

    Raises:
        ValueError: unknown OPTIM.NAME, or STAGED_LR without a module or with a layer that the module lacks.
    """
    check_availability(optim_cfg.NAME, AVAI_OPTIMS)
    if param_groups is not None:
        if optim_cfg.STAGED_LR:
            warnings.warn("OPTIM.STAGED_LR does not apply, as parameter groups were given", stacklevel=2)
        params: Any = param_groups
    elif optim_cfg.STAGED_LR:
        params = _staged_groups(model, optim_cfg)
    else:
        params = model.parameters() if isinstance(model, nn.Module) else model

    common = {"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY}
    betas = (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)
    eps = optim_cfg.get("EPS", 1e-8)  # a key of forks
    if optim_cfg.NAME == "sgd":
        return torch.optim.SGD(
            params,
            momentum=optim_cfg.MOMENTUM,
            dampening=optim_cfg.SGD_DAMPNING,
            nesterov=optim_cfg.SGD_NESTEROV,
            **common,
        )
    if optim_cfg.NAME == "rmsprop":
        return torch.optim.RMSprop(params, momentum=optim_cfg.MOMENTUM, alpha=optim_cfg.RMSPROP_ALPHA, **common)
    if optim_cfg.NAME == "radam":
        return RAdam(params, betas=betas, eps=eps, **common)
    if optim_cfg.NAME == "adamw":
        return torch.optim.AdamW(params, betas=betas, eps=eps, **common)
    return torch.optim.Adam(params, betas=betas, eps=eps, amsgrad=optim_cfg.NAME == "amsgrad", **common)


def _staged_groups(model: Any, optim_cfg: CfgNode) -> list[dict[str, Any]]:
    """Layers in NEW_LAYERS at the full rate, all others at LR * BASE_LR_MULT."""
    if not isinstance(model, nn.Module):
        raise ValueError("OPTIM.STAGED_LR needs the module itself, not its parameters")
    new_layers = optim_cfg.NEW_LAYERS
    new_layers = [new_layers] if isinstance(new_layers, str) else list(new_layers)
    children = dict(model.named_children())
    for name in new_layers:
        check_availability(name, children)
    if not new_layers:
        warnings.warn("OPTIM.STAGED_LR is on but OPTIM.NEW_LAYERS is empty: all layers learn slowly", stacklevel=3)
    new = [p for name in new_layers for p in children[name].parameters()]
    ids = {id(p) for p in new}
    base = [p for p in model.parameters() if id(p) not in ids]
    return [
        {"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT},
        {"params": new},
    ]
