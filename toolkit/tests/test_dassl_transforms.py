"""Transforms; the published test transform is replayed."""

import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data.transforms import INTERPOLATION_MODES, build_transform
from dassl.data.transforms.augment import Cutout, GaussianNoise, InstanceNormalization, Random2DTranslation
from dassl.data.transforms.transforms import AVAI_CHOICES
from dassl.utils import read_image

DATA = pathlib.Path(__file__).parent / "data"
RECORDED = np.load(DATA / "preprocess.npz")


def _cfg(size=(32, 24), choices=(), **more):
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS = size, choices
    cfg.INPUT.GB_K = 5
    cfg.INPUT.update(more)
    return cfg


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), "uint8"))


@pytest.mark.parametrize("key", sorted(RECORDED.files))
def test_test_transform_equals_the_recorded_one(key):
    group, name = key.split("__")
    clip = {"PIXEL_MEAN": [0.48145466, 0.4578275, 0.40821073], "PIXEL_STD": [0.26862954, 0.26130258, 0.27577711]}
    recorded = RECORDED[key]
    size, names = recorded.shape[1:], () if group.endswith("uint8") else ("normalize",)
    tfm = build_transform(_cfg(size, names, INTERPOLATION="bicubic", **clip), is_train=False)
    result = tfm(read_image(str(DATA / f"{name}.png"))).numpy()
    if recorded.dtype == np.uint8:
        assert np.array_equal(np.rint(result * 255).astype(np.uint8), recorded)
    else:
        np.testing.assert_allclose(result, recorded, rtol=0, atol=1e-6)


@pytest.mark.parametrize("choice", [(), *((name,) for name in AVAI_CHOICES), tuple(AVAI_CHOICES)])
@pytest.mark.parametrize("mode", sorted(INTERPOLATION_MODES))
def test_every_choice_runs(image, choice, mode):
    torch.manual_seed(0)
    for is_train in (True, False):
        tfm = build_transform(_cfg(choices=choice, INTERPOLATION=mode, COLORJITTER_B=0.9), is_train=is_train)
        for _ in range(3):
            out = tfm(image)
            assert out.shape == (3, 32, 24) and out.dtype == torch.float32 and torch.isfinite(out).all()


def test_steps_come_in_the_fixed_order(capsys):
    build_transform(_cfg(choices=tuple(reversed(AVAI_CHOICES))))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Building transform_train"
    order = ["random translation", "random crop", "random resized crop", "random flip", "imagenet", "cifar10", "svhn"]
    order += ["randaugment", "randaugment2", "randaugment_fixmatch", "color jitter", "random gray scale"]
    order += ["gaussian blur", "to torch tensor", "cutout"]
    order += ["normalization", "gaussian noise", "instance normalization"]
    assert len(lines) == len(order) + 1
    for line, start in zip(lines[1:], order, strict=True):
        assert line.startswith(f"+ {start}")


def test_printed_lines_are_the_fields(capsys):
    cfg = _cfg((64, 64), ("random_resized_crop", "random_flip", "normalize"))
    build_transform(cfg)
    build_transform(cfg, is_train=False)
    norm = "+ normalization (mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"
    assert capsys.readouterr().out.splitlines() == [
        "Building transform_train",
        "+ random resized crop (size=(64, 64), scale=(0.08, 1.0))",
        "+ random flip",
        "+ to torch tensor of range [0, 1]",
        norm,
        "Building transform_test",
        "+ resize the smaller edge to 64",
        "+ 64x64 center crop",
        "+ to torch tensor of range [0, 1]",
        norm,
    ]


def test_choices_argument_and_no_transform(image):
    cfg = _cfg(choices=("normalize",), VERBOSE=False)
    plain = build_transform(cfg, is_train=False, choices=())(image)
    assert 0 <= plain.min() and plain.max() <= 1
    assert build_transform(cfg, is_train=False)(image).min() < 0
    assert build_transform(_cfg(NO_TRANSFORM=True)) is None


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'random_flip'"):
        build_transform(_cfg(choices=("randomflip",)))
    with pytest.raises(ValueError, match="did you mean 'bicubic'"):
        build_transform(_cfg(INTERPOLATION="bicubik"))


def test_cutout_zeroes_squares_of_its_size():
    torch.manual_seed(0)
    img = torch.ones(3, 32, 32)
    areas = []
    for _ in range(50):
        out = Cutout(1, 8)(img)
        assert torch.equal(out[0], out[1]) and set(out.unique().tolist()) == {0.0, 1.0}
        areas.append(int((out[0] == 0).sum()))
    assert max(areas) == 64 and min(areas) >= 16 and img.min() == 1


def test_noise_and_instance_normalisation():
    torch.manual_seed(0)
    img = torch.rand(3, 64, 64) * 3
    noise = GaussianNoise(1.0, 0.2, p=1.0)(img) - img
    assert noise.mean().item() == pytest.approx(1.0, abs=0.02) and noise.std().item() == pytest.approx(0.2, abs=0.02)
    assert GaussianNoise(p=0.0)(img) is img
    out = InstanceNormalization()(img)
    assert torch.allclose(out.mean((1, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std((1, 2)), torch.ones(3), atol=1e-5)


def test_translation_moves_the_image(image):
    torch.manual_seed(0)
    stay = Random2DTranslation(40, 50, p=0.0)(image)
    assert np.array_equal(np.asarray(stay), np.asarray(image))
    moved = [np.asarray(Random2DTranslation(40, 50, p=1.0)(image)) for _ in range(4)]
    assert all(pixels.shape == (40, 50, 3) for pixels in moved)
    assert any(not np.array_equal(moved[0], pixels) for pixels in moved[1:])
