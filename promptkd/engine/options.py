"""Options of a method as a dataclass, one declaration for the configuration, its checks and the page of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from yacs.config import CfgNode

from promptkd.results.settings import node_of


def option(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[Any] = (),
    least: float | None = None,
    above: float | None = None,
    hint: str = "",
) -> Any:
    """One option: `n_ctx: int = option(16, "context tokens")` is TRAINER.<METHOD>.N_CTX.

    Args:
        default: its value where nobody gives one.
        meaning: a line for the page of options.
        choices: all values that it may have.
        least, above: the smallest value, or the one that it must exceed.
        hint: what the message of a wrong value says; without it, what it may be.
    """
    limits = {"choices": tuple(choices), "least": least, "above": above}
    return field(default=default, metadata={"meaning": meaning, "hint": hint} | limits)


@dataclass(frozen=True)
class MethodOptions:
    """What every method has."""

    prec: str = option("fp16", "arithmetic: fp32, bf16, fp16 or amp; on a CPU fp16 and amp become fp32")

    def check(self, cfg: CfgNode) -> None:
        """Raises ValueError for what an option alone does not show to be wrong."""


def defaults_of(kind: type[MethodOptions]) -> CfgNode:
    """The options of a method with their defaults, as a node of the configuration."""
    return CfgNode({entry.name.upper(): entry.default for entry in fields(kind) if entry.default is not MISSING})


def read_options(kind: type[MethodOptions], trainer: str, cfg: CfgNode) -> Any:
    """A method's options from a configuration, checked.

    Args:
        kind: its dataclass.
        trainer: its registered name.
        cfg: a run's configuration.

    Raises:
        ValueError: a value that cannot be meant; the message names the key and what it may be.
    """
    return read_section(kind, node_of(trainer), cfg)


def read_section(kind: type[MethodOptions], section: str, cfg: CfgNode) -> Any:
    """The options in a section of cfg.TRAINER, checked; raises what `read_options` does."""
    node = cfg.TRAINER.get(section, CfgNode())
    values = {entry.name: node.get(entry.name.upper(), entry.default) for entry in fields(kind)}
    for entry in fields(kind):
        _check(f"TRAINER.{section}.{entry.name.upper()}", values[entry.name], entry)
    return kind(**values)


def _check(key: str, value: Any, entry: Field[Any]) -> None:
    """Raises ValueError where an option has a value that it may not have."""
    limits = entry.metadata
    choices, least, above = limits.get("choices", ()), limits.get("least"), limits.get("above")
    wanted = ""
    if choices and value not in choices:
        wanted = f"choose {', '.join(repr(choice) if choice == '' else str(choice) for choice in choices)}"
    elif least is not None and not value >= least:
        wanted = f"set {least:g} or more"
    elif above is not None and not value > above:
        wanted = f"set more than {above:g}"
    if wanted:
        raise ValueError(f"{key} {value!r}: {limits.get('hint') or wanted}")
