"""Writes a classifier in one form, checks what was written against it, and only then puts it into its place."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import files
from promptkd.deploy import card
from promptkd.deploy.exporting import checking
from promptkd.deploy.onnx_file import OnnxDescription

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from promptkd.deploy.classifier import Classifier
    from promptkd.deploy.run_images import ImageList

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Form:
    """What is to be written.

    Attributes:
        format: "safetensors", "onnx" or "torch".
        slim: safetensors without the frozen encoder.
        half: encoder and prompts in float16.
        int8: "", "dynamic" or "static": weights in 8 bits.
        dynamic_size: resize and crop inside.
        opset: of ONNX.
        least_agreement: percentage of images whose likeliest class has to be the run's; None for what is usual.
    """

    format: str
    slim: bool = False
    half: bool = False
    int8: str = ""
    dynamic_size: bool = False
    opset: int = 18
    least_agreement: float | None = None

    @property
    def tolerance(self) -> checking.Tolerance:
        """What it may differ by from the run."""
        name = "int8" if self.int8 else "fp16" if self.half else "dynamic-size" if self.dynamic_size else "fp32"
        usual = checking.TOLERANCES[name]
        return usual if self.least_agreement is None else replace(usual, agreement=self.least_agreement)

    @property
    def file_name(self) -> str:
        """Of the file or folder, where the user gives none."""
        if self.format == "safetensors":
            return "safetensors-slim" if self.slim else "safetensors"
        kind = "-int8" if self.int8 else "-fp16" if self.half else ""
        return f"model{kind}{'-any-size' if self.dynamic_size else ''}{'.onnx' if self.format == 'onnx' else '.pt2'}"


def write(
    classifier: Classifier,
    run: Path,
    about: dict[str, str],
    form: Form,
    place: Path,
    images: ImageList | None,
    calibration: ImageList | None = None,
) -> str:
    """Writes and checks; returns the table of the check.

    Args:
        classifier: of a run, on the CPU.
        run: its directory, or an exported folder; a card is made of it.
        about: its origin.
        form: what to write.
        place: file or folder, which is not there yet.
        images: of the run's data set; None for made-up pictures alone.
        calibration: images for static quantization.

    Raises:
        FileExistsError: there is something at `place`.
        ValueError: the export disagrees with the run, or the model cannot be written so; nothing is left.
        OSError: it cannot be written, or an image cannot be read; nothing is left.
    """
    with _partial(place, form.format) as partial:
        exported = _write(classifier, about, form, partial, calibration)
        if form.format == "safetensors":
            card.accompany(partial, run)
        size = sum(file.stat().st_size for file in partial.rglob("*")) or partial.stat().st_size
        return _check(classifier, exported, form, images, size)


@contextmanager
def _partial(place: Path, format: str) -> Iterator[Path]:
    if format == "safetensors":
        with files.new_folder(place) as folder:
            yield folder
        return
    if place.exists():
        raise FileExistsError(f"{place} is there already: remove it, or give another place")
    with files.replacing(place) as file:
        yield file


def _write(
    classifier: Classifier, about: dict[str, str], form: Form, partial: Path, calibration: ImageList | None
) -> checking.Exported:
    """Writes the form to a temporary place; returns what was written, opened again."""
    from promptkd.deploy import export_folder
    from promptkd.deploy.classifier import Classifier
    from promptkd.deploy.exporting import onnx_writer, quantizing, resizing, torch_program
    from promptkd.deploy.onnx_classifier import OnnxClassifier

    if form.format == "safetensors":
        export_folder.write(classifier, partial, about, form.slim)
        return _AsArrays(Classifier(partial))
    described = OnnxDescription(
        classifier.classnames, classifier.preprocessing, form.dynamic_size, classifier.rejection, about,
        classifier.temperature,
    )  # fmt: skip
    if form.format == "torch":
        return torch_program.write(classifier, described, partial, form.half)
    model = onnx_writer.onnx_model(classifier, form.opset, form.half)
    if form.int8:
        model = quantizing.quantized(model, form.int8, calibration, classifier.preprocessing)
    if form.dynamic_size:
        model = resizing.with_resizing(model, classifier.preprocessing)
    onnx_writer.write(model, described, partial)
    opened = OnnxClassifier(partial)
    return _WholeImages(opened) if form.dynamic_size else opened


def _check(classifier: Classifier, exported: checking.Exported, form: Form, images: ImageList | None, size: int) -> str:
    """The table of the check; raises ValueError for a disagreement."""
    from promptkd.deploy.exporting.pictures import made_up

    pictures = [picture for _, picture in made_up()]
    rows: list[tuple[str, checking.Comparison]] = []
    if images is not None:
        rows.append(("test images", checking.compare(classifier, exported, images.batches(checking.BATCH))))
    rows.append(("made-up sizes and modes", checking.compare(classifier, exported, [(pictures, [""] * len(pictures))])))
    for what, comparison in rows:
        if form.tolerance.lossless or what == "test images":
            comparison.judge(form.tolerance, what)
    weights = classifier.model.clip.visual, classifier.model.prompts
    ours = sum(value.numel() * value.element_size() for one in weights for value in one.state_dict().values())
    times = checking.latency(_AsArrays(classifier), pictures[0]), checking.latency(exported, pictures[0])
    return checking.table(rows, (ours, size), times)


class _AsArrays:
    """A `Classifier` whose answers are arrays."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        logits: np.ndarray = self._classifier.logits(images).numpy()
        return logits


class _WholeImages:
    """An .onnx file that gets images at their own sizes, one at a time, and resizes them itself."""

    def __init__(self, classifier: Any) -> None:
        self._classifier = classifier

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        import numpy as np

        from promptkd.data.images import upright

        return np.concatenate([self._classifier.logits_of(np.asarray(upright(one))[None]) for one in images])
