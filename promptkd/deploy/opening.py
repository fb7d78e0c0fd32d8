"""Opens whatever a finished run has become: the run itself, an exported folder, an .onnx file, a name on a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.home import expanded

if TYPE_CHECKING:
    from promptkd.deploy.classifier import Classifier
    from promptkd.deploy.ranking import ImageClassifier

HUB = "hf-hub:"


def open_classifier(path_or_name: str | Path, device: str = "cpu") -> ImageClassifier:
    """A classifier of PIL images; of an .onnx file without importing PyTorch.

    Args:
        path_or_name: directory of a finished run, a folder of `promptkd export --format safetensors`, an .onnx file of
            `--format onnx`, or "hf-hub:owner/name".
        device: "cpu", "cuda", "cuda:N" or "mps".

    Returns:
        A `Classifier`, whose probabilities are tensors on the CPU, or of an .onnx file an `OnnxClassifier`, whose are
        arrays.

    Raises:
        OSError, ValueError: there is nothing of the kind, or it is damaged; the message names it.
        ImportError: ONNX Runtime is missing; the message says what to install.
    """
    if is_onnx(path_or_name):
        from promptkd.deploy.onnx_classifier import OnnxClassifier

        return OnnxClassifier(expanded(str(path_or_name)), device)
    return load(path_or_name, device)


def load(directory_or_name: str | Path, device: str = "cpu", epoch: int | None = None) -> Classifier:
    """The PyTorch classifier of a finished run, an exported folder, or a name on a hub.

    Args:
        directory_or_name: see `open_classifier`.
        device: where it computes.
        epoch: checkpoint of a run to load; None for the best, else the last.

    Raises:
        OSError, ValueError: there is nothing of the kind, or it is damaged; the message names it.
    """
    from promptkd.deploy.classifier import Classifier

    return Classifier(local_folder(str(directory_or_name)), device, epoch)


def is_onnx(path_or_name: str | Path) -> bool:
    """Whether a path is that of an .onnx file."""
    return str(path_or_name).lower().endswith(".onnx") and not str(path_or_name).startswith(HUB)


def local_folder(name: str) -> str:
    """The folder on this disk that a path or a hub's name stands for.

    Raises:
        OSError, ValueError, ImportError: what a hub's name stands for cannot be downloaded.
    """
    if name.startswith(HUB):
        from promptkd.deploy.hub import download

        return str(download(name.removeprefix(HUB)))
    return expanded(name)
