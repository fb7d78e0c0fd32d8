"""How far our numbers are from recorded ones, and how far they may be (the golden set's FORMAT.md)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
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
    "change": 1e-2,  # of each tensor from its start, relative L2
    "gradients": 1e-3,  # of step 1, relative L2 of each tensor
    "features": 3e-4,  # and everything else inside the model: of the largest
    "rates": 1e-6,  # learning rates, relative
    "similarities": 1e-3,  # of TFUP, which are from 0 to 2: absolute
}
# PromptKD: so many values of a tensor (or this share of them) may differ by more than OUTLIER_LIMIT of its largest.
FEW, OUTLIERS, OUTLIER_LIMIT = 2, 1e-3, 3e-4
NOISE_ATOL = 1e-5  # of a bias in front of BatchNorm, whose gradient is rounding noise
NO_GRADIENT = "VPT_image_trans.conv1.0.bias"
# A set says how far its own recording is from the same code in float64, with other threads and kernels
# (tolerances.json): where that is more than we allow, NOISE times it passes. Kind -> its names there.
NOISE = 5
UNMOVED = 0.5  # error of a change that never passes; it is 1 where a tensor stayed as it was
RECORDED = {
    "losses": ("train/loss*",),
    "logits": ("eval_before/logits", "eval_after/logits", "other"),
    "weights": ("final", "epoch_weights", "final_buffer"),
    "change": ("final", "epoch_weights"),
    "gradients": ("grad_step1",),
    "features": ("eval_before/features", "eval_after/features", "final_buffer", "other"),
}
NO_GRADIENT_RECORDED = "projector_conv1.0.bias(pre-BN,noise only)"


@dataclass
class Report:
    """Errors of one fixture; `lines` says what went beyond its limit."""

    name: str
    errors: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    note: str = ""
    noise: dict[str, Any] = field(default_factory=dict)  # of tolerances.json: way of recording -> group -> errors

    def limit(self, kind: str) -> float:
        """Largest error of a kind that passes."""
        return max(LIMITS[kind], NOISE * self.recorded("max_rel_to_max", RECORDED.get(kind, ())))

    def recorded(self, measure: str, groups: Sequence[str]) -> float:
        """Largest recorded noise of some groups, 0 where there is none."""
        found = (way[group][measure] for way in self.noise.values() for group in groups if group in way)
        return max(found, default=0.0)

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
        if kind == "similarities":
            error = float(np.max(np.abs(got - want), initial=0.0))
        if kind in ("losses", "rates"):
            error = float(np.max(np.abs(got - want) / np.maximum(np.abs(want), 1e-12)))
        self.record(kind, what, error)

    def compare_weight(self, name: str, got: Any, want: Any, start: Any, distilled: bool) -> None:
        """A learned tensor after training, and its change; PromptKD's may have outliers instead."""
        got, want, start = as_array(got), as_array(want), as_array(start)
        if name == NO_GRADIENT:
            error = float(np.max(np.abs(got - want)))
            limit = max(NOISE_ATOL, 2 * self.recorded("max_abs", (NO_GRADIENT_RECORDED,)))
            if not error <= limit:
                self.fail(f"final {name} differs by {error:.1e}, limit {limit:.0e}")
            return
        if distilled:
            self.compare_flipped(f"final {name}", got, want)
        else:
            self.compare("weights", f"final {name}", got, want)
        if not (distilled and few_outliers(got, want)):
            limit = self.change_limit(want - start)
            self.record("change", f"change of {name}", relative_l2(got - start, want - start), limit)

    def compare_flipped(self, what: str, got: Any, want: Any) -> None:
        """What PromptKD's projector learns or keeps: as a weight, or with few outliers.

        One ReLU that flips behind a train-mode BatchNorm moves one hidden unit, and all that is made of it.
        """
        got, want = as_array(got), as_array(want)
        beyond = got.shape == want.shape and relative_l2(got, want) > self.limit("weights")
        if beyond and few_outliers(got, want):
            self.note = f"{what}: few outliers"
            return
        self.compare("weights", what, got, want)

    def change_limit(self, change: NDArray[np.float64]) -> float:
        """Largest error of a tensor's change that passes.

        Where a set records how far its own weights are from those of other arithmetic, that noise is as large in the
        change, which may be small. A tensor that did not move at all never passes.
        """
        noise = self.recorded("max_abs", RECORDED["change"])
        of_this = noise * np.sqrt(change.size) / max(float(np.linalg.norm(change)), 1e-12)
        return min(max(self.limit("change"), NOISE * float(of_this)), UNMOVED)

    def record(self, kind: str, what: str, error: float, limit: float = 0.0) -> None:
        """Keeps the largest error of a kind; `limit` where it is not the kind's."""
        self.errors[kind] = max(self.errors.get(kind, 0.0), error)
        limit = limit or self.limit(kind)
        if not error <= limit:  # NaN fails
            self.fail(f"{kind}: {what} is off by {error:.2e}, limit {limit:.0e}")

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


def few_outliers(got: NDArray[np.float64], want: NDArray[np.float64]) -> bool:
    """Whether arrays of one shape agree but for some single values."""
    beyond = np.count_nonzero(~(np.abs(got - want) <= OUTLIER_LIMIT * np.max(np.abs(want))))
    return beyond <= max(FEW, OUTLIERS * want.size)


class Golden:
    """A golden set on disk; CLIP models are written out as OpenAI's `.pt` state dicts once, into `work`.

    `options` are KEY VALUE pairs that the recorded runs are replayed with, beside their own.
    """

    def __init__(self, directory: Path, work: Path, options: Sequence[str] = ()) -> None:
        self.directory, self.work, self.options = directory, work, list(options)
        self._batches: dict[str, Tensor] = {}

    def fixtures(self) -> list[str]:
        """Names of the recorded fixtures."""
        return sorted(path.stem for path in (self.directory / "fixtures").glob("*.json"))

    def fixture(self, name: str) -> tuple[dict[str, Any], Arrays]:
        """What a fixture was recorded with, and its arrays."""
        file = self.directory / "fixtures" / f"{name}.json"
        return read_json(file), Arrays(file.with_suffix(".npz"))

    def report(self, name: str) -> Report:
        """An empty report on a fixture, which knows the noise of its recording."""
        noise = read_json(self.directory / "tolerances.json") if self.has("tolerances.json") else {}
        return Report(name, noise=noise.get(name, {}))

    def has(self, *files: str) -> bool:
        """Whether the set holds these files."""
        return all((self.directory / file).exists() for file in files)

    def clip_file(self, file: str) -> str:
        """A recorded CLIP as a `.pt` file."""
        target = (self.work / file).with_suffix(".pt")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
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
        if index:
            value = value[tuple(_slice(part) for part in index.rstrip("]").split(","))]
        return value.float() if value.is_floating_point() else value


def _slice(text: str) -> slice:
    """ ":4" or "2:" or ":" -> a slice."""
    return slice(*(int(part) if part.strip() else None for part in text.split(":")))


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

    def groups(self, start: str) -> list[str]:
        """Prefixes of keys that begin so, each once."""
        return sorted({key.partition("/")[0] for key in self._values if key.startswith(start)})

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
