"""What lets old code run on current PyTorch, each thing a function with a name; docs/foreign.md lists them.

A bridge changes a library for the child process alone, before the repository's code is imported, and notes its name
once it was needed: the log and results.json name those that were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Crossing:
    """What the bridges of one process know and note."""

    folder: Path  # the copy that is run
    original: Path  # the repository
    cpu: bool = False
    data: str = "auto"
    trust: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()  # folders of this run, whose files its own code wrote
    used: dict[str, str] = field(default_factory=dict)  # name of a bridge -> what it did first

    def note(self, name: str, text: str) -> None:
        """Says once that a bridge was needed, and for what."""
        if name not in self.used:
            self.used[name] = text
            print(f"[bridge] {name}: {text}", flush=True)


Bridge = Callable[[Crossing], None]


def all_bridges() -> dict[str, Bridge]:
    """Every bridge by its name, in the order in which they are built."""
    from promptkd.host.bridges import data, device, forks, packages, pytorch, weights

    functions: list[Bridge] = [
        packages.removed_modules,
        packages.numpy_aliases,
        packages.missing_packages,
        pytorch.trusted_files,
        pytorch.verbose_schedulers,
        device.no_gpu,
        device.half_precision,
        weights.stored_weights,
        forks.keys_of_its_dassl,
        forks.arguments_of_its_dassl,
        data.data_sets,
    ]
    return {function.__name__: function for function in functions}
