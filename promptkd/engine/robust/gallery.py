"""Pictures of a measurement under attack: some images, what an attack changed in them, and what became of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from promptkd import files
from promptkd.results.predictions import path_from

EACH = 4  # pictures of each class group
ENLARGED = 10  # by which a perturbation is multiplied, around mid-grey
LARGEST = 224  # pixels of an image's side in a picture; a larger one is made smaller


@dataclass(frozen=True)
class Changed:
    """b images of a batch, before and after an attack.

    Attributes:
        attack: its name in results.
        files: of the b images.
        pixels: (b, 3, H, W) in [0, 1], before.
        delta: (b, 3, H, W), what was added.
        labels: (b,), from 0 to c - 1.
        before, after: (b, c) logits.
    """

    attack: str
    files: Sequence[str]
    pixels: Tensor
    delta: Tensor
    labels: Tensor
    before: Tensor
    after: Tensor


class Gallery:
    """Keeps some images under one attack: of each class group the first of its classes that were led astray.

    Where fewer were, images that withstood fill it up.

    Args:
        attack: its name in results.
        root: folder of the data sets, from which paths are written.
        each: images of a class group.
    """

    def __init__(self, attack: str, root: str | Path, each: int = EACH) -> None:
        self.attack, self.each, self._root = attack, each, Path(root).expanduser().absolute()
        self._kept: dict[tuple[str, bool], dict[str, tuple[dict[str, Any], Tensor]]] = {}  # by class, then

    def add(self, group: str, names: Sequence[str], changed: Changed) -> None:
        """Images of a class group, whose c classes have these names."""
        if changed.attack != self.attack:
            return
        before, after = (logits.float().softmax(dim=-1) for logits in (changed.before, changed.after))
        for row, label in enumerate(changed.labels.tolist()):
            answer = int(after[row].argmax())
            kept = self._kept.setdefault((group, answer != label), {})
            if len(kept) == self.each or names[label] in kept:
                continue
            path = path_from(self._root, changed.files[row])
            entry: dict[str, Any] = {"path": path, "group": group, "attack": self.attack}
            entry |= {"label": names[label], "before": 100 * min(float(before[row, label]), 1.0)}
            entry |= {"prediction": names[answer], "after": 100 * min(float(after[row, answer]), 1.0)}
            kept[names[label]] = (entry, strip(changed.pixels[row], changed.delta[row]))

    def save(self, directory: str | Path) -> list[dict[str, Any]]:
        """Writes the pictures below a run's folder, beside earlier ones, and returns what they show.

        Returns:
            For each: "picture" (its path from the folder), "path" of the image, "group", "attack", "label" and "before"
            (its probability without attack, percent), "prediction" and "after" (under attack).

        Raises:
            OSError: they cannot be written.
        """
        directory, entries = Path(directory), []
        for group in dict.fromkeys(group for group, _ in self._kept):
            rows = [row for astray in (True, False) for row in self._kept.get((group, astray), {}).values()]
            for entry, pixels in rows[: self.each]:
                content = _png(pixels)
                name = f"attacked/{hashlib.sha256(content).hexdigest()[:16]}.png"  # never another picture's
                with files.replacing(directory / name) as path:
                    path.write_bytes(content)
                entries.append({"picture": name} | entry)
        return entries


def strip(pixels: Tensor, delta: Tensor) -> Tensor:
    """An image, its perturbation times 10 around mid-grey, and the attacked image, side by side.

    Args:
        pixels: (3, H, W) in [0, 1].
        delta: (3, H, W).

    Returns:
        (3, H, 3 W) uint8.
    """
    three = torch.cat([pixels, 0.5 + ENLARGED * delta, pixels + delta], dim=-1)
    return (three.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _png(pixels: Tensor) -> bytes:
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    picture.thumbnail((3 * LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
