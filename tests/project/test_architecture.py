"""Who may import whom: the table below against the import statements of every product file.

A part is a folder or a module; it may always import itself. What functions import while they run is allowed in a column
of its own, for commands answer at once and load what they need once their words are good. Imports that serve type
hints alone (`if TYPE_CHECKING`) do not count.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from promptkd.home import ROOT

# Without `promptkd.`: its parts, first what stands on nothing. Beside them trainers, datasets, clip (the face for
# foreign files) and dassl (the toolkit). `face` is promptkd.clip, the name that the face has once installed, too.
#
# part          imports                                                       and inside functions
ARROWS = """
  home        |                                                             |
  files       |                                                             |
  texts       |                                                             |
  bounded     | texts                                                       |
  errors      | files texts                                                 |
  tensors     | bounded texts                                                  |
  written     | bounded                                                     |
  aliases | bounded                                                 |
  logs        | texts                                                       |
  pages       | texts                                                       |
  exits     | files errors                                                 |
  guests      | home                                                        | trainers datasets
  __init__    | guests                                                      |
  __main__    |                                                             | __init__ exits logs texts
  model       | home files logs texts bounded tensors |
  launcher    |                                                             |
  distributed | model logs launcher                                         |
  data        | home files logs texts distributed dassl bounded errors | guests deploy
  results     | home files logs texts bounded |
  engine|home files logs texts distributed model data results dassl exits errors bounded tensors written aliases| guests
  teacher     | home files logs texts distributed model data results dassl engine bounded tensors exits |
  tables      | home files logs texts pages results bounded | deploy
  sweep       | home files logs texts results tables exits bounded written aliases errors | data engine guests host
 deploy|home files logs texts pages results bounded exits errors | model data engine teacher guests dassl tensors tables
  host        | home files texts bounded written results tables sweep exits errors | model data engine guests dassl
  clip        | files model bounded tensors |
  datasets    | home files logs texts data dassl bounded |
  trainers    | home files logs texts distributed model data engine teacher dassl face |
"""
# These answer --help and are imported by every command: not even by what they import do they load one of HEAVY.
LIGHT = (
    "__init__",
    "__main__",
    "guests",
    "home",
    "files",
    "texts",
    "bounded",
    "written",
    "aliases",
    "logs",
    "exits",
    "pages",
    "results",
    "tables",
    "sweep",
)
LIGHT += ("deploy",)
HEAVY = ("torch", "torchvision", "open_clip", "dassl", "sklearn", "scipy", "tensorboard", "ray")
NO_CFG = ("model",)  # parts that know no configuration
FOLDERS = ("promptkd", "trainers", "datasets", "clip")


class Import(NamedTuple):
    """An import statement's target, and where it stands."""

    target: str  # as `promptkd.model.zoo`
    line: int
    inside: bool  # of a function


@functools.cache
def modules() -> dict[str, Path]:
    """Name -> file of every product module."""
    found = {}
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@functools.cache
def imports(name: str) -> tuple[Import, ...]:
    """What a module imports, relative imports spelled out."""
    path = modules()[name]
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    return tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), package, False))


def _imports(node: ast.AST, package: str, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
            module = ".".join((*above, *([child.module] if child.module else [])))
            for alias in child.names:
                whole = f"{module}.{alias.name}"
                yield Import(whole if whole in modules() else module, child.lineno, inside)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module") and child.args:
            constant = child.args[0]
            text = constant.values[0] if isinstance(constant, ast.JoinedStr) else constant
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield Import(text.value.rstrip("."), child.lineno, True)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, package, inside or function)


def part_of(name: str) -> str:
    """The part that a module belongs to; "" of one that is not the project's."""
    first, _, rest = name.partition(".")
    if first == "promptkd":
        part = rest.partition(".")[0] or "__init__"
        return {"clip": "face"}.get(part, part)
    return first if first in (*FOLDERS, "dassl", "tools", "train", "tests", "benchmarks", "assets") else ""


def arrows() -> dict[str, tuple[set[str], set[str]]]:
    """Part -> the parts that it may import, and those that its functions may import."""
    rows = [[cell.split() for cell in line.split("|")] for line in ARROWS.strip().splitlines()]
    return {part: ({part, *always}, {part, *always, *inside}) for (part,), always, inside in rows}


@pytest.mark.parametrize("part", sorted({part_of(name) for name in modules()}))
def test_directions(part):
    assert part in arrows(), f"promptkd/{part} is new: give it a row in ARROWS"
    always, inside = arrows()[part]
    wrong = [
        f"{name}:{found.line} imports {found.target}{'' if found.inside else ' at once'}"
        for name in modules()
        if part_of(name) == part
        for found in imports(name)
        if (target := part_of(found.target)) and target not in (inside if found.inside else always)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_goes_in_a_circle():
    """The parts of the table stand above each other: each names only such as come before it."""
    seen: set[str] = {"dassl", "face"}
    for part, (always, _) in arrows().items():
        assert part == "__init__" or always - {part} <= seen, part
        seen.add(part)


@pytest.mark.parametrize("name", [name for name in modules() if part_of(name) in LIGHT or name.endswith(".command")])
def test_light_modules_load_nothing_heavy(name):
    """Neither by themselves nor by what they import: PyTorch comes once a command's words are good."""
    way = _way_to_heavy(name, [])
    assert not way, " -> ".join(way)


def _way_to_heavy(name: str, seen: list[str]) -> list[str]:
    """The modules on the way to one of HEAVY that importing a module loads, [] where there is none."""
    seen.append(name)
    for found in imports(name):
        if found.inside:
            continue
        if found.target.partition(".")[0] in HEAVY:
            return [name, found.target]
        pieces = found.target.split(".")
        for loaded in (".".join(pieces[: end + 1]) for end in range(len(pieces))):  # packages above it, too
            if loaded in modules() and loaded not in seen and (way := _way_to_heavy(loaded, seen)):
                return [name, *way]
    return []


@pytest.mark.parametrize("part", NO_CFG)
def test_models_know_no_configuration(part):
    wrong = [
        f"{name}:{found.line} {found.target}"
        for name in modules()
        if part_of(name) == part
        for found in imports(name)
        if found.target.partition(".")[0] in ("yacs", "yaml", "dassl")
    ]
    assert not wrong


def test_methods_and_data_sets_come_from_registries_alone():
    """No product module names one; `promptkd.guests` imports them all, whichever they are."""
    for name in modules():
        if part_of(name) in ("trainers", "datasets", "clip") or name == "promptkd.guests":
            continue
        wrong = [found for found in imports(name) if part_of(found.target) in ("trainers", "datasets", "clip", "face")]
        assert not wrong, (name, wrong)


def test_the_face_imports_no_plain_name_of_ours():
    """In an installed package `clip`, `datasets`, `trainers` are other people's."""
    for name in modules():
        plain = [found for found in imports(name) if found.target.partition(".")[0] in ("trainers", "datasets", "clip")]
        relative = name.partition(".")[0]
        assert all(found.target.partition(".")[0] == relative for found in plain), (name, plain)
