"""Several teachers: mixtures against loops over images and classes, and runs of two teachers through train.main."""

from __future__ import annotations

import json
import math

import pytest
import torch
from conftest import SIZE, result, tiny_config, write_clip
from tiny_runs import KD, learned, same_bits
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import normalize, resize

from promptkd.engine.losses import mean_kl
from promptkd.model.prompted_clip import PromptedClip
from promptkd.teacher.comparison import Answers, compare
from promptkd.teacher.member import ViewChange
from promptkd.teacher.mixture import Mixture
from promptkd.teacher.teaching import Teaching
from trainers.promptkd import PromptKD

OPTION = "TRAINER.PROMPTKD."
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)  # of the second teacher
LARGER = 48  # its size


@pytest.fixture(scope="module")
def second(tmp_path_factory) -> str:
    """A CLIP of another width, size and normalisation than the student's."""
    config = tiny_config(40)
    config["vision_cfg"]["image_size"] = LARGER
    path = write_clip(tmp_path_factory.mktemp("second") / "second.safetensors", config, 5)
    path.with_suffix(".json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD, "size": LARGER}})
    )
    return str(path)


@pytest.fixture
def distil(run, clips, second, tmp_path):
    """`distil(name, words...)` trains a student of two teachers in a folder of that name: its results, its weights."""

    def call(name: str, *words: str, teachers: str = "", epochs: int = 2):
        named = [OPTION + "TEACHERS", teachers or f"[{clips['teacher']}, {second}]"]
        run("PromptKD", tmp_path / name, *KD, *named, "DATALOADER.TRAIN_X.BATCH_SIZE", "5", *words, epochs=epochs)
        return result(tmp_path / name), learned(tmp_path / name, epochs)

    return call


def naive(logits: list[torch.Tensor], rule: str, weights: tuple[float, ...], warmth: float) -> list[list[float]]:
    """The mixture of each image's probabilities, by loops over images, teachers and classes."""
    mixed = []
    for image in range(len(logits[0])):
        probabilities = []
        for one in logits:
            powers = [math.exp(float(value) / warmth) for value in one[image].double()]
            probabilities.append([power / sum(powers) for power in powers])
        if rule == "equal":
            trust = [1.0] * len(logits)
        elif rule == "weights":
            trust = list(weights)
        elif rule == "entropy":
            trust = [math.exp(sum(p * math.log(p) for p in one)) for one in probabilities]
        else:
            trust = [sorted(one)[-1] - sorted(one)[-2] + 1e-6 for one in probabilities]
        shares = [one / sum(trust) for one in trust]
        classes = range(len(probabilities[0]))
        mixed.append([sum(w * p[c] for w, p in zip(shares, probabilities, strict=True)) for c in classes])
    return mixed


@pytest.mark.parametrize("warmth", [1.0, 2.5])
@pytest.mark.parametrize("rule", ["equal", "weights", "entropy", "margin"])
def test_a_mixture_is_the_loop_over_images(rule, warmth):
    draw = torch.Generator().manual_seed(0)
    logits = [scale * torch.randn(6, 5, generator=draw) for scale in (1.0, 4.0, 20.0)]
    weights = (0.5, 0.3, 0.2) if rule == "weights" else ()
    target = Mixture(rule, weights, warmth)(logits)
    expected = torch.tensor(naive(logits, rule, weights, warmth))
    assert torch.allclose((target / warmth).softmax(dim=-1), expected, atol=1e-6)
    # the student's loss is that of the mixed probabilities, at any temperature
    student = torch.randn(6, 5, generator=draw)
    log_student = (student / warmth).log_softmax(dim=-1)
    by_hand = (expected * (expected.log() - log_student)).sum() * warmth**2 / 30
    assert float(mean_kl(student, target, warmth)) == pytest.approx(float(by_hand), rel=1e-5)


def test_of_one_teacher_nothing_changes_and_far_logits_stay_finite():
    logits = 100 * torch.randn(4, 3)
    assert Mixture("entropy")([logits]) is logits
    far = torch.tensor([[0.0, 400.0, 800.0]])
    for rule in ("equal", "entropy", "margin"):
        mixed = Mixture(rule)([far, far.flip(1)])
        assert mixed.isfinite().all() and torch.allclose(mixed.exp(), torch.tensor([[0.5, 0.0, 0.5]]))
    even = torch.zeros(2, 3)
    assert torch.allclose(Mixture("margin").shares([even, even]), torch.full((2, 2), 0.5))
    assert Mixture("margin").shares([even[:, :1], even[:, :1]]).eq(0.5).all()  # one class has no margin


def test_views_are_brought_to_another_models_pixels():
    pixels = torch.rand(2, 3, SIZE, SIZE)
    old = (0.48, 0.45, 0.4), (0.26, 0.26, 0.27)
    images = normalize(pixels, *old)
    assert torch.allclose(ViewChange(0, old, (MEAN, STD))(images), normalize(pixels, MEAN, STD), atol=1e-5)
    larger = resize(pixels, [LARGER, LARGER], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    assert torch.allclose(ViewChange(LARGER, old, (MEAN, STD))(images), normalize(larger, MEAN, STD), atol=1e-5)


def test_a_comparison_in_numbers():
    labels = torch.tensor([0, 1, 2, 3])
    right = 9 * F.one_hot(labels, 4).float()
    wrong = 9 * F.one_hot(labels.flip(0), 4).float()
    groups = {"base": [0, 1], "new": [2, 3]}
    found = compare(Answers([right, wrong], labels, "validation"), groups, Mixture("weights", (0.9, 0.1)))
    assert found["each"][0]["accuracy"] == {"base": 100, "new": 100, "hm": 100}
    assert found["each"][1]["share"] == pytest.approx(0.1)
    assert found["mixture_accuracy"]["hm"] == 100
    p = right[0].softmax(dim=-1)
    assert found["pairs"] == [{"between": [1, 2], "agreement": 0.0, "kl": pytest.approx(9 * float(p.max() - p.min()))}]
    unlabelled = compare(Answers([right, right], torch.full((4,), -1), "unlabelled"), groups, Mixture())
    assert unlabelled["each"][0]["accuracy"] == {} == unlabelled["mixture_accuracy"]
    assert unlabelled["pairs"][0]["agreement"] == 100


def test_two_teachers_teach_what_the_loop_says(distil, monkeypatch, capsys, clips, second):
    seen = []
    targets = Teaching.targets

    def observed(self, batch):
        found = targets(self, batch)
        seen.append((self, batch, found[1]))
        return found

    monkeypatch.setattr(Teaching, "targets", observed)
    words = (OPTION + "TEACHER_MIX", "entropy", OPTION + "TEMPERATURE", "2.0")
    found, _ = distil("run", *words, epochs=1)
    teaching, batch, target = seen[-1]
    old = [torch.tensor(one)[:, None, None] for one in (teaching.cfg.INPUT.PIXEL_MEAN, teaching.cfg.INPUT.PIXEL_STD)]
    larger = resize(batch.images * old[1] + old[0], [LARGER, LARGER], InterpolationMode.BICUBIC, antialias=True)
    views = (batch.images, normalize(larger.clamp(0, 1), MEAN, STD))
    logits = []
    for member, images in zip(teaching.members, views, strict=True):
        features = F.normalize(member.teacher.image_features(images), dim=-1)
        logits.append(member.teacher.logit_scale * features @ member.vectors.features.T)
    assert torch.allclose((target / 2).softmax(-1), torch.tensor(naive(logits, "entropy", (), 2.0)), atol=1e-5)

    teacher = found["teacher"]
    assert [one["backbone"] for one in teacher["teachers"]] == [clips["teacher"], second]
    assert teacher["backbone"] == clips["teacher"] and teacher["mix"] == "entropy"
    assert teacher["teachers"][1]["images"] == "resized to 48 px and normalised by its own mean and deviation"
    assert {"base", "new", "hm"} == teacher["teachers"][1]["accuracy"].keys() == teacher["mixture_accuracy"].keys()
    assert sum(one["share"] for one in teacher["teachers"]) == pytest.approx(1)
    assert teacher["compared_on"] == {"images": "validation", "number": 10} and len(teacher["pairs"]) == 1
    assert found["metrics"].keys() == teacher["metrics"].keys()  # the mixture's, on the test images
    shown = capsys.readouterr().out
    assert "Teachers on 10 validation images" in shown and "mixture (entropy)" in shown
    assert "Teacher 2: the student's images are resized to 48 px" in shown


def test_features_of_each_are_kept_and_a_run_goes_on_to_the_bit(distil, run, tmp_path, monkeypatch, clips, second):
    _, expected = distil("plain")
    computed = []
    encode = PromptedClip.image_features

    def counted(self, images):
        if not self.spec.projector_layers:  # the student has one
            computed.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(PromptedClip, "image_features", counted)
    cache = (OPTION + "TEACHER_CACHE", "exact", OPTION + "CACHE_DIR", str(tmp_path / "cache"))
    quiet = (OPTION + "EVALUATE_TEACHER", "False")
    found, weights = distil("filling", *cache, *quiet)
    assert same_bits(weights, expected) and sum(computed) == 2 * 2 * 30
    assert [one["cache"]["computed"] for one in found["teacher"]["teachers"]] == [60, 60]
    assert len(list((tmp_path / "cache").glob("*/view-*"))) == 4
    computed.clear()

    steps, step = iter(range(100)), PromptKD.forward_backward

    def stop(self, batch):
        if next(steps) == 8:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(PromptKD, "forward_backward", stop)
    with pytest.raises(KeyboardInterrupt):
        distil("broken", *cache, *quiet)
    monkeypatch.setattr(PromptKD, "forward_backward", step)
    found, weights = distil("broken", *cache, *quiet)
    assert same_bits(weights, expected) and computed == []
    assert [one["cache"]["read"] for one in found["teacher"]["teachers"]] == [60, 60]
    assert found["teacher"]["cache"]["read"] == 60

    flags = ("--eval-only", f"--model-dir={tmp_path / 'broken'}")
    run("PromptKD", tmp_path / "evaluated", *KD, *flags, OPTION + "TEACHERS", "[nowhere, neither]")
    evaluated = result(tmp_path / "evaluated")
    assert evaluated["metrics"] == found["metrics"]  # no teacher was asked


def test_stored_features_of_several_teachers_teach_as_images_do(distil, tmp_path):
    """MODE features: no image is encoded twice, and both teachers have their own views of it."""
    words = [OPTION + "N_CTX_VISION", "0", OPTION + "TEACHER_CACHE", "views", OPTION + "CACHE_VIEWS", "2"]
    words += [OPTION + "CACHE_DIR", str(tmp_path / "cache"), OPTION + "TEACHER_MIX", "entropy"]
    words += [OPTION + "EVALUATE_TEACHER", "False"]
    stored, weights = distil("features", *words, OPTION + "MODE", "features")
    assert [one["cache"]["computed"] for one in stored["teacher"]["teachers"]] == [60, 60]
    images, expected = distil("images", *words, OPTION + "CACHE_DIR", str(tmp_path / "other"))
    assert all(torch.allclose(weights[name], expected[name], atol=1e-3) for name in weights)


def test_images_without_labels_show_their_agreement_alone(run, clips, second, data_root, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("forest\nriver\n")
    words = ["DATASET.NAME", "Unlabeled", "DATASET.ROOT", f"{data_root}/eurosat/2750", "DATASET.CLASSNAMES", str(names)]
    teachers = [OPTION + "TEACHERS", str([clips["teacher"], second]), "TRAINER.MODAL", "cross"]
    run("PromptKD", tmp_path / "run", *KD, *words, *teachers, "DATALOADER.TRAIN_X.BATCH_SIZE", "20", epochs=1)
    teacher = result(tmp_path / "run")["teacher"]
    assert teacher["compared_on"]["images"] == "unlabelled" and teacher["mixture_accuracy"] == {}
    assert 0 <= teacher["pairs"][0]["agreement"] <= 100
    assert "unlabelled images:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (["TEACHER", "ViT-B/16"], r"TEACHERS and TRAINER.PROMPTKD.TEACHER \('ViT-B/16'\) are both given"),
        (["TEACHERS", "[a]"], "TEACHERS has one teacher, 'a': give it as TRAINER.PROMPTKD.TEACHER"),
        (["TEACHERS", "[a, b, a]"], "TEACHERS has 'a' twice"),
        (["TEACHERS", "[a, ]"], "wants tuple like"),
        (["TEACHERS", "a"], "wants tuple like"),
        (["TEACHER_MIX", "mean"], "choose equal, weights, entropy, margin"),
        (["TEACHER_MIX", "weights"], r"TEACHER_WEIGHTS \(\): give 2, one for each"),
        (["TEACHER_MIX", "weights", "TEACHER_WEIGHTS", "(0.5, 0.3, 0.2)"], "give 2, one for each"),
        (["TEACHER_MIX", "weights", "TEACHER_WEIGHTS", "(0.5, 0.4)"], "their sum is 0.9, it has to be 1"),
        (["TEACHER_MIX", "weights", "TEACHER_WEIGHTS", "(1.0, 0.0)"], "TEACHER_WEIGHTS .*more than 0"),
        (["CLASS_AGNOSTIC", "True"], "CLASS_AGNOSTIC True: it is for one teacher"),
        (["STUDENT_IN_LOOP", "True"], "STUDENT_IN_LOOP True: it is for one teacher"),
    ],
)
def test_options_that_do_not_go_together(run, clips, second, tmp_path, words, message):
    named = [OPTION + "TEACHERS", f"[{clips['teacher']}, {second}]"]
    given = [OPTION + word if not number % 2 else word for number, word in enumerate(words)]
    with pytest.raises(ValueError, match=message):
        run("PromptKD", tmp_path / "run", *KD, *named, *given)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_teachers_that_do_not_go_together(distil, run, clips, second, tmp_path):
    copy = tmp_path / "copy.safetensors"
    for suffix in (".safetensors", ".json"):
        copy.with_suffix(suffix).write_bytes((tmp_path / second).with_suffix(suffix).read_bytes())
    with pytest.raises(ValueError, match="copy.safetensors' is the same model as teacher 2"):
        distil("same", teachers=str([clips["teacher"], second, str(copy)]))
    with pytest.raises(ValueError, match="TEACHERS, 2 of 2: teacher 'nowhere' is no run's directory"):
        distil("nowhere", teachers=f"[{clips['teacher']}, nowhere]")
    run("CoOp", tmp_path / "csc", "TRAINER.COOP.CSC", "True", "DATASET.NUM_SHOTS", "2", epochs=1)
    with pytest.raises(ValueError, match="TEACHERS, 2 of 2: .*csc is a CoOp run without class vectors for any class"):
        distil("other classes", teachers=f"[{clips['teacher']}, {tmp_path / 'csc'}]")
