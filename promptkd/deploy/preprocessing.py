"""From an image to a model's input, as a run made it, or as a model wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from promptkd.bounded import shown, whole_number
from promptkd.texts import clipped

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    import numpy as np
    from PIL import Image
    from torch import Tensor
    from yacs.config import CfgNode

    from promptkd.model.prompted_clip import PromptedClip

INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
LARGEST = 4096  # pixels of a side of a model's input


@dataclass(frozen=True)
class Preprocessing:
    """The way of a test image: its shorter side is resized, the centre cut out, each channel normalised.

    `pixels` does the first two with Pillow alone, to the bit as torchvision's transforms do them; the rest is
    `(pixels / 255 - mean) / std`.

    Attributes:
        size: height and width of the model's input.
        resize: length that the shorter side of an image gets.
        interpolation: "bicubic", "bilinear" or "nearest".
        crop: "center", the only one there is.
        mean, std: of the three channels, for values from 0 to 1.
        instance_norm: whether each channel of each image is brought to mean 0 and deviation 1 after that.
    """

    size: tuple[int, int]
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: str = "center"
    instance_norm: bool = False

    def pixels(self, image: Image.Image) -> np.ndarray:
        """An image of any size and mode -> (H, W, 3) uint8, upright, transparent parts white.

        Raises:
            ValueError: a shape that resizing would blow up, or values of no known range.
        """
        import numpy as np
        from PIL import Image

        from promptkd.data.images import check_shape, upright

        check_shape(image)
        rgb = upright(image)
        width, height = _resized(rgb.size, self.resize)
        if (width, height) != rgb.size:
            rgb = rgb.resize((width, height), Image.Resampling[self.interpolation.upper()])
        bottom, right = self.size
        left, top = round((width - right) / 2), round((height - bottom) / 2)
        return np.asarray(rgb.crop((left, top, left + right, top + bottom)))

    def tensor(self, image: Image.Image) -> Tensor:
        """An image -> (3, H, W) float32, normalised: a model's input."""
        import torch

        pixels = torch.from_numpy(self.pixels(image).copy()).permute(2, 0, 1).float() / 255  # (3, H, W)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        normal = (pixels - mean) / std
        if not self.instance_norm:
            return normal
        middle, deviation = (one(normal, dim=(1, 2), keepdim=True) for one in (torch.mean, torch.std))
        return (normal - middle) / (deviation + 1e-8)

    def batch(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, H, W, 3) uint8."""
        import numpy as np

        return np.stack([self.pixels(image) for image in images])

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return asdict(self) | {"size": list(self.size), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, entries: Any) -> Preprocessing:
        """Takes `to_dict` back.

        Raises:
            ValueError: a field is missing, unknown or of an impossible value; the message names it.
        """
        fields = list(cls.__dataclass_fields__)
        if not isinstance(entries, dict) or sorted(entries) != sorted(fields):
            raise ValueError(f"preprocessing is {shown(entries)}: the fields {', '.join(fields)} are wanted")
        size, mean, std = entries["size"], entries["mean"], entries["std"]
        _check_size("preprocessing.size", size)
        _check_three("preprocessing.mean", mean)
        _check_three("preprocessing.std", std, deviations=True)
        whole_number(entries["resize"], "preprocessing.resize", max(size), LARGEST)
        for name, choices in (("interpolation", INTERPOLATIONS), ("crop", ("center",)), ("instance_norm", (0, 1))):
            if entries[name] not in choices or (name == "instance_norm" and not isinstance(entries[name], bool)):
                raise ValueError(f"preprocessing.{name} is {shown(entries[name])}: this version knows {choices}")
        return cls(**entries | {"size": tuple(size), "mean": tuple(map(float, mean)), "std": tuple(map(float, std))})

    @classmethod
    def of_run(cls, config: CfgNode) -> Preprocessing:
        """The description of a run's test transform, from its configuration.

        Raises:
            ValueError: an option of INPUT is of another kind or out of range, or there is no transform.
        """
        fields = checked_input(config)
        if fields.NO_TRANSFORM:
            raise ValueError("INPUT.NO_TRANSFORM of the run's configuration leaves images as they are: it has no size")
        normalize = "normalize" in fields.TRANSFORMS
        return cls(
            size=(fields.SIZE[0], fields.SIZE[1]),
            resize=max(fields.SIZE),
            interpolation=fields.INTERPOLATION,
            mean=tuple(map(float, fields.PIXEL_MEAN)) if normalize else (0.0, 0.0, 0.0),
            std=tuple(map(float, fields.PIXEL_STD)) if normalize else (1.0, 1.0, 1.0),
            instance_norm="instance_norm" in fields.TRANSFORMS,
        )

    @classmethod
    def of_model(cls, model: PromptedClip) -> Preprocessing:
        """The test transform of the field for a model: bicubic, centre crop, its own size, mean and deviation."""
        from promptkd.model.prompting import shape_of
        from promptkd.model.zoo import image_statistics

        mean, std = image_statistics(model.clip)
        side = shape_of(model.clip).resolution
        return cls((side, side), side, "bicubic", tuple(map(float, mean)), tuple(map(float, std)))


def _resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height of an image once its shorter side is so long; the longer one is rounded down, as torchvision."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def checked_input(config: CfgNode) -> CfgNode:
    """The INPUT section of a run's configuration over Dassl's defaults, each of its kind and range.

    Raises:
        ValueError: an option is of another kind, or out of range; the message names it.
    """
    from dassl.config import get_cfg_default

    fields = get_cfg_default().INPUT
    for key, value in config.get("INPUT", {}).items():
        if key not in fields:  # ours, and of training
            continue
        _check_input(key, value, fields[key])
        fields[key] = tuple(value) if isinstance(fields[key], tuple) else value
    return fields


def transform_of_run(config: CfgNode) -> Any:
    """A run's test transform, from its configuration: an RGB image -> (3, H, W).

    Raises:
        ValueError: an option of INPUT is of another kind, or out of range; the message names it.
    """
    from dassl.config import get_cfg_default
    from dassl.data.transforms import build_transform

    cfg = get_cfg_default()
    cfg.INPUT = checked_input(config)
    cfg.VERBOSE = False
    try:
        return build_transform(cfg, is_train=False)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ValueError(f"INPUT of the run's configuration makes no transform ({clipped(error)})") from error


def _check_input(key: str, value: Any, default: Any) -> None:
    """Raises ValueError where an option of INPUT is of another kind than Dassl's, or of no possible size."""
    where = f"INPUT.{key} of the run's configuration"
    if key == "SIZE":
        _check_size(where, value)
    elif key in ("PIXEL_MEAN", "PIXEL_STD"):
        _check_three(where, value, deviations=key == "PIXEL_STD")
    elif isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} is {shown(value)}: a list is wanted, as {shown(default)}")
    elif type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
        raise ValueError(f"{where} is {shown(value)}: a value like {shown(default)} is wanted")


def _check_size(where: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{where} is {shown(value)}: height and width are wanted")
    for side in value:
        whole_number(side, where, 1, LARGEST)


def _check_three(where: str, value: Any, deviations: bool = False) -> None:
    three = isinstance(value, (list, tuple)) and len(value) == 3
    if not three or not all(type(one) in (int, float) and abs(one) < 1e4 for one in value):
        raise ValueError(f"{where} is {shown(value)}: three numbers are wanted")
    if deviations and not min(value) > 0:
        raise ValueError(f"{where} is {shown(value)}: deviations are above 0")


def transform_of_model(model: PromptedClip) -> Callable[[Image.Image], Tensor]:
    """The test transform of the field for a model: an image -> (3, H, W); see `Preprocessing.of_model`."""
    return Preprocessing.of_model(model).tensor
