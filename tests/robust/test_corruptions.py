"""Corrupted images: each kind changes images more with its severity, is the same again, and is measured in a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import result
from tiny_runs import BASE, METHODS

from promptkd.data.corruptions import KINDS, corrupted
from promptkd.engine.robust.command import main as robust


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two smooth pictures with an edge."""
    place = torch.linspace(0, 1, 96)
    ramp = torch.stack([place.expand(96, 96), place[:, None].expand(96, 96), (place * place).expand(96, 96)])
    edge = ramp.clone()
    edge[:, 24:60, 24:60] = torch.tensor([0.9, 0.2, 0.1])[:, None, None]
    return torch.stack([0.2 + 0.6 * ramp, edge])


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_images_more_with_its_severity(images: torch.Tensor, kind: str):
    changes = [float((corrupted(images, kind, severity) - images).abs().mean()) for severity in (1, 3, 5)]
    assert changes[0] > 0
    if kind == "fog":  # whose plasma is another one at each severity
        assert changes[0] < changes[2]
    elif kind not in ("saturate", "jpeg_compression"):  # it takes colour away first; blocks that suit a ramp
        assert changes[0] < changes[1] < changes[2]
    once, again = corrupted(images, kind, 3), corrupted(images, kind, 3)
    assert torch.equal(once, again) and once.min() >= 0 and once.max() <= 1 and once.shape == images.shape
    # an image is corrupted as it would be alone, whatever stands beside it
    assert torch.equal(corrupted(images[1:], kind, 3)[0], once[1])


def test_noise_has_the_strength_it_should(images: torch.Tensor):
    grey = torch.full((1, 3, 64, 64), 0.5)
    assert (corrupted(grey, "gaussian_noise", 1) - grey).std() == pytest.approx(0.08, rel=0.05)
    changed = (corrupted(grey, "impulse_noise", 5) != grey).float().mean()
    assert changed == pytest.approx(0.27, rel=0.05)
    assert (corrupted(grey, "shot_noise", 1) - grey).std() == pytest.approx((0.5 / 60) ** 0.5, rel=0.05)
    assert torch.allclose(corrupted(images, "contrast", 1).mean((2, 3)), images.mean((2, 3)), atol=1e-5)


def test_a_finished_run_is_measured(run, tmp_path: Path, capsys):
    run("CoOp", tmp_path, *BASE, *METHODS["CoOp"].words("CoOp"))
    words = [str(tmp_path), "--corrupt", "gaussian_noise", "fog", "--severities", "1", "5", "--images", "4"]
    assert robust(words) == 0
    found = result(tmp_path)["corruptions"]
    base = found["groups"]["base"]
    assert base["images"] == 4 and base["corrupted"] == pytest.approx((base["gaussian_noise"] + base["fog"]) / 2)
    assert len(found["by_severity"]["new"]["fog"]) == 2 and found["hm"].keys() == {"clean", "corrupted"}
    assert robust([str(tmp_path), "--corrupt", "gausian_noise"]) == 1
    assert "closest: gaussian_noise" in capsys.readouterr().err
    assert robust([str(tmp_path), "--corrupt", "fog", "--severities", "6"]) == 1
    assert "SEVERITIES" in capsys.readouterr().err
