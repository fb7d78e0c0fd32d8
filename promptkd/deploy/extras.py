"""Whether the packages of an extra are installed."""

from __future__ import annotations

from importlib.util import find_spec


def missing(*names: str) -> str:
    """The names of the packages that are not installed, as text; "" where all are."""
    return " and ".join(name for name in names if find_spec(name) is None)
