"""The page of all options, docs/options.md, from their declarations: `python train.py --options > docs/options.md`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from typing import Any

from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from promptkd.data.benchmark import DATASET_DEFAULTS
from promptkd.engine import config
from promptkd.engine.checks import NOT_READ, value_of
from promptkd.engine.keys import DASSL, OF_DATASETS, OURS, SECTIONS, Key
from promptkd.engine.limits import Limits
from promptkd.engine.options import MethodOptions, kinds_of
from promptkd.home import ROOT

INTRODUCTION = """\
# Options

Every option with its default and its meaning, made by `python train.py --options > docs/options.md` from the
declarations in the code (a test compares them); with a method of your own in `trainers/` the command lists its options
too.

On the command line an option is a pair behind the flags, as `TRAINER.PROMPTKD.KD_WEIGHT 200`; in a YAML file it is
nested. A text is taken as it is typed, in YAML too (`2024_11_26` stays that); a number is written in decimal digits,
not `010` or `1:30`; a switch is `True` or `False`, a list `"(224, 224)"`. A key stands there once. `~` is the home
folder in every path, and a relative path counts from the current folder.

Later sources win: the defaults, `configs/base.yaml`, the data set's file, the recipe (`--config-file`), the recipe's
`PER_DATASET` options for this data set, flags, pairs. A key that does not exist is refused with the closest one that
does, a value outside the limits below with what it may be, before any data are read. A key that you give and that this
method, data set or mode does not read is named in a warning; with `STRICT True` it is an error. The defaults below are
those after `configs/base.yaml`; where it differs from Dassl, Dassl's is in brackets. `config.yaml` of a run holds all
of its values.
"""


def page(flags: argparse.ArgumentParser) -> str:
    """The page in Markdown: flags, the options of every registered method, and all other keys.

    Args:
        flags: the command line of train.py.

    Raises:
        KeyError: a key of Dassl's that promptkd.engine.keys does not declare.
    """
    plain = config.default_config(DATASET_DEFAULTS)
    base = plain.clone()
    config.merge_file(base, ROOT / "configs" / "base.yaml")
    parts = [INTRODUCTION, "## Flags of train.py\n", _table(["flag", "meaning"], _flag_rows(flags)), "## Methods\n"]
    for name in sorted(TRAINER_REGISTRY.registered_names()):
        trainer = TRAINER_REGISTRY.get(name)
        if hasattr(trainer, "Options"):
            kinds = kinds_of(trainer, name)
            sections = list(kinds)
            parts += [f"### {name}: `TRAINER.{sections[0]}.`\n", f"{_first_line(trainer)}\n"]
            if len(sections) > 1:
                parts.append(f"The options of {name.rpartition('_')[0]}, and in `TRAINER.{sections[1]}.`:\n")
            parts.append(_table(["option", "default", "meaning"], _method_rows(kinds[sections[-1]])))
    rows = [(f"`{key}`", _shown(value_of(base, key)), _meaning(entry)) for key, entry in (OURS | OF_DATASETS).items()]
    parts += ["## Keys of this project\n", _table(["key", "default", "meaning"], rows)]
    parts += ["## Keys of Dassl\n", _table(["key", "default", "meaning"], _dassl_rows(base))]
    return "\n".join(parts)


def _flag_rows(flags: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in flags._actions:
        if action.option_strings:
            yield f"`{action.option_strings[-1]}`", action.help or ""


def _method_rows(options: type[MethodOptions]) -> Iterator[tuple[str, str, str]]:
    for entry in fields(options):
        if entry.default is not MISSING:
            meaning = Key(entry.metadata.get("meaning", ""), Limits.of(entry.metadata))
            yield f"`{entry.name.upper()}`", _shown(entry.default), _meaning(meaning)


def _meaning(key: Key) -> str:
    """The meaning of a key and its limits, where the meaning does not say them."""
    limits, meaning = key.limits, key.meaning
    if limits.choices:
        left = [str(choice) for choice in limits.choices if str(choice) not in meaning]
        several = f"{', '.join(left[:-1])} or {left[-1]}" if left[1:] else f"only {''.join(left)}"
        return f"{meaning}; {several}" if left else meaning
    return f"{meaning}; {limits.text()}" if limits.text() else meaning


def _dassl_rows(base: CfgNode) -> Iterator[tuple[str, str, str]]:
    """Rows of Dassl's keys; a section whose keys share a meaning is one row."""
    default, sections = get_cfg_default(), set()
    for key in leaves(default):
        section = f"{key.rpartition('.')[0]}.*"
        if section in SECTIONS:
            if section not in sections:
                yield f"`{section}`", "", SECTIONS[section]
            sections.add(section)
            continue
        value, before = _shown(value_of(base, key)), _shown(value_of(default, key))
        refused = f"not read, prompt trainers refuse another value ({DASSL[key].meaning})"
        meaning = refused if key in NOT_READ else _meaning(DASSL[key])
        yield f"`{key}`", value if value == before else f"{value} ({before})", meaning


def leaves(node: CfgNode, prefix: str = "") -> Iterator[str]:
    """Dotted names of all values of a configuration."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _first_line(trainer: type) -> str:
    return (trainer.__doc__ or "").strip().partition("\n")[0]


def _shown(value: Any) -> str:
    """A value as it is written on a command line."""
    return f"`{value}`" if value != "" else '`""`'


def _table(heads: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [
        heads,
        ["---"] * len(heads),
        *([cell.replace("|", "\\|").replace("<", "\\<") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
