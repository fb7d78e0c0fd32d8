"""Weights, or weights and activations, of an exported model in 8 bits, by ONNX Runtime's quantizer.

"dynamic" measures activations in each run, "static" once, on calibration images. What compares image features with
class vectors stays in float32: it is small, and its differences are the answer.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptkd.deploy.preprocessing import Preprocessing
    from promptkd.deploy.run_images import ImageList

KINDS = ("dynamic", "static")
CALIBRATION_IMAGES = 128
_BATCH = 8


def quantized(model: Any, kind: str, images: ImageList | None, preprocessing: Preprocessing) -> Any:
    """An onnx.ModelProto with 8-bit weights, a scale for each channel.

    Args:
        model: in float32.
        kind: "dynamic" or "static".
        images: for "static": what the ranges of activations are measured on.
        preprocessing: of these images.

    Raises:
        ValueError: the quantizer does not take this model.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    operations = ["MatMul", "Gemm"]
    if kind == "static" or sum(node.op_type == "Conv" for node in model.graph.node) > 1:  # a ResNet; not only patches
        operations.append("Conv")
    products = [node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    options: dict[str, Any] = {
        "op_types_to_quantize": operations,
        "nodes_to_exclude": products[-1:],  # with class vectors, the last one
        "per_channel": True,
        "weight_type": QuantType.QInt8,
        "extra_options": {"MatMulConstBOnly": True},
    }
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a step for models of other exporters
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
            onnx.save(model, str(source))
            if kind == "dynamic":
                quantize_dynamic(source, target, **options)
            else:
                assert images is not None
                reader = _reader(images.spread(CALIBRATION_IMAGES), preprocessing)
                options |= {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8}
                quantize_static(source, target, reader, **options)
            return onnx.load(str(target))
    except (RuntimeError, KeyError, TypeError, AttributeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"ONNX Runtime does not quantize this model ({error})") from error
    finally:
        logging.disable(before)


def _reader(images: ImageList, preprocessing: Preprocessing) -> Any:
    """What the quantizer reads calibration images from, a batch at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[Any] = images.batches(_BATCH)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": preprocessing.batch(batch[0])}

    return Reader()
