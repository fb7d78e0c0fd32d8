"""The evaluator and metrics against naive loops."""

import pytest
import torch

from dassl.config import get_cfg_default
from dassl.evaluation import EVALUATOR_REGISTRY, Classification, build_evaluator
from dassl.metrics import compute_accuracy, compute_distance_matrix, cosine_distance, euclidean_squared_distance


def _naive_f1(true, predicted):
    scores = []
    for label in sorted(set(true)):
        hit = sum(t == p == label for t, p in zip(true, predicted, strict=True))
        precision = hit / max(1, sum(p == label for p in predicted))
        recall = hit / sum(t == label for t in true)
        scores.append(2 * precision * recall / (precision + recall) if hit else 0.0)
    return 100 * sum(scores) / len(scores)


@pytest.mark.parametrize("seed", range(4))
def test_classification_equals_naive_counts(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(60, 7, generator=generator)
    labels = torch.randint(5, (60,), generator=generator)  # labels 5 and 6 are predicted but never true
    logits[torch.arange(60), labels] += 1
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    evaluator = Classification(cfg, lab2cname={i: f"c{i}" for i in range(7)})
    for start in range(0, 60, 16):
        evaluator.process(logits[start : start + 16], labels[start : start + 16])
    results = evaluator.evaluate()
    true, predicted = labels.tolist(), logits.argmax(1).tolist()
    hits = [t == p for t, p in zip(true, predicted, strict=True)]
    assert list(results) == ["accuracy", "error_rate", "macro_f1", "perclass_accuracy"]
    assert all(type(value) is float for value in results.values())
    assert results["accuracy"] == pytest.approx(100 * sum(hits) / 60)
    assert results["error_rate"] == pytest.approx(100 - 100 * sum(hits) / 60)
    assert results["macro_f1"] == pytest.approx(_naive_f1(true, predicted))
    per_class = [[h for h, t in zip(hits, true, strict=True) if t == label] for label in sorted(set(true))]
    assert results["perclass_accuracy"] == pytest.approx(sum(100 * sum(c) / len(c) for c in per_class) / len(per_class))


def test_printed_lines(capsys):
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    evaluator = build_evaluator(cfg, lab2cname={0: "cat", 1: "dog"})
    evaluator.process(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 1, 1]))
    evaluator.evaluate()
    assert capsys.readouterr().out.splitlines() == [
        "Loading evaluator: Classification",
        "=> result",
        "* total: 3",
        "* correct: 2",
        "* accuracy: 66.7%",
        "* error: 33.3%",
        "* macro_f1: 66.7%",
        "=> per-class result",
        "* class: 0 (cat)\ttotal: 1\tcorrect: 1\tacc: 100.0%",
        "* class: 1 (dog)\ttotal: 2\tcorrect: 1\tacc: 50.0%",
        "* average: 75.0%",
    ]
    evaluator.reset()
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluator.evaluate()


def test_confusion_matrix_file(tmp_path):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR, cfg.TEST.COMPUTE_CMAT = str(tmp_path), True
    evaluator = build_evaluator(cfg, lab2cname={})
    evaluator.process(torch.eye(3)[[0, 2, 1, 1]], torch.tensor([0, 0, 1, 1]))
    evaluator.evaluate()
    matrix = torch.load(tmp_path / "cmat.pt", weights_only=True)
    assert matrix.tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_bad_evaluator():
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    with pytest.raises(ValueError, match="lab2cname"):
        build_evaluator(cfg)
    cfg.TEST.EVALUATOR = "Clasification"
    with pytest.raises(ValueError, match="did you mean 'Classification'"):
        build_evaluator(cfg)
    assert EVALUATOR_REGISTRY.get("Classification") is Classification


def test_compute_accuracy():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, 4, generator=generator), torch.randint(4, (20,), generator=generator)
    results = compute_accuracy(logits, labels, topk=(1, 3, 9))
    for k, result in zip((1, 3, 9), results, strict=True):
        hits = [labels[i].item() in logits[i].argsort(descending=True)[:k].tolist() for i in range(20)]
        assert result.shape == (1,) and result.item() == pytest.approx(100 * sum(hits) / 20)
    assert torch.equal(compute_accuracy((logits, None), labels)[0], results[0])


def test_distances():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 6, generator=generator), torch.randn(3, 6, generator=generator)
    for i in range(4):
        for j in range(3):
            square = ((a[i] - b[j]) ** 2).sum().item()
            cosine = (a[i] @ b[j] / a[i].norm() / b[j].norm()).item()
            assert euclidean_squared_distance(a, b)[i, j].item() == pytest.approx(square, abs=1e-4)
            assert cosine_distance(a, b)[i, j].item() == pytest.approx(1 - cosine, abs=1e-5)
    assert torch.equal(compute_distance_matrix(a, b), euclidean_squared_distance(a, b))
    assert torch.equal(compute_distance_matrix(a, b, "cosine"), cosine_distance(a, b))
    assert euclidean_squared_distance(a, a).diagonal().min() >= 0
    with pytest.raises(ValueError, match="expected"):
        compute_distance_matrix(a, b[:, :5])
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        compute_distance_matrix(a, b, "cosin")
