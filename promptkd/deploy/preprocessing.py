"""From an image to a model's input, as a run made it, or as a model wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promptkd.bounded import clipped, shown, whole_number

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    from yacs.config import CfgNode

    from promptkd.model.prompted_clip import PromptedClip


def transform_of_run(config: CfgNode) -> Any:
    """A run's test transform, from its configuration: an RGB image -> (3, H, W).

    Raises:
        ValueError: an option of INPUT is of another kind, or out of range; the message names it.
    """
    from dassl.config import get_cfg_default
    from dassl.data.transforms import build_transform

    cfg = get_cfg_default()
    for key, value in config.get("INPUT", {}).items():
        if key not in cfg.INPUT:  # ours, and of training
            continue
        _check_input(key, value, cfg.INPUT[key])
        cfg.INPUT[key] = tuple(value) if isinstance(cfg.INPUT[key], tuple) else value
    cfg.VERBOSE = False
    try:
        return build_transform(cfg, is_train=False)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ValueError(f"INPUT of the run's configuration makes no transform ({clipped(error)})") from error


def _check_input(key: str, value: Any, default: Any) -> None:
    """Raises ValueError where an option of INPUT is of another kind than Dassl's, or of no possible size."""
    where = f"INPUT.{key} of the run's configuration"
    if key == "SIZE":
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError(f"{where} is {shown(value)}: height and width are wanted")
        for side in value:
            whole_number(side, where, 1, 4096)
    elif key in ("PIXEL_MEAN", "PIXEL_STD"):
        three = isinstance(value, (list, tuple)) and len(value) == 3
        if not three or not all(type(one) in (int, float) and abs(one) < 1e4 for one in value):
            raise ValueError(f"{where} is {shown(value)}: three numbers are wanted")
        if key == "PIXEL_STD" and not min(value) > 0:
            raise ValueError(f"{where} is {shown(value)}: deviations are above 0")
    elif isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} is {shown(value)}: a list is wanted, as {shown(default)}")
    elif type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
        raise ValueError(f"{where} is {shown(value)}: a value like {shown(default)} is wanted")


def transform_of_model(model: PromptedClip) -> Any:
    """The test transform of the field for a model: bicubic resize, centre crop, its own size, mean and deviation."""
    from yacs.config import CfgNode

    from promptkd.model.prompting import shape_of
    from promptkd.model.zoo import image_statistics

    mean, std = image_statistics(model.clip)
    size = shape_of(model.clip).resolution
    fields = {"SIZE": (size, size), "INTERPOLATION": "bicubic", "PIXEL_MEAN": list(mean), "PIXEL_STD": list(std)}
    return transform_of_run(CfgNode({"INPUT": fields | {"TRANSFORMS": ("normalize",)}}))
