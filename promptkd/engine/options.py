"""Options of a method as a dataclass, one declaration for the configuration, its checks and the page of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from yacs.config import CfgNode

from promptkd.engine.limits import Limits
from promptkd.results.settings import node_of, sections_of

LONGEST, MOST_TOKENS, DEEPEST = 1000, 1000, 100  # context tokens, visual tokens and blocks that any model could have
LARGEST_WEIGHT = 1e6  # of a part of the loss
LEARNS_WORDS = {"TEMPLATE": "the words around the class name are learned"}  # `not_read` of such a method
PRECISION_MEANS = (
    "arithmetic: fp32, bf16, fp16 or amp; a CPU takes bf16 for fp16 and amp where it is quicker, else fp32"
)
PRECISIONS = ("fp32", "bf16", "fp16", "amp")


def option(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[Any] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    filled: bool = False,
    path: bool = False,
    words: bool = False,
    entry: type | None = None,
    hint: str = "",
) -> Any:
    """One option: `n_ctx: int = option(16, "context tokens")` is TRAINER.<METHOD>.N_CTX.

    Args:
        default: its value where nobody gives one.
        meaning: a line for the page of options.
        choices: all values that it may have.
        least, most: the smallest and the largest value.
        above, below: a number that it must exceed, or stay under.
        filled: whether a text must not be empty.
        path: whether it is a file or a folder (or may be one), whose ~ is the home folder.
        words: whether it is text around the class name, which has no place in it.
        entry: kind of a list's entries: int, float or str.
        hint: what the message of a wrong value says; without it, what it may be.
    """
    limits: dict[str, Any] = {"choices": tuple(choices), "least": least, "most": most, "above": above, "below": below}
    limits |= {"filled": filled, "path": path, "words": words, "entry": entry, "hint": hint}
    return field(default=default, metadata=limits | {"meaning": meaning})


@dataclass(frozen=True)
class MethodOptions:
    """What every method has."""

    prec: str = option("fp16", PRECISION_MEANS, choices=PRECISIONS)

    def check(self, cfg: CfgNode) -> None:
        """Raises ValueError for what an option alone does not show to be wrong."""

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        """Keys that a run with these options does not read -> why, as "CTX_INIT has the words"; dotted names."""
        return {}


def defaults_of(kind: type[MethodOptions]) -> CfgNode:
    """The options of a method with their defaults, as a node of the configuration."""
    return CfgNode({entry.name.upper(): entry.default for entry in fields(kind) if entry.default is not MISSING})


def limits_of(kind: type[MethodOptions], trainer: str) -> dict[str, Limits]:
    """Dotted key -> limits of a method's options.

    Args:
        kind: its dataclass.
        trainer: its registered name.
    """
    return limits_in(kind, node_of(trainer))


def limits_in(kind: type[MethodOptions], section: str) -> dict[str, Limits]:
    """Dotted key -> limits of the options in a section of cfg.TRAINER."""
    return {f"TRAINER.{section}.{one.name.upper()}": Limits.of(one.metadata) for one in fields(kind)}


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


def kinds_of(trainer: Any, name: str) -> dict[str, type[MethodOptions]]:
    """Section of cfg.TRAINER -> dataclass of the options that a trainer reads there.

    Args:
        trainer: its class: `Options`, and `AddedOptions` of further sections.
        name: its registered name.
    """
    return dict(zip(sections_of(name), (trainer.Options, *getattr(trainer, "AddedOptions", ())), strict=True))


def read_all(trainer: Any, name: str, cfg: CfgNode) -> list[MethodOptions]:
    """The options of all sections that a trainer reads, its own first; raises what `read_options` does."""
    return [read_section(kind, section, cfg) for section, kind in kinds_of(trainer, name).items()]


def read_section(kind: type[MethodOptions], section: str, cfg: CfgNode) -> Any:
    """The options in a section of cfg.TRAINER, checked; raises what `read_options` does."""
    node = cfg.TRAINER.get(section, CfgNode())
    values = {entry.name: node.get(entry.name.upper(), entry.default) for entry in fields(kind)}
    for (key, limits), value in zip(limits_in(kind, section).items(), values.values(), strict=True):
        limits.check(key, value)
    return kind(**values)
