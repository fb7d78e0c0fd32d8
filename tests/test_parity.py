import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import parity
import pytest
from parity_measure import Report

from promptkd.teacher.cache import StoredFeatures

ARCHIVE = Path(__file__).parent / "golden" / "set_a.tar.xz"


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("golden")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    return directory


def test_every_fixture_of_the_set_passes(golden: Path, capsys: pytest.CaptureFixture):
    code = parity.main([str(golden)])
    output = capsys.readouterr().out
    assert code == 0, output
    replayed = {line.split()[0] for line in output.splitlines()[:-1]}
    recorded = {path.stem for path in (golden / "fixtures").glob("*.json")}
    assert replayed == recorded | set(parity.PARTS)


@pytest.mark.parametrize(
    ("fixtures", "options"),
    [
        (("coop_middle", "maple"), ("TRAIN.TEXT_CHUNK", "3")),  # parts, computed again
        (("coop_end", "ivlp", "maple"), ("TRAIN.TEXT_CHUNK", "-1")),
        (("vpt", "maple", "promptsrc_gpa"), ("TRAIN.ACCUMULATE", "2")),
    ],
    ids=lambda value: " ".join(value),
)
def test_levers_change_no_number(golden: Path, fixtures: tuple[str, ...], options: tuple[str, ...], capsys):
    code = parity.main([str(golden), *fixtures, "--set", *options])
    assert code == 0, capsys.readouterr()


@pytest.mark.parametrize("mode", ["exact", "views"])
def test_a_teacher_cache_changes_no_number(golden: Path, tmp_path: Path, mode: str, monkeypatch, capsys):
    """Once computed, once read, of which the second time nothing is missing."""
    option = "TRAINER.PROMPTKD."
    cached = [f"{option}TEACHER_CACHE", mode, f"{option}CACHE_VIEWS", "4", f"{option}CACHE_DIR", str(tmp_path)]
    words = [str(golden), "promptkd_b2n_t4", "--set", "SEED", "1", *cached]
    assert parity.main(words) == 0, capsys.readouterr()
    assert list(tmp_path.rglob("*"))
    monkeypatch.delattr(StoredFeatures, "_keep")
    assert parity.main(words) == 0, capsys.readouterr()


def test_recorded_noise_and_a_flipped_unit_pass():
    noisy = Report("x", noise={"f64": {"train/loss*": {"max_abs": 1.0, "max_rel_to_max": 1e-3}}})
    noisy.compare("losses", "loss", [1.003], [1.0])
    assert noisy.ok and not noisy.limit("weights") > 1e-3
    want = np.random.default_rng(0).normal(size=(64, 8))
    got = want.copy()
    got[5, :2] += 0.5
    flipped, shifted = Report("x"), Report("x")
    flipped.compare_flipped("sum", got, want)
    assert flipped.ok and flipped.note == "sum: few outliers"
    shifted.compare_flipped("sum", want * 1.002, want)
    assert not shifted.ok


def altered(golden: Path, target: Path, name: str, change: dict[str, float], **meta: object) -> Path:
    """A set of one fixture with other recorded values or another description."""
    (target / "fixtures").mkdir(parents=True)
    for file in ("clip_student.npz", "batches.npz"):
        (target / file).symlink_to(golden / file)
    arrays = dict(np.load(golden / "fixtures" / f"{name}.npz"))
    for key, factor in change.items():
        arrays[key] = arrays[key] * factor
    np.savez(target / "fixtures" / f"{name}.npz", **arrays)
    described = json.loads((golden / "fixtures" / f"{name}.json").read_text()) | meta
    (target / "fixtures" / f"{name}.json").write_text(json.dumps(described))
    return target


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("train/loss", "losses: loss"),
        ("eval_before/logits", "logits: eval_before logits"),
        ("final/prompt_learner.ctx", "weights: final prompt_learner.ctx"),
        ("grad_step1/prompt_learner.ctx", "gradients: gradient of prompt_learner.ctx"),
    ],
)
def test_a_deviation_fails_and_is_named(golden: Path, tmp_path: Path, key: str, said: str, capsys):
    directory = altered(golden, tmp_path / "set", "promptsrc_gpa", {key: 1.002})
    assert parity.main([str(directory)]) == 1
    assert said in capsys.readouterr().out


def test_a_trainer_that_is_not_there_fails(golden: Path, tmp_path: Path, capsys):
    directory = altered(golden, tmp_path / "set", "promptsrc_gpa", {}, trainer="NoSuchTrainer")
    assert parity.main([str(directory)]) == 1
    assert "missing: no trainer NoSuchTrainer" in capsys.readouterr().out


def test_no_set_and_no_fixture_are_errors(tmp_path: Path, capsys):
    assert parity.main([str(tmp_path)]) == 1
    assert "no golden set" in capsys.readouterr().err
    shutil.copytree(ARCHIVE.parent, tmp_path / "set" / "fixtures")
    assert parity.main([str(tmp_path / "set"), "unheard"]) == 1
    assert "no fixture 'unheard'" in capsys.readouterr().err


def test_plain_clip_reads_names_with_underscores_and_needs_no_tokens(golden: Path, tmp_path: Path, capsys):
    """A recording without token ids, whose list of classes has underscores that its texts had not."""
    names = json.loads((golden / "fixtures" / "openai_clip.json").read_text())["classnames"]
    underscored = [name.replace(" ", "_") for name in names]
    directory = altered(golden, tmp_path / "set", "openai_clip", {}, classnames=underscored)
    assert parity.main([str(directory)]) == 0, capsys.readouterr()
    file = directory / "fixtures" / "openai_clip.npz"
    arrays = {key: value for key, value in np.load(file).items() if key != "tokens"}
    np.savez(file, **arrays)
    assert parity.main([str(directory)]) == 0, capsys.readouterr()


def test_the_limit_of_a_change_grows_with_the_recorded_noise():
    quiet, noisy = Report("x"), Report("x", noise={"f64": {"final": {"max_abs": 1e-4, "max_rel_to_max": 1e-5}}})
    start = np.ones((8, 8))
    want = start + 1e-3  # a small change, in which noise of 1e-4 is a tenth
    got = want + 1e-4 * np.sign(np.random.default_rng(0).normal(size=(8, 8)))
    for report in (quiet, noisy):
        report.compare_weight("ctx", got, want, start, False)
    assert noisy.ok and not quiet.ok
    still = Report("x", noise=noisy.noise)
    still.compare_weight("ctx", start, want, start, False)
    assert not still.ok, "a tensor that did not move"


@pytest.fixture(scope="module")
def unsupervised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives in one folder."""
    directory = tmp_path_factory.mktemp("unsupervised")
    for archive in (ARCHIVE, ARCHIVE.with_name("unsupervised.tar.xz"), ARCHIVE.with_name("adversarial.tar.xz")):
        with tarfile.open(archive) as content:
            content.extractall(directory, filter="data")
    return directory


@pytest.mark.parametrize("method", ["kdpl", "upl", "tfup", "pgd"])
def test_methods_without_labels_and_attacks_are_the_recorded_ones(unsupervised: Path, method: str, capsys):
    names = sorted(path.stem for path in (unsupervised / "fixtures").glob(f"{method}*.json"))
    assert names and parity.main([str(unsupervised), *names]) == 0, capsys.readouterr()
