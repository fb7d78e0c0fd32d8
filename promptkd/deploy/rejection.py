"""When an image is none of the classes: a score of its logits below a threshold.

The score is the highest probability (Hendrycks and Gimpel, arXiv 1610.02136) or the negative energy, the logarithm of
the sum of the exponentiated logits (Liu et al., arXiv 2010.03759, equation 4, temperature 1), both of
logits that the run's own temperature has divided already.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import bounded, files
from promptkd.results.numbers import check_temperature

if TYPE_CHECKING:
    import numpy as np

FILE_NAME = "rejection.json"
MEASURES = ("probability", "energy")


@dataclass(frozen=True)
class Rejection:
    """A threshold, and what it was chosen on.

    Attributes:
        measure: "probability" or "energy".
        threshold: an image whose score is lower is none of the classes.
        kept: share of the validation images of the classes whose score is as high, from 0 to 1.
        images: number of those images.
        auroc: other data set -> probability that one of its images scores lower than one of the classes (0.5: chance).
        temperature: of the logits that it was chosen on; thresholds of another one mean nothing.
    """

    measure: str
    threshold: float
    kept: float
    images: int
    auroc: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0

    def fits(self, temperature: float) -> bool:
        """Whether the threshold was chosen on logits of this temperature."""
        return math.isclose(self.temperature, temperature, rel_tol=1e-6)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """(B, C) logits -> (B,) float32 scores; higher for images of the classes."""
        return scores(logits, self.measure)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Any) -> Rejection:
        """Takes `to_dict` back.

        Raises:
            ValueError: a field is missing, unknown or of an impossible value; the message names it.
        """
        fields = list(cls.__dataclass_fields__)
        if isinstance(entries, dict):
            entries = {"temperature": 1.0} | entries  # which earlier ones do not name
        if not isinstance(entries, dict) or sorted(entries) != sorted(fields):
            raise ValueError(f"a rejection is {bounded.shown(entries)}: the fields {', '.join(fields)} are wanted")
        if entries["measure"] not in MEASURES:
            raise ValueError(f"measure is {bounded.shown(entries['measure'])}: one of {', '.join(MEASURES)} is wanted")
        bounded.whole_number(entries["images"], "images", 1, 10**9)
        check_temperature({"value": entries["temperature"]})
        auroc = entries["auroc"]
        if not isinstance(auroc, dict):
            raise ValueError(f"auroc is {bounded.shown(auroc)}: a mapping of data sets to numbers is wanted")
        for name, value in {"threshold": entries["threshold"], "kept": entries["kept"], **auroc}.items():
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise ValueError(f"{bounded.clipped(name, 60)} is {bounded.shown(value)}: a number is wanted")
        return cls(**entries)

    @classmethod
    def read(cls, folder: str | Path) -> Rejection | None:
        """What a run or an export has stored; None where it has none.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            return None
        try:
            return cls.from_dict(bounded.read_json(path))
        except ValueError as error:
            raise ValueError(f"{bounded.named(path)} cannot be read ({bounded.clipped(error, 300)})") from error

    def write(self, folder: str | Path) -> Path:
        """Stores it beside a run or an export, whole or not at all; returns the file."""
        files.write_json(Path(folder) / FILE_NAME, self.to_dict())
        return Path(folder) / FILE_NAME


def scores(logits: np.ndarray, measure: str) -> np.ndarray:
    """(B, C) logits -> (B,) float32: the highest probability, or the logarithm of the sum of the powers of e."""
    import numpy as np

    highest = logits.max(axis=1).astype(np.float64)  # (B,)
    energy = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return (energy if measure == "energy" else np.exp(highest - energy)).astype(np.float32)
