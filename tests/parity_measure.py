"""How far our numbers are from recorded ones, and how far they may be (the golden set's FORMAT.md)."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LIMITS = {  # kind -> largest error that passes
    "losses": 2e-4,  # relative
    "logits": 3e-4,  # of the largest
    "weights": 1e-3,  # after the recorded steps, relative L2 of each tensor
    "change": 1e-3,  # of each tensor from its start, relative L2
    "gradients": 1e-3,  # of step 1, relative L2 of each tensor
    "features": 3e-4,  # and everything else inside the model: of the largest
    "rates": 1e-6,  # learning rates, relative
}
OUTLIERS, OUTLIER_LIMIT = 1e-3, 3e-4  # PromptKD: this share of a tensor may differ by more than this, of its largest
NOISE_ATOL = 1e-5  # of a bias in front of BatchNorm, whose gradient is rounding noise
NO_GRADIENT = "VPT_image_trans.conv1.0.bias"


@dataclass
class Report:
    """Errors of one fixture; `lines` says what went beyond its limit."""

    name: str
    errors: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything passed, and something was compared."""
        return not self.lines and bool(self.errors or self.note)

    def fail(self, line: str) -> None:
        """Something that cannot be measured is wrong."""
        self.lines.append(line)

    def check(self, what: str, equal: bool) -> None:
        """Something that has to be equal."""
        if not equal:
            self.fail(f"{what} differs")

    def compare(self, kind: str, what: str, got: Any, want: Any) -> None:
        """One array against its record, measured as its kind is."""
        got, want = as_array(got), as_array(want)
        if got.shape != want.shape:
            self.fail(f"{what} is {got.shape}, recorded {want.shape}")
            return
        error = relative_l2(got, want) if kind in ("weights", "change", "gradients") else of_largest(got, want)
        if kind in ("losses", "rates"):
            error = float(np.max(np.abs(got - want) / np.maximum(np.abs(want), 1e-12)))
        self.record(kind, what, error)

    def compare_weight(self, name: str, got: Any, want: Any, start: Any, distilled: bool) -> None:
        """A learned tensor after training, and its change; PromptKD's may have outliers instead.

        One ReLU that flips behind a train-mode BatchNorm moves one hidden unit of PromptKD's projector.
        """
        got, want, start = as_array(got), as_array(want), as_array(start)
        if name == NO_GRADIENT:
            error = float(np.max(np.abs(got - want)))
            if not error <= NOISE_ATOL:
                self.fail(f"final {name} differs by {error:.1e}, limit {NOISE_ATOL:.0e}")
            return
        if distilled and got.shape == want.shape and relative_l2(got, want) > LIMITS["weights"]:
            beyond = np.mean(np.abs(got - want) > OUTLIER_LIMIT * np.max(np.abs(want)))
            if beyond <= OUTLIERS:
                self.note = f"{name}: {beyond:.2%} outliers"
                return
        self.compare("weights", f"final {name}", got, want)
        self.compare("change", f"change of {name}", got - start, want - start)

    def record(self, kind: str, what: str, error: float) -> None:
        """Keeps the largest error of a kind."""
        self.errors[kind] = max(self.errors.get(kind, 0.0), error)
        if not error <= LIMITS[kind]:  # NaN fails
            self.fail(f"{kind}: {what} is off by {error:.2e}, limit {LIMITS[kind]:.0e}")

    def __str__(self) -> str:
        numbers = "  ".join(f"{kind} {self.errors[kind]:.1e}" for kind in LIMITS if kind in self.errors)
        parts = [f"{self.name:<18}", "ok    " if self.ok else "FAILED", numbers, self.note]
        return "  ".join(part for part in parts if part) + "".join(f"\n    {line}" for line in self.lines[:12])


def as_array(value: Any) -> NDArray[np.float64]:
    """Anything numeric as float64."""
    return value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)


def of_largest(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.max(np.abs(got - want)) / max(np.max(np.abs(want)), 1e-12))


def relative_l2(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    """Norm of the difference, relative to the norm."""
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-12))


class Golden:
    """A golden set on disk; CLIP models are written out as OpenAI's `.pt` state dicts once, into `work`."""

    def __init__(self, directory: Path, work: Path) -> None:
        self.directory, self.work = directory, work
        self._batches: dict[str, Tensor] = {}

    def fixtures(self) -> list[str]:
        """Names of the recorded fixtures."""
        return sorted(path.stem for path in (self.directory / "fixtures").glob("*.json"))

    def fixture(self, name: str) -> tuple[dict[str, Any], Arrays]:
        """What a fixture was recorded with, and its arrays."""
        file = self.directory / "fixtures" / f"{name}.json"
        return read_json(file), Arrays(file.with_suffix(".npz"))

    def has(self, *files: str) -> bool:
        """Whether the set holds these files."""
        return all((self.directory / file).exists() for file in files)

    def clip_file(self, file: str) -> str:
        """A recorded CLIP as a `.pt` file."""
        target = self.work / Path(file).with_suffix(".pt").name
        if not target.exists():
            state = {key: torch.from_numpy(value) for key, value in load_npz(self.directory / file).items()}
            torch.save({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, target)
        return str(target)

    def images(self, reference: str) -> Tensor:
        """A tensor by its reference, "batches.npz:train_images[:, :4]"."""
        file, _, rest = reference.partition(":")
        name, _, index = rest.partition("[")
        if file not in self._batches:
            arrays = load_npz(self.directory / file)
            self._batches |= {f"{file}:{key}": torch.from_numpy(value) for key, value in arrays.items()}
        value = self._batches[f"{file}:{name}"]
        if index:  # the only form that is used: all steps, the first b of each batch
            value = value[:, : int(index.rstrip("]").rpartition(":")[2])]
        return value.float() if value.is_floating_point() else value


class Arrays:
    """The arrays of a fixture; remembers which were looked at, so that none is passed over in silence."""

    def __init__(self, path: Path) -> None:
        self._values = load_npz(path)
        self._seen: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> NDArray[Any]:
        self._seen.add(key)
        return self._values[key]

    def group(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Name -> array of all keys `<prefix>/<name>`."""
        return {key.removeprefix(f"{prefix}/"): self[key] for key in self._values if key.startswith(f"{prefix}/")}

    def unseen(self) -> list[str]:
        """Keys that nothing was compared to."""
        return [key for key in self._values if key not in self._seen]


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a file; raises ValueError with its name where it is broken."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def read_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
