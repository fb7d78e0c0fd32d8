"""What values an option may have: one declaration for its check and for its line on the page of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any

from promptkd.bounded import shown
from promptkd.texts import closest


@dataclass(frozen=True)
class Limits:
    """The values that an option may have; of a list, those of each of its entries.

    Attributes:
        choices: all of them.
        several: whether a text may be any of them, several with commas, or empty.
        least, most: the smallest and the largest one.
        above, below: numbers that it must exceed, or stay under.
        or_zero: whether 0 is allowed beside them.
        odd: whether it must be an odd number.
        length: entries of a list.
        entry: kind of a list's entries: int, float or str.
        filled: whether a text or a list must not be empty.
        fraction: whether an option whose default is a whole number takes any number.
        path: whether it is a file or a folder (or may be one), whose ~ is the home folder.
        words: whether it is text around the class name, which has no place in it.
        hint: what the message of a wrong value says; without it, what it may be.
    """

    choices: Sequence[Any] = ()
    several: bool = False
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    or_zero: bool = False
    odd: bool = False
    length: int | None = None
    entry: type | None = None
    filled: bool = False
    fraction: bool = False
    path: bool = False
    words: bool = False
    hint: str = ""

    @classmethod
    def of(cls, entries: Any) -> Limits:
        """The limits among other entries of a mapping, as a dataclass field's metadata."""
        return cls(**{one.name: entries[one.name] for one in fields(cls) if one.name in entries})

    def check(self, key: str, value: Any) -> None:
        """Raises ValueError where an option has a value that it may not have; the message names key, value and limits.

        Args:
            key: its dotted name.
            value: of the right type.
        """
        if wanted := self._fault(value):
            raise ValueError(f"{key} {shown(value)}: {self.hint or wanted}")

    def _fault(self, value: Any) -> str:
        """What to do about a value; "" where it may stay."""
        if isinstance(value, (list, tuple)):
            if self.length is not None and len(value) != self.length:
                return f"give {self.length} values, {self.text() or 'one each'}"
            if self.filled and not value:
                return "give one value or more"
            return next((fault for one in value if (fault := self._fault_of_one(one))), "")
        return self._fault_of_one(value)

    def _fault_of_one(self, value: Any) -> str:
        if isinstance(value, (int, float)) and not isfinite(value):
            return "give a finite number"
        if isinstance(value, str) and self.filled and not value.strip():
            return "it cannot be empty, leave it out for the default"
        if self.words and ("{" in value or "}" in value):
            return "the class name comes behind these words by itself, leave the braces out"
        if self.several and isinstance(value, str):
            return self._fault_of_several([word.strip() for word in value.split(",")] if value else [])
        if self.choices and value not in self.choices:
            return self._not_chosen(str(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (self.or_zero and value == 0):
            return ""
        if (self.least is not None and value < self.least) or (self.above is not None and value <= self.above):
            return f"set {self._low()}"
        if (self.most is not None and value > self.most) or (self.below is not None and value >= self.below):
            return f"set {self._high()}"
        return "set an odd number" if self.odd and value % 2 == 0 else ""

    def _fault_of_several(self, words: Sequence[str]) -> str:
        if double := next((word for word in words if words.count(word) > 1), ""):
            return f"name {double} once"
        return next((self._not_chosen(word) for word in words if word not in self.choices), "")

    def _not_chosen(self, value: str) -> str:
        close = closest(value, self.choices)
        names = ", ".join(repr(choice) if choice == "" else str(choice) for choice in self.choices)
        return f"choose {names}" + (f"; closest: {close}" if close and len(self.choices) > 4 else "")

    def _low(self) -> str:
        zero = "0, or " if self.or_zero else ""
        if self.above is not None:
            return f"{zero}more than {_plain(self.above)}"
        return f"{zero}{_plain(self.least)} or more" if self.least is not None else ""

    def _high(self) -> str:
        if self.below is not None:
            return f"less than {_plain(self.below)}"
        return f"at most {_plain(self.most)}" if self.most is not None else ""

    def text(self) -> str:
        """The limits of a number in words, as "0 or more"; "" for none.

        Limits that only keep a slip of the hand out (numbers of 1000 and above) are left to the message.
        """
        least, most = (None if end is None or abs(end) >= 1000 else end for end in (self.least, self.most))
        shown = replace(self, least=least, most=most)
        if shown.least is not None and shown.most is not None:
            ends = f"{'0, or ' if self.or_zero else ''}{_plain(shown.least)} to {_plain(shown.most)}"
        else:
            ends = " and ".join(end for end in (shown._low(), shown._high()) if end)
        return f"{ends}, odd" if self.odd else ends


def _plain(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:g}"
