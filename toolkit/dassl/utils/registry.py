"""Names for classes and functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from .tools import get_most_similar_str_to_a_from_b


class Registry:
    """A table of named objects, filled by a decorator.

    >>> ANIMALS = Registry("ANIMAL")
    >>> @ANIMALS.register()
    ... class Cat: ...
    >>> ANIMALS.get("Cat") is Cat
    True

    Args:
        name: of the table, for messages.
        second_names: whether a class whose name is taken by one of another file is registered as `<file>.<name>`, with
            a warning, and not refused.
    """

    def __init__(self, name: str, second_names: bool = False) -> None:
        self._name = name
        self._second_names = second_names
        self._objects: dict[str, Any] = {}
        self._offered: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._objects

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Register a class or function under its own name; without `obj`, return the decorator that does.

        Args:
            force: let the new object take the place of one that has the name.

        Raises:
            ValueError: the name is taken.
        """
        if obj is None:
            decorator: Callable[[Any], Any] = lambda target: self.register(target, force)  # noqa: E731
            return decorator
        name = obj.__name__
        if name in self._objects and not force:
            there = getattr(self._objects[name], "__module__", "another module")
            second = f"{obj.__module__.rpartition('.')[2]}.{name}"
            if self._second_names and there != obj.__module__ and second not in self._objects:
                warnings.warn(
                    f"'{name}' is registered in {self._name} by {there}: that of {obj.__module__} is '{second}'",
                    stacklevel=2,
                )
                self._objects[second] = obj
                return obj
            raise ValueError(
                f"'{name}' of {obj.__module__} is already registered in {self._name} by {there}; "
                "choose another name or pass force=True"
            )
        self._objects[name] = obj
        return obj

    def offer(self, obj: Any = None) -> Any:
        """Offer a class or function under its name, which one that is registered takes from it; or the decorator."""
        if obj is None:
            return self.offer
        self._offered[obj.__name__] = obj
        return obj

    def get(self, name: str) -> Any:
        """Return the object of that name.

        Raises:
            ValueError: unknown name; the message has the closest one.
        """
        if name not in self._objects and name in self._offered:
            return self._offered[name]
        if name not in self._objects:
            raise ValueError(_unknown(name, self._objects, f" in {self._name}"))
        return self._objects[name]

    def offered_names(self) -> list[str]:
        """Return the names that are offered and that nothing registered has taken."""
        return [name for name in self._offered if name not in self._objects]

    def registered_names(self) -> list[str]:
        """Return all names, in order of registration."""
        return list(self._objects)


def check_availability(requested: str, available: Iterable[str]) -> None:
    """Raise where `requested` is not one of `available`.

    Raises:
        ValueError: the message has the closest name and all names.
    """
    names = list(available)
    if requested not in names:
        raise ValueError(_unknown(requested, names, ""))


def _unknown(name: str, known: Iterable[str], where: str) -> str:
    names = list(known)
    close = get_most_similar_str_to_a_from_b(name, names)
    hint = f"did you mean '{close}'? " if close else ""
    return f"unknown name '{name}'{where}; {hint}Known: {', '.join(names) or 'none'}"
