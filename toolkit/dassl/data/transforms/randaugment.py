"""RandAugment (Cubuk et al., arXiv 1909.13719) and two of its kin, on PIL images.

`RandAugment` has one magnitude for all operations; `RandAugment2` and `RandAugmentFixMatch` (FixMatch,
arXiv 2001.07685, table 12) draw one for each. An operation is a name in OPERATIONS and the range of its magnitude.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Operation = Callable[[Image.Image, float], Image.Image]
Choice = tuple[str, float, float]  # name of an operation, its least and its largest magnitude


def _moved(img: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    return img.transform(img.size, Image.Transform.AFFINE, coefficients)


def _either(value: float) -> float:
    """The value or its negative."""
    return value if random.random() > 0.5 else -value


def _enhanced(kind: type[ImageEnhance._Enhance]) -> Operation:
    return lambda img, value: kind(img).enhance(value)


def _brighter_where_dark(img: Image.Image, value: float) -> Image.Image:
    """Values below 128 grow by `value`."""
    return img.point([min(255, level + int(value)) if level < 128 else level for level in range(256)] * len(img.mode))


def _grey_square(img: Image.Image, side: float) -> Image.Image:
    """A grey square of that side, pixels, at a random place; it may reach over the border."""
    if side < 1:
        return img
    left, top = (int(max(0, random.uniform(0, length) - side / 2)) for length in img.size)
    right, bottom = min(img.size[0], left + side), min(img.size[1], top + side)
    img = img.copy()
    ImageDraw.Draw(img).rectangle((left, top, right, bottom), (125, 123, 114))
    return img


OPERATIONS: dict[str, Operation] = {
    "autocontrast": lambda img, value: ImageOps.autocontrast(img),
    "equalize": lambda img, value: ImageOps.equalize(img),
    "invert": lambda img, value: ImageOps.invert(img),
    "identity": lambda img, value: img,
    "rotate": lambda img, value: img.rotate(_either(value)),
    "posterize": lambda img, value: ImageOps.posterize(img, max(1, int(value))),
    "solarize": lambda img, value: ImageOps.solarize(img, int(value)),
    "solarize_add": _brighter_where_dark,
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "shear_x": lambda img, value: _moved(img, (1, _either(value), 0, 0, 1, 0)),
    "shear_y": lambda img, value: _moved(img, (1, 0, 0, _either(value), 1, 0)),
    "translate_x": lambda img, value: _moved(img, (1, 0, _either(value) * img.size[0], 0, 1, 0)),
    "translate_y": lambda img, value: _moved(img, (1, 0, 0, 0, 1, _either(value) * img.size[1])),
    "translate_x_pixels": lambda img, value: _moved(img, (1, 0, _either(value), 0, 1, 0)),
    "translate_y_pixels": lambda img, value: _moved(img, (1, 0, 0, 0, 1, _either(value))),
    "cutout": _grey_square,
}

_ENHANCED = ("brightness", "color", "contrast", "sharpness")
_SIGNED: list[Choice] = [
    ("rotate", -30, 30),
    ("shear_x", -0.3, 0.3),
    ("shear_y", -0.3, 0.3),
    ("solarize", 0, 256),
    ("translate_x", -0.3, 0.3),
    ("translate_y", -0.3, 0.3),
]


def randaugment_list() -> list[Choice]:
    """The operations of `RandAugment`."""
    return [
        *((name, 0, 1) for name in ("autocontrast", "equalize", "invert")),
        *((name, 0.1, 1.9) for name in _ENHANCED),
        ("rotate", 0, 30),
        ("posterize", 4, 8),
        ("solarize", 0, 256),
        ("solarize_add", 0, 110),
        ("shear_x", 0, 0.3),
        ("shear_y", 0, 0.3),
        ("cutout", 0, 40),
        ("translate_x_pixels", 0, 100),
        ("translate_y_pixels", 0, 100),
    ]


def randaugment_list2() -> list[Choice]:
    """The operations of `RandAugment2`."""
    plain = ("autocontrast", "equalize", "identity", "invert")
    return [*((n, 0, 1) for n in plain), *((n, 0.1, 1.9) for n in _ENHANCED), ("posterize", 4, 8), *_SIGNED]


def fixmatch_list() -> list[Choice]:
    """The operations of `RandAugmentFixMatch`."""
    plain = ("autocontrast", "equalize", "identity")
    return [*((n, 0, 1) for n in plain), *((n, 0.05, 0.95) for n in _ENHANCED), ("posterize", 4, 8), *_SIGNED]


class RandAugment:
    """`n` random operations at the magnitude `m`.

    Args:
        n: number of operations.
        m: from 0 to 30, in 30ths of each operation's range.

    Raises:
        ValueError: another magnitude.
    """

    def __init__(self, n: int = 2, m: float = 10) -> None:
        if not 0 <= m <= 30:
            raise ValueError(f"the magnitude of RandAugment is {m}; give 0 to 30")
        self.n, self.m = n, m
        self.augment_list = randaugment_list()

    def __call__(self, img: Image.Image) -> Image.Image:
        """Transform a PIL RGB image."""
        for name, least, most in random.choices(self.augment_list, k=self.n):
            img = OPERATIONS[name](img, least + self.m / 30 * (most - least))
        return img


class RandAugment2:
    """`n` random operations, each applied with probability `p`, at random magnitudes."""

    def __init__(self, n: int = 2, p: float = 0.6) -> None:
        self.n, self.p = n, p
        self.augment_list = randaugment_list2()

    def __call__(self, img: Image.Image) -> Image.Image:
        """Transform a PIL RGB image."""
        for name, least, most in random.choices(self.augment_list, k=self.n):
            if random.random() <= self.p:
                img = OPERATIONS[name](img, random.uniform(least, most))
        return img


class RandAugmentFixMatch(RandAugment2):
    """FixMatch's: `n` random operations at random magnitudes."""

    def __init__(self, n: int = 2) -> None:
        super().__init__(n, p=1.0)
        self.augment_list = fixmatch_list()
