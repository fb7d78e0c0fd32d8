"""A classifier as one .onnx file: torch.onnx.export of a `DeployedModel`, with description and hash."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import files
from promptkd.deploy.onnx_file import KEY, LARGEST, OnnxDescription, with_hash
from promptkd.texts import clipped

if TYPE_CHECKING:
    from promptkd.deploy.classifier import Classifier
    from promptkd.model.deployed import DeployedModel

OPSETS = range(18, 24)
ADVICE = "the packages onnx, onnxscript and onnxruntime are wanted for it: pip install 'promptkd[onnx]'"


def check_packages() -> None:
    """Raises ImportError, with what to install, where a package is missing that writes or checks .onnx files."""
    from importlib.util import find_spec

    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise ImportError(f"no package {missing[0]}: {ADVICE}")


def module_of(classifier: Classifier, half: bool = False) -> DeployedModel:
    """The classifier as one module of PyTorch."""
    from promptkd.model.deployed import DeployedModel

    shown = classifier.preprocessing
    return DeployedModel(classifier.model, classifier.class_vectors, shown.mean, shown.std, shown.instance_norm, half)


def onnx_model(classifier: Classifier, opset: int = OPSETS.start, half: bool = False) -> Any:
    """The classifier as onnx.ModelProto: "images" (B, H, W, 3) uint8 in; probabilities, features and logits out.

    Args:
        classifier: on the CPU.
        opset: version of ONNX's operators.
        half: float16 for encoder and prompts.

    Raises:
        ValueError: PyTorch does not write this model with that opset.
    """
    import torch

    from promptkd.model.deployed import OUTPUTS, example_pixels

    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module_of(classifier, half),
                (example_pixels(classifier.preprocessing.size),),
                dynamo=True,
                opset_version=opset,
                input_names=["images"],
                output_names=list(OUTPUTS),
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=2**20)}},
                verbose=False,
            )
    except Exception as error:  # of the exporter's many kinds
        cause = error.__cause__ or error
        raise ValueError(f"PyTorch does not export this model with opset {opset} ({clipped(cause, 300)})") from error
    assert program is not None
    return program.model_proto


def write(model: Any, description: OnnxDescription, path: Path) -> None:
    """Writes an onnx.ModelProto with its description and its hash.

    Raises:
        ValueError: it is larger than the format allows.
        OSError: it cannot be written; nothing is left.
    """
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(description.to_dict()))
    model.producer_name = "promptkd"
    if model.ByteSize() >= LARGEST - 1024:
        raise ValueError(f"the model has {model.ByteSize() / 1e9:.1f} GB, an .onnx file holds 2: give --fp16 or --int8")
    files.write_bytes(path, with_hash(model.SerializeToString()))
