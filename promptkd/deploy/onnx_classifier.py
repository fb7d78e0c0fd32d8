"""An exported .onnx file as a classifier of images, with ONNX Runtime, NumPy and Pillow alone: no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import bounded
from promptkd.deploy.onnx_file import OnnxDescription, read_checked
from promptkd.deploy.ranking import likeliest, softmax
from promptkd.texts import closest

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ADVICE = "ONNX Runtime is missing: pip install 'promptkd[onnx]', or pip install onnxruntime"


class OnnxClassifier:
    """Classifies images with a file that `promptkd export --format onnx` wrote.

    Images are of any size and mode: they are turned upright by their EXIF tag, transparent parts become white.

    Args:
        path: the file.
        device: "cpu", or "cuda" where this ONNX Runtime has it.
        threads: of one classification; 0 for what ONNX Runtime chooses, all cores.

    Attributes:
        preprocessing: from an image to the model's input, described.
        temperature: T, by which the file divides its logits.
        rejection: when an image is none of the classes; None where that was not chosen.
        about: what is known of its origin: "trainer", "backbone", "dataset", ... -> text.

    Raises:
        ImportError: ONNX Runtime is not installed; the message says what to install.
        OSError: the file cannot be read.
        ValueError: it is damaged, no export of ours, or the device is not there.
    """

    def __init__(self, path: str | Path, device: str = "cpu", threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(ADVICE) from error

        content = read_checked(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone
        providers = _providers(str(device), onnxruntime.get_available_providers())
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # of ONNX Runtime's own kinds, all derived from Exception alone
            raise ValueError(
                f"{bounded.named(path)} cannot be opened by ONNX Runtime: {bounded.clipped(error)}"
            ) from error
        described = OnnxDescription.of_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        self.preprocessing, self.rejection, self.about = described.preprocessing, described.rejection, described.about
        self.dynamic_size, self.temperature = described.dynamic_size, described.temperature
        self._all = self._names = described.classnames
        self._columns: list[int] | None = None  # those of the chosen classes
        shapes = {one.name: one.shape for one in self._session.get_outputs()}
        if shapes.get("logits", [0, 0])[-1] != len(self._all) or "features" not in shapes:
            raise ValueError(f"{bounded.named(path)} has outputs {bounded.shown(shapes)} for {len(self._all)} classes")

    @property
    def classnames(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of the probabilities."""
        return self._names

    def restrict(self, classnames: Sequence[str]) -> None:
        """Chooses among these classes only.

        Raises:
            ValueError: one of them is none of the file's.
        """
        for name in classnames:
            if name not in self._all:
                close = closest(name, self._all)
                hint = f"; closest: {close!r}" if close else ""
                raise ValueError(f"{bounded.shown(name)} is none of the {len(self._all)} classes of the export{hint}")
        self._names = tuple(classnames)
        self._columns = [self._all.index(name) for name in classnames]

    def predict(self, image: Image.Image, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes of an image with their probabilities, the likeliest first."""
        return likeliest(self.probabilities([image])[0], self.classnames, top)

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, C) probabilities, float32."""
        return softmax(self.logits(images))

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, C) logits `s cos(f, g) / T`, float32."""
        return self.logits_of(self.pixels(images))

    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, D) image features in the space of the class vectors, not normalised, float32."""
        return self._run("features", self.pixels(images))

    def pixels(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, H, W, 3) uint8, the model's input; runs in any thread."""
        return self.preprocessing.batch(images)

    def logits_of(self, pixels: np.ndarray) -> np.ndarray:
        """What `pixels` made of B images -> (B, C) float32 logits."""
        logits = self._run("logits", pixels)
        return logits if self._columns is None else logits[:, self._columns]

    def _run(self, output: str, pixels: np.ndarray) -> np.ndarray:
        result: np.ndarray = self._session.run([output], {"images": pixels})[0]
        return result


def _providers(device: str, available: Sequence[str]) -> list[str]:
    """ONNX Runtime's name of a device; raises ValueError where it is not there."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if kind == "cuda" and "CUDAExecutionProvider" in available:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    if kind == "cuda":
        raise ValueError(f"device {device}: this ONNX Runtime sees no GPU; pip install onnxruntime-gpu, or use cpu")
    raise ValueError(f"device {device}: an .onnx file runs on cpu or cuda")
