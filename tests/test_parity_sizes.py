"""Parity of recordings of other sizes than those of the shared set: made here by loops, and spoiled by one image."""

import json
import tarfile
from pathlib import Path

import numpy as np
import parity
import pytest
from parity_unsupervised import same_order
from test_parity import ARCHIVE


def write_fixture(directory: Path, name: str, meta: dict, arrays: dict) -> Path:
    (directory / "fixtures").mkdir(parents=True, exist_ok=True)
    np.savez(directory / "fixtures" / f"{name}.npz", **arrays)
    (directory / "fixtures" / f"{name}.json").write_text(json.dumps(meta))
    return directory


def surest(probabilities: np.ndarray, count: int) -> list[tuple[int, int, float]]:
    """(row, label, confidence) of UPL's choice, class by class, by loops."""
    chosen = []
    for label in range(probabilities.shape[1]):
        rows = [row for row, p in enumerate(probabilities) if max(range(len(p)), key=lambda c, p=p: p[c]) == label]
        rows.sort(key=lambda row, label=label: -probabilities[row, label])
        chosen += [(row, label, float(probabilities[row, label])) for row in rows[:count]]
    return chosen


@pytest.mark.parametrize("classes, images, counts", [(2, 9, (1,)), (7, 57, (3, 50)), (31, 40, (16,))])
def test_choices_of_other_sizes(classes: int, images: int, counts: tuple[int, ...], tmp_path: Path, capsys):
    logits = 3 * np.random.default_rng(classes).normal(size=(images, classes)).astype(np.float32)
    logits[:, classes // 2] = -50  # a class that no image is predicted for
    powers = np.exp(logits - logits.max(1, keepdims=True))
    arrays = {"logits": logits}
    for count in counts:
        rows, labels, confidences = zip(*surest(powers / powers.sum(1, keepdims=True), count), strict=True)
        arrays |= {f"k{count}/index": rows, f"k{count}/label": labels, f"k{count}/confidence": confidences}
    directory = write_fixture(tmp_path, "upl_select", {"trainer": "UPLTrainer", "step": "select"}, arrays)
    assert parity.main([str(directory)]) == 0, capsys.readouterr()
    spoiled = np.array(arrays[f"k{counts[0]}/index"])
    spoiled[0] = (spoiled[0] + 1) % images
    write_fixture(tmp_path, "upl_select", {"trainer": "UPLTrainer"}, arrays | {f"k{counts[0]}/index": spoiled})
    assert parity.main([str(directory)]) == 1


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def prototypes(p: np.ndarray, count: int) -> tuple[list[int], list[int]]:
    """TFUP's choice by loops: of the 2K likeliest of a class the K whose divergences from all of these add up least."""
    rows, labels = [], []
    for label in range(p.shape[1]):
        among = sorted(range(len(p)), key=lambda row, label=label: -p[row, label])[: 2 * count]
        score = {row: sum(divergence(p[row], p[other]) for other in among) for row in among}
        rows += sorted(among, key=lambda row, score=score: score[row])[:count]
        labels += [label] * min(count, len(p))
    return rows, labels


def tfup_logits(image: np.ndarray, weights: np.ndarray, keys: np.ndarray, labels: list[int]) -> tuple:
    """(similarity, zero-shot logits, logits) of images, by loops (arXiv 2404.16339, equations 6 to 10)."""
    p, q = (softmax(10 * unit(x) @ unit(weights).T) for x in (image, keys))
    far = np.array([[divergence(one, other) for other in q] for one in p])
    spread = far.max(1, keepdims=True) - far.min(1, keepdims=True)
    similarity = 2 * (1 - (far - far.min(1, keepdims=True)) / spread)
    affinity = np.exp(-1.0 * (1 - unit(image) @ unit(keys).T * similarity))
    plain = 100 * unit(image) @ unit(weights).T
    return similarity, plain, plain + 0.3 * affinity @ np.eye(len(weights))[labels]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("recorded")
    for archive in (ARCHIVE, ARCHIVE.with_name("unsupervised.tar.xz")):
        with tarfile.open(archive) as content:
            content.extractall(directory, filter="data")
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("shots, warm", [(1, 2), (4, 5), (40, 60)])
def test_caches_of_other_sizes(recorded: Path, shots: int, warm: int, tmp_path: Path, capsys):
    """Of as few images as one a class, and of more than there are."""
    meta = json.loads((recorded / "fixtures" / "tfup.json").read_text())
    arrays = dict(np.load(recorded / "fixtures" / "tfup.npz"))
    features, tested = (arrays[f"{part}_image_features"].astype(np.float64) for part in ("train", "test"))
    weights, run = arrays["class_weights_template"].astype(np.float64), "inductive_template"
    p = softmax(10 * unit(features) @ unit(weights).T)
    rows, labels = prototypes(p, shots)
    refined, _ = prototypes(p, warm)
    _, _, own = tfup_logits(features, weights, features[rows], labels)
    similarity, plain, logits = tfup_logits(tested, weights, features[rows], labels)
    accuracies = [100 * np.mean(one.argmax(1) == arrays["test_labels"]) for one in (plain, logits)]
    kept = {key: value for key, value in arrays.items() if not key.startswith(("inductive", "transductive"))}
    made = {
        "cache_index": rows, "cache_label": labels, "refine_index": refined, "semantic_similarity": similarity,
        "refine_pseudo_label": own.argmax(1)[refined], "zero_shot_logits": plain, "tfup_logits": logits,
        "accuracy": accuracies,
    }  # fmt: skip
    about = {"cache_shots": shots, "training_shots": warm, "unlabelled": "train", "test": "test"}
    directory = tmp_path / "set"
    directory.mkdir()
    for name in ("data", "clip_student.npz", "batches.npz"):
        (directory / name).symlink_to(recorded / name)
    write_fixture(
        directory, "tfup", meta | {"runs": {run: about}}, kept | {f"{run}/{key}": v for key, v in made.items()}
    )
    assert parity.main([str(directory)]) == 0, capsys.readouterr()
    made["cache_index"] = [(rows[0] + 7) % len(features), *rows[1:]]
    write_fixture(
        directory, "tfup", meta | {"runs": {run: about}}, kept | {f"{run}/{key}": v for key, v in made.items()}
    )
    assert parity.main([str(directory)]) == 1


def test_only_what_rounding_cannot_tell_apart_may_change_places():
    value = {0: 1.0, 1: 1.0 + 1e-7, 2: 1.1, 3: 1.2}.__getitem__
    assert same_order([0, 1, 2], [1, 0, 2], value) and same_order([0, 2], [1, 2], value)
    assert not same_order([0, 2, 3], [0, 3, 2], value) and not same_order([0, 1], [0], value)
    assert not same_order([0, 0], [0, 1], value), "an image twice"
