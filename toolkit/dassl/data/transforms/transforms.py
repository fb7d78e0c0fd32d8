"""From configuration to a transform: PIL image -> tensor (3, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torchvision import transforms as T
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode
from yacs.config import CfgNode

from dassl.utils import check_availability

from .augment import Cutout, GaussianNoise, InstanceNormalization, Random2DTranslation
from .randaugment import RandAugment2, RandAugmentFixMatch

AVAI_CHOICES = [
    *("random_translation", "random_crop", "random_resized_crop", "random_flip"),
    *("imagenet_policy", "cifar10_policy", "svhn_policy"),
    *("randaugment", "randaugment2", "randaugment_fixmatch"),
    *("colorjitter", "randomgrayscale", "gaussian_blur", "cutout", "normalize", "gaussian_noise", "instance_norm"),
]

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}

_Step = tuple[str, Callable[[Any], Any]]  # what is printed, and what it does


def build_transform(
    cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None
) -> Callable[[Any], Any] | None:
    """Build the transform of training or test images, and print its steps where VERBOSE.

    Args:
        choices: names of transforms; None takes cfg.INPUT.TRANSFORMS. They apply in a fixed order.

    Returns:
        PIL RGB image -> float tensor (3, H, W); None where INPUT.NO_TRANSFORM.

    Raises:
        ValueError: unknown transform or INPUT.INTERPOLATION.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    names = list(cfg.INPUT.TRANSFORMS if choices is None else choices)
    for name in names:
        check_availability(name, AVAI_CHOICES)
    check_availability(cfg.INPUT.INTERPOLATION, INTERPOLATION_MODES)
    steps = _train_steps(cfg, names) if is_train else _test_steps(cfg, names)
    if cfg.VERBOSE:
        print(f"Building transform_{'train' if is_train else 'test'}")
        for text, _ in steps:
            print(f"+ {text}")
    return T.Compose([step for _, step in steps])


def _train_steps(cfg: CfgNode, names: Sequence[str]) -> list[_Step]:
    inp = cfg.INPUT
    height, width = inp.SIZE
    mode = INTERPOLATION_MODES[inp.INTERPOLATION]
    pad, scale = inp.CROP_PADDING, tuple(inp.RRCROP_SCALE)
    n, m = inp.RANDAUGMENT_N, inp.RANDAUGMENT_M
    jitter = (inp.COLORJITTER_B, inp.COLORJITTER_C, inp.COLORJITTER_S, inp.COLORJITTER_H)
    blur, p_blur = inp.GB_K, inp.GB_P
    policy = AutoAugmentPolicy

    steps: list[_Step] = []
    if "random_crop" not in names and "random_resized_crop" not in names:
        steps.append((f"resize to {height}x{width}", T.Resize(tuple(inp.SIZE), mode)))
    on_pil: dict[str, tuple[str, Callable[[], Any]]] = {
        "random_translation": ("random translation", lambda: Random2DTranslation(height, width, interpolation=mode)),
        "random_crop": (
            f"random crop (padding={pad})",
            lambda: T.RandomCrop(tuple(inp.SIZE), padding=pad, pad_if_needed=True),
        ),
        "random_resized_crop": (
            f"random resized crop (size={tuple(inp.SIZE)}, scale={scale})",
            lambda: T.RandomResizedCrop(tuple(inp.SIZE), scale=scale, interpolation=mode),
        ),
        "random_flip": ("random flip", T.RandomHorizontalFlip),
        "imagenet_policy": ("imagenet policy", lambda: T.AutoAugment(policy.IMAGENET)),
        "cifar10_policy": ("cifar10 policy", lambda: T.AutoAugment(policy.CIFAR10)),
        "svhn_policy": ("svhn policy", lambda: T.AutoAugment(policy.SVHN)),
        "randaugment": (f"randaugment (n={n}, m={m})", lambda: T.RandAugment(n, m)),
        "randaugment2": (f"randaugment2 (n={n})", lambda: RandAugment2(n)),
        "randaugment_fixmatch": (f"randaugment_fixmatch (n={n})", lambda: RandAugmentFixMatch(n)),
        "colorjitter": (
            "color jitter (brightness={}, contrast={}, saturation={}, hue={})".format(*jitter),
            lambda: T.ColorJitter(*jitter),
        ),
        "randomgrayscale": (f"random gray scale (p={inp.RGS_P})", lambda: T.RandomGrayscale(inp.RGS_P)),
        "gaussian_blur": (
            f"gaussian blur (kernel={blur}, p={p_blur})",
            lambda: T.RandomApply([T.GaussianBlur(blur)], p=p_blur),
        ),
    }
    steps += [(text, make()) for name, (text, make) in on_pil.items() if name in names]
    steps.append(_to_tensor())
    if "cutout" in names:
        text = f"cutout (n_holes={inp.CUTOUT_N}, length={inp.CUTOUT_LEN})"
        steps.append((text, Cutout(inp.CUTOUT_N, inp.CUTOUT_LEN)))
    steps += _normalize(cfg, names)
    if "gaussian_noise" in names:
        text = f"gaussian noise (mean={inp.GN_MEAN}, std={inp.GN_STD})"
        steps.append((text, GaussianNoise(inp.GN_MEAN, inp.GN_STD)))
    return steps + _instance_norm(names)


def _test_steps(cfg: CfgNode, names: Sequence[str]) -> list[_Step]:
    height, width = cfg.INPUT.SIZE
    larger = max(height, width)
    return [
        (f"resize the smaller edge to {larger}", T.Resize(larger, INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION])),
        (f"{height}x{width} center crop", T.CenterCrop((height, width))),
        _to_tensor(),
        *_normalize(cfg, names),
        *_instance_norm(names),
    ]


def _to_tensor() -> _Step:
    return "to torch tensor of range [0, 1]", T.ToTensor()


def _normalize(cfg: CfgNode, names: Sequence[str]) -> list[_Step]:
    if "normalize" not in names:
        return []
    mean, std = list(cfg.INPUT.PIXEL_MEAN), list(cfg.INPUT.PIXEL_STD)
    return [(f"normalization (mean={mean}, std={std})", T.Normalize(mean, std))]


def _instance_norm(names: Sequence[str]) -> list[_Step]:
    return [("instance normalization", InstanceNormalization())] if "instance_norm" in names else []
