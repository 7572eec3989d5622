"""GLUE's metrics, against figures worked out by hand."""

import math

import pytest

from spacy_bert.evaluation.metrics import METRICS, score

GOLD = ["1", "1", "1", "0", "0", "1"]
FOUND = ["1", "0", "1", "1", "0", "1"]  # 3 true and 1 false positives, 1 true and 1 false negatives


def test_labels():
    """Catches an F1 that is averaged over labels, or of the other one, and a wrong Matthews."""
    found = score(["accuracy", "f1", "matthews"], GOLD, FOUND)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    matthews = (3 * 1 - 1 * 1) / math.sqrt((3 + 1) * (3 + 1) * (1 + 1) * (1 + 1))
    assert found["matthews"] == pytest.approx(matthews)
    assert score(["f1"], GOLD, FOUND, positive="0")["f1"] == pytest.approx(2 / (2 + 1 + 1))


def test_numbers():
    """Catches a correlation of values that is one of ranks, or the other way round."""
    gold, found = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 100.0]
    scores = score(["pearson", "spearman"], gold, found)
    assert scores["spearman"] == pytest.approx(1.0)
    mean = sum(found) / 4
    covariance = sum((a - 2.5) * (b - mean) for a, b in zip(gold, found))
    norm = math.sqrt(5.0 * sum((b - mean) ** 2 for b in found))
    assert scores["pearson"] == pytest.approx(covariance / norm)


@pytest.mark.parametrize("metric", METRICS)
def test_constant_predictions(metric, recwarn):
    """Catches NaN, or a crash, where a model predicts one and the same for all; it turns a whole table
    to NaN."""
    numbers = metric in ("pearson", "spearman")
    gold = [0.0, 1.0, 2.0] if numbers else ["0", "1", "1"]
    found = [1.3, 1.3, 1.3] if numbers else ["0"] * 3
    value = score([metric], gold, found)[metric]
    assert value == (pytest.approx(1 / 3) if metric == "accuracy" else 0.0)
    assert not recwarn.list


@pytest.mark.parametrize("gold, found", [([], []), (["1"], []), (["1"], ["1", "0"])])
def test_lengths(gold, found):
    """Catches predictions for other examples."""
    with pytest.raises(ValueError, match="predictions for"):
        score(["accuracy"], gold, found)


def test_constant_gold():
    """Catches a correlation with nothing."""
    with pytest.raises(ValueError, match="All 2 gold numbers are 3.0"):
        score(["pearson"], [3.0, 3.0], [1.0, 2.0])


def test_without_the_library(monkeypatch):
    """Catches an error that does not say which extra to install."""
    import importlib

    real = importlib.import_module

    def blocked(name, *args):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", blocked)
    with pytest.raises(ImportError, match=r"need sklearn.*pip install scikit-learn scipy"):
        score(["accuracy"], ["1"], ["1"])
