"""A classifier as a program of torch.export, which PyTorch runs without this project."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import files
from promptkd.deploy.exporting.onnx_writer import module_of
from promptkd.texts import clipped

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from promptkd.deploy.classifier import Classifier
    from promptkd.deploy.onnx_file import OnnxDescription
    from promptkd.deploy.preprocessing import Preprocessing

DESCRIPTION = "promptkd.json"  # in the program's archive


class TorchProgram:
    """The answers of a program.

    Args:
        program: of `torch.export.export`.
        preprocessing: of its images.
    """

    def __init__(self, program: Any, preprocessing: Preprocessing) -> None:
        self._module, self._preprocessing = program.module(), preprocessing

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, C) float32."""
        import torch

        with torch.no_grad():
            logits: np.ndarray = self._module(torch.from_numpy(self._preprocessing.batch(images)))[2].numpy()
        return logits


def write(classifier: Classifier, description: OnnxDescription, path: Path, half: bool = False) -> TorchProgram:
    """Writes the program, with its description inside, and gives what was written back.

    Its input is (B, H, W, 3) uint8; its outputs are probabilities, features and logits.

    Raises:
        ValueError: PyTorch does not trace the model.
        OSError: it cannot be written; nothing is left.
    """
    import torch

    from promptkd.model.deployed import example_pixels

    images = example_pixels(classifier.preprocessing.size)
    batch = torch.export.Dim("batch", min=1, max=2**20)
    try:
        program = torch.export.export(module_of(classifier, half), (images,), dynamic_shapes={"images": {0: batch}})
    except Exception as error:  # of the tracer's many kinds
        raise ValueError(f"PyTorch does not trace this model ({clipped(error, 300)})") from error
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={DESCRIPTION: json.dumps(description.to_dict())})
    files.write_bytes(path, content.getvalue())
    again = torch.export.load(io.BytesIO(content.getvalue()))  # what this function has made, and nobody else
    return TorchProgram(again, classifier.preprocessing)
