"""From an image to a model's input, as a run made it, or as a model wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    from yacs.config import CfgNode

    from promptkd.model.prompted_clip import PromptedClip


def transform_of_run(config: CfgNode) -> Any:
    """A run's test transform, from its configuration: an RGB image -> (3, H, W)."""
    from dassl.config import get_cfg_default
    from dassl.data.transforms import build_transform

    cfg = get_cfg_default()
    for key, value in config.INPUT.items():
        if key not in cfg.INPUT:  # ours, and of training
            continue
        cfg.INPUT[key] = tuple(value) if isinstance(cfg.INPUT[key], tuple) else value
    cfg.VERBOSE = False
    return build_transform(cfg, is_train=False)


def transform_of_model(model: PromptedClip) -> Any:
    """The test transform of the field for a model: bicubic resize, centre crop, its own size, mean and deviation."""
    from yacs.config import CfgNode

    from promptkd.model.prompting import shape_of
    from promptkd.model.zoo import image_statistics

    mean, std = image_statistics(model.clip)
    size = shape_of(model.clip).resolution
    fields = {"SIZE": (size, size), "INTERPOLATION": "bicubic", "PIXEL_MEAN": list(mean), "PIXEL_STD": list(std)}
    return transform_of_run(CfgNode({"INPUT": fields | {"TRANSFORMS": ("normalize",)}}))
