"""Attacks: the ball and the range of pixels, against naive loops, and the sanity numbers of the bundled models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from promptkd.engine.robust.attacks import Attack, PixelSpace, against_labels, away_from, in_float32, perturbation
from promptkd.engine.robust.autoattack import check_classes
from promptkd.engine.robust.gallery import Changed, Gallery
from promptkd.engine.robust.measuring import RobustOptions, ZeroGradients, accuracies, by_gradient
from promptkd.engine.robust.samples import balanced_sample, loader_of_sample
from promptkd.results.doubts import doubts
from promptkd.results.numbers import check_changed


@pytest.fixture
def victim():
    torch.manual_seed(0)
    layer = torch.nn.Linear(12, 5)
    return lambda pixels: 20 * layer(pixels.flatten(1))


def by_hand(logits, pixels, labels, eps, step, steps):
    """The same attack, image by image and value by value."""
    found = []
    for image, label in zip(pixels, labels, strict=True):
        delta = torch.zeros_like(image)
        for _ in range(steps):
            delta.requires_grad_(True)
            F.cross_entropy(logits((image + delta)[None]), label[None]).backward()
            moved = []
            for value, slope, pixel in zip(delta.flatten().tolist(), delta.grad.flatten().tolist(), image.flatten().tolist(), strict=True):  # fmt: skip  # noqa: E501
                value = max(-eps, min(eps, value + step * ((slope > 0) - (slope < 0))))
                moved.append(max(0.0, min(1.0, pixel + value)) - pixel)
            delta = torch.tensor(moved).view_as(image)
        found.append(delta)
    return torch.stack(found)


def test_an_attack_is_that_of_a_naive_loop(victim):
    pixels, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 3])
    pixels[0, 0] = 0.0  # at the edge of the range
    delta = perturbation(pixels, against_labels(victim, labels), Attack(0.1, 3, 0.04))
    torch.testing.assert_close(delta, by_hand(victim, pixels, labels, 0.1, 0.04, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("box", [True, False])
@pytest.mark.parametrize("random_start", [True, False])
def test_it_stays_in_the_ball_and_in_the_range(victim, box: bool, random_start: bool):
    pixels, labels = torch.rand(8, 3, 2, 2).round(decimals=1), torch.arange(8) % 5
    attack = Attack(8 / 255, 5, random_start=random_start)
    delta = perturbation(pixels, against_labels(victim, labels), attack, box=box)
    assert delta.abs().max() <= 8 / 255 + 1e-7 and (pixels + delta).min() >= 0 and (pixels + delta).max() <= 1
    assert not delta.requires_grad
    before, after = (F.cross_entropy(victim(x), labels) for x in (pixels, pixels + delta))
    assert after > before + 0.1


def test_no_radius_is_no_change(victim):
    pixels = torch.rand(2, 3, 2, 2)
    assert not perturbation(pixels, against_labels(victim, torch.tensor([0, 1])), Attack(0.0, 2, 0.1, True)).any()


def test_away_from_is_the_divergence(victim):
    pixels, target = torch.rand(3, 3, 2, 2), torch.randn(3, 5)
    p, q = target.softmax(-1), victim(pixels).softmax(-1)
    torch.testing.assert_close(away_from(victim, target)(pixels), (p * (p / q).log()).sum(-1))


def test_half_precision_is_left_as_it_was():
    weights = torch.nn.Linear(3, 3).half()
    before = {name: value.clone() for name, value in weights.state_dict().items()}
    precision = SimpleNamespace(store=lambda clip: clip.half())
    model = SimpleNamespace(clip=weights, precision=precision, device=torch.device("cpu"))
    with in_float32(model):  # type: ignore[arg-type]
        assert model.clip.weight.dtype is torch.float32
    assert all(torch.equal(value, before[name]) for name, value in model.clip.state_dict().items())


def test_a_sample_is_balanced_and_fixed():
    items = [SimpleNamespace(label=label, number=n) for label, n in ((0, 50), (1, 3), (2, 10)) for n in range(n)]
    chosen = balanced_sample(items, 15)
    counts = [sum(item.label == label for item in chosen) for label in range(3)]
    assert counts == [6, 3, 6] and chosen == balanced_sample(items, 15)
    assert [item.number for item in chosen if item.label == 0] == [0, 8, 16, 25, 33, 41]  # all over its list
    assert balanced_sample(items, 0) == items == balanced_sample(items, 99)


def measured(options: RobustOptions, **values: float) -> dict[str, Any]:
    """`robustness` of 100 images of one group."""
    return {"attack": options.described(), "groups": {"all": {"images": 100, "clean": 60.0} | values}}


def test_numbers_that_speak_of_masked_gradients_are_told():
    options = RobustOptions("pgd", (1.0, 4.0), 10, 0.0, False, 0, True)
    good = {"pgd10_eps1": 40.0, "check_fgsm_eps1": 45.0, "check_pgd10_eps1": 40.0, "check_pgd100_eps1": 39.0}
    good |= {"pgd10_eps4": 10.0, "check_pgd10_eps4": 10.0, "check_pgd10_eps16": 0.0}
    assert doubts(measured(options, **good)) == []
    wrong = {"check_pgd100_eps1": 50.0, "check_fgsm_eps1": 30.0, "pgd10_eps4": 60.0, "check_pgd10_eps16": 30.0}
    for name, value in (*wrong.items(), ("aa_eps1", 60.0)):
        found = doubts(measured(options, **good | {name: value}))
        assert found and name in " ".join(found)


@pytest.mark.parametrize(
    ("steps", "alpha", "random_start"), [(200, 0.0, False), (1, 0.0, False), (100, 0.0, False), (10, 1.0, True)]
)
def test_what_is_asked_for_is_not_compared_by_its_steps(steps: int, alpha: float, random_start: bool):
    """The check has attacks of its own, zero start and eps / 4, beside the one that is asked for, whatever that is."""
    options = RobustOptions("pgd", (1.0, 16.0), steps, alpha, random_start, 0, True)
    named = options.attacks()
    own = [f"check_{name}_eps{eps}" for eps in (1, 16) for name in ("fgsm", "pgd10", "pgd100")]
    assert list(named) == [f"pgd{steps}_eps1", f"pgd{steps}_eps16", *own]
    equal = steps == 100  # is measured once
    assert (named[f"pgd{steps}_eps1"] is named["check_pgd100_eps1"]) == equal
    assert named[f"pgd{steps}_eps16"] not in [named["check_pgd10_eps16"], named["check_fgsm_eps16"]]
    values = {"check_fgsm_eps1": 36.0, "check_pgd10_eps1": 35.0, "check_pgd100_eps1": 33.0, "check_pgd100_eps16": 0.0}
    values |= {f"pgd{steps}_eps1": 30.0 if steps == 200 else 50.0, f"pgd{steps}_eps16": 30.0}
    found = doubts(measured(options, **values))
    assert all("the attack cannot reach eps" in one for one in found) and len(found) == (2 if steps == 1 else 0)


def test_an_attack_that_cannot_reach_the_border_of_its_ball_is_told():
    options = RobustOptions("pgd", (1.0, 8.0), 4, 1.0, False, 0, False)
    (found,) = doubts(measured(options))
    assert found.startswith("the attack cannot reach eps: pgd4_eps8 takes 4 steps of 1/255, 4/255 together")
    assert doubts(measured(replace(options, alpha=0.0))) == doubts(measured(replace(options, random_start=True))) == []


def test_gradients_that_are_exactly_zero_are_told(victim):
    zeros = ZeroGradients()
    assert zeros.percent(torch.device("cpu")) == 0

    def half_blind(pixels):
        return victim(torch.cat([pixels[..., :1], pixels[..., 1:].detach()], dim=-1))

    pixels, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 3])
    by_gradient(Attack(0.1, 3), watch=zeros.add)(half_blind, pixels, labels)
    assert zeros.percent(torch.device("cpu")) == 50
    options = RobustOptions("pgd", (1.0,), 10, 0.0, False, 0, False)
    assert doubts(measured(options) | {"zero_gradients": {"all": 0.9}}) == []
    assert (
        "50.0 % of the gradient's values are exactly 0"
        in doubts(measured(options) | {"zero_gradients": {"all": 50.0}})[0]
    )
    with pytest.raises(ValueError, match="zero_gradients"):
        check_changed("robustness", {"zero_gradients": {"all": 101}})


def test_a_random_start_follows_from_its_seed_alone(victim):
    pixels, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 3])
    attack = Attack(0.1, 1, 0.01, random_start=True)
    found = []
    for seed in (1, 1, 2, -1):
        torch.rand(3)  # what others draw
        found.append(by_gradient(attack, seed)(victim, pixels, labels))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2]) and not torch.equal(found[0], found[3])


def test_a_process_without_images_counts_none(monkeypatch):
    items = [SimpleNamespace(label=0)]
    task = SimpleNamespace(evaluation_loader=SimpleNamespace(dataset=SimpleNamespace(data_source=items)), loader=list)
    assert loader_of_sample(task, [0], 1) == items  # type: ignore[arg-type]
    monkeypatch.setattr("promptkd.distributed.rank", lambda: 1)
    monkeypatch.setattr("promptkd.distributed.world_size", lambda: 2)
    assert loader_of_sample(task, [0], 1) == ()  # type: ignore[arg-type]
    monkeypatch.undo()
    space = PixelSpace(torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    found = accuracies(lambda images: images, (), [0], {"pgd": by_gradient(Attack(0.1, 1))}, space)
    assert found == {"images": 0, "clean": 0.0, "pgd": 0.0}


def test_autoattack_needs_four_classes():
    check_classes({"all": [0, 1, 2, 3]})
    with pytest.raises(ValueError, match="needs 4 classes, new has 3: use pgd"):
        check_classes({"base": [0, 1, 2, 3], "new": [4, 5, 6]})


def test_a_gallery_keeps_one_image_a_class_those_led_astray_first(tmp_path):
    names = ["a", "b", "c", "d"]
    labels = torch.tensor([0, 1, 0, 2, 3, 1])
    answers = torch.tensor([0, 1, 1, 3, 3, 0])  # images 2, 3 and 5 are led astray
    pixels, delta = torch.rand(6, 3, 8, 8), torch.full((6, 3, 8, 8), 4 / 255)
    before, after = (8 * torch.nn.functional.one_hot(each, 4).float() for each in (labels, answers))
    gallery = Gallery("pgd10_eps4", tmp_path, each=4)
    files = [str(tmp_path / f"{row}.png") for row in range(6)]
    gallery.add("base", names, Changed("pgd10_eps1", files, pixels, delta, labels, before, after))  # another attack
    gallery.add("base", names, Changed("pgd10_eps4", files, pixels, delta, labels, before, after))
    (tmp_path / "attacked").mkdir()
    (tmp_path / "attacked" / f"{0:016x}.png").touch()  # of an earlier measurement
    (tmp_path / "attacked" / "mine.png").touch()
    kept = gallery.save(tmp_path)
    assert [(one["path"], one["label"], one["prediction"]) for one in kept] == [
        *(("2.png", "a", "b"), ("3.png", "c", "d"), ("5.png", "b", "a"), ("0.png", "a", "a")),
    ]
    check_changed("robustness", {"examples": kept})
    pictures = {Path(one["picture"]).name for one in kept}
    # earlier ones go when the record that named them is written anew, not before
    assert {file.name for file in (tmp_path / "attacked").iterdir()} == pictures | {"mine.png", f"{0:016x}.png"}
    with Image.open(tmp_path / kept[0]["picture"]) as picture:
        assert picture.size == (24, 8)
        assert picture.getpixel((12, 4)) == (round(255 * (0.5 + 40 / 255)),) * 3
    assert all(0 < one["before"] <= 100 and 0 < one["after"] <= 100 for one in kept)


def test_one_table_has_attacks_corruptions_and_calibration(tmp_path):
    import made_up

    from promptkd.tables.command import collect, text_of

    for trainer, uncorrupted in (("CoOp", 70.0), ("PromptKD", 65.0)):
        groups = {group: {"images": 9, "clean": 70.0, "pgd10_eps1": 30.0} for group in ("base", "new")}
        shifted = {group: {"images": 9, "clean": uncorrupted, "corrupted": 50.0, "fog": 50.0} for group in groups}
        by_severity = {group: {"fog": [50.0]} for group in groups}
        content = made_up.result(trainer, robustness={"groups": groups})
        content["corruptions"] = {"severities": [1], "groups": shifted, "by_severity": by_severity}
        for group, ece in (("base", 4.0), ("new", 11.0)):
            content["metrics"][group] |= {"ece": ece, "auroc_other_data": 81.5}
        made_up.write(tmp_path / trainer, content)
    text = text_of(*collect([str(tmp_path)]), "markdown", compare=False)
    table = text[text.index("under attack and on") :].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if line.startswith("|")]
    names = ["clean", "pgd10_eps1", "uncorrupted", "corrupted", "ECE", "AUROC", "seeds"]
    assert cells[0] == ["method", "data set", "learned", "group", *names]
    assert cells[2][2:] == ["inductive", "base", "70.00", "30.00", "70.00", "50.00", "4.00", "81.50", "1"]
    assert cells[-1][2:] == ["transductive", "HM", "70.00", "30.00", "65.00", "50.00", "", "", "1"]
    alone = text_of(*collect([str(tmp_path / "CoOp")]), "markdown")
    assert "uncorrupted |" not in alone and "learned |" not in alone  # the same images; one kind of methods
