"""The state of an optimiser that is to go on, compared with the optimiser before it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from promptkd.bounded import shown


def check_optimizer(state: Any, optimizer: Optimizer) -> None:
    """Compares a stored state with the optimiser that is to take it.

    Raises:
        ValueError: it is no such state, of other parameters or sizes, or has numbers that are not finite.
    """
    groups = state.get("param_groups") if isinstance(state, dict) else None
    slots = state.get("state") if isinstance(state, dict) else None
    if not isinstance(groups, list) or not isinstance(slots, dict) or len(groups) != len(optimizer.param_groups):
        raise ValueError(f"optimizer is {shown(state)}, no state of this run's optimiser")
    parameters: list[Tensor] = []
    for number, (group, ours) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        where, last = f"optimizer.param_groups[{number}]", len(parameters) + len(ours["params"])
        if not isinstance(group, dict) or not isinstance(group.get("params"), list):
            raise ValueError(f"{where} is {shown(group)}, no group of this run's optimiser")
        if lacking := [key for key in ours if key not in group and key != "initial_lr"]:
            raise ValueError(f"{where} has no {lacking[0]}: it is of another optimiser")
        if group["params"] != list(range(len(parameters), last)):
            raise ValueError(f"{where}.params is {shown(group['params'])}: it is of another model")
        for key in ours.keys() & group.keys() - {"params"}:
            _check_setting(group[key], ours[key], f"{where}.{key}")
        parameters += ours["params"]
    for index, values in slots.items():
        where = f"optimizer.state[{shown(index)}]"
        if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(values, dict):
            raise ValueError(f"{where} is of no parameter of this model")
        _check_values(values, parameters[index], where)


def _check_values(values: Mapping[Any, Any], parameter: Tensor, where: str) -> None:
    """Raises ValueError where what an optimiser keeps of a parameter has another shape, or is not finite."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            if (value.dim() and value.shape != parameter.shape) or not value.isfinite().all():
                raise ValueError(f"{where}.{shown(name)} is of shape {tuple(value.shape)}, or not finite")
        elif value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f"{where}.{shown(name)} is {shown(value)}, no number")


def _check_setting(value: Any, ours: Any, where: str) -> None:
    """Raises ValueError where a stored setting, as a learning rate, is of another kind than ours."""
    if isinstance(ours, (tuple, list)):
        if not isinstance(value, (tuple, list)) or len(value) != len(ours):
            raise ValueError(f"{where} is {shown(value)}, where {shown(ours)} is meant")
        for one, other in zip(value, ours, strict=True):
            _check_setting(one, other, where)
    elif isinstance(ours, (int, float)) and not isinstance(ours, bool):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{where} is {shown(value)}, no finite number")
    elif value is not None and ours is not None and not isinstance(value, type(ours)):
        raise ValueError(f"{where} is {shown(value)}, where {shown(ours)} is meant")
