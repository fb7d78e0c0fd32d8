"""Resize and crop in front of an exported model, so that it takes pixels of any size."""

from __future__ import annotations

from typing import Any

from promptkd.deploy.preprocessing import Preprocessing

# The resizers of ONNX that are Pillow's: half-pixel centres, wider filters where an image gets smaller.
_MODES: dict[str, dict[str, Any]] = {
    "bicubic": {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1},
    "bilinear": {"mode": "linear", "antialias": 1},
    "nearest": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
}


def with_resizing(model: Any, preprocessing: Preprocessing) -> Any:
    """An onnx.ModelProto whose "images" are (B, any H, any W, 3) uint8, all of one size.

    ONNX Runtime's resizer differs from Pillow's by one level in a few pixels of 10,000: its weights are float32.

    Args:
        model: one whose "images" are of the size that `preprocessing` makes.
        preprocessing: the resize and the crop.
    """
    import numpy as np
    from onnx import TensorProto, compose, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def number(name: str, value: Any, kind: type = np.int64) -> str:
        constants.append(numpy_helper.from_array(np.array(value, kind), name))
        return name

    def node(operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    shape = node("Shape", ["pixels"], "shape")
    batch, height, width = (
        node("Gather", [shape, number(f"at_{name}", [axis])], name)
        for axis, name in enumerate(("count", "height", "width"))
    )
    shorter = node("Min", [height, width], "shorter")
    side = number("resize_to", [preprocessing.resize])
    new = [  # the longer side is rounded down, as torchvision does
        node("Div", [node("Mul", [one, side], f"{one}_times"), shorter], f"new_{one}") for one in (height, width)
    ]
    sizes = node("Concat", [batch, *new, number("channels", [3])], "new_sizes", axis=0)
    resized = node(
        "Resize",
        ["pixels", "", "", sizes],
        "resized",
        coordinate_transformation_mode="half_pixel",
        **_MODES[preprocessing.interpolation],
    )
    starts, ends = [], []
    half = number("half", [0.5], np.float32)
    for one, wanted in zip(new, preprocessing.size, strict=True):
        length = number(f"{one}_kept", [wanted])
        left = node("Cast", [node("Sub", [one, length], f"{one}_left")], f"{one}_left_float", to=TensorProto.FLOAT)
        middle = node("Round", [node("Mul", [left, half], f"{one}_middle")], f"{one}_rounded")  # half to even, too
        starts.append(node("Cast", [middle], f"{one}_start", to=TensorProto.INT64))
        ends.append(node("Add", [starts[-1], length], f"{one}_end"))
    span = [node("Concat", one, name, axis=0) for one, name in ((starts, "crop_start"), (ends, "crop_end"))]
    node("Slice", [resized, *span, number("crop_axes", [1, 2])], "cropped")
    kind = TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "resize_and_crop",
        [helper.make_tensor_value_info("pixels", kind, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info("cropped", kind, ["batch", *preprocessing.size, 3])],
        constants,
    )
    front = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    front = compose.add_prefix(front, "resizing_", rename_inputs=True)
    merged = compose.merge_models(front, model, io_map=[("resizing_cropped", "images")])
    for one in merged.graph.node:
        for place, name in enumerate(one.input):
            if name == "resizing_pixels":
                one.input[place] = "images"
    merged.graph.input[0].name = "images"
    return merged
