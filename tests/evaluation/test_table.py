"""Cells on disk, tables of them, and comparisons."""

import json
import os
import statistics

import numpy as np
import pytest

from spacy_bert.evaluation.bootstrap import paired_bootstrap
from spacy_bert.evaluation.results import Cell, Prediction, Results, read_predictions, write_whole
from spacy_bert.evaluation.table import markdown, summarize


def cell(seed, value, **settings):
    return Cell("cola", seed, settings, {"dev": {"matthews": value}}, 8, {"dev": 1234}, 1.5)


def test_mean_and_spread():
    """Catches a spread over the population, and scores that are not times 100."""
    (line,) = summarize([cell(0, 0.5), cell(1, 0.6), cell(2, 0.52)])
    assert line.mean == pytest.approx(0.54)
    assert line.spread == pytest.approx(statistics.stdev([0.5, 0.6, 0.52]))
    row = markdown([line]).splitlines()[-1]
    assert row == "| cola | dev | matthews | 54.0 | 5.3 | 50.0 to 60.0 | 3 | 1,234 |"
    (alone,) = summarize([cell(0, 0.5)])
    assert alone.spread is None and "| 50.0 |  | 50.0 to 50.0 | 1 |" in markdown([alone])


def test_cells_come_back(tmp_path):
    """Catches a finished cell that is trained again, or one with other settings that is taken for it."""
    results, settings = Results(tmp_path / "out"), {"epochs": 3, "files": ("a", "b")}
    rows = {"dev": [Prediction(2, "1", "0"), Prediction(3, "é", "1")]}
    assert results.finished("cola", 0, settings) is None
    results.write(cell(0, 0.5, **settings), rows)
    assert results.finished("cola", 0, settings).scores == {"dev": {"matthews": 0.5}}
    assert results.finished("cola", 1, settings) is None
    assert read_predictions(results.predictions("cola", "dev", 0)) == rows["dev"]
    with pytest.raises(ValueError, match="cola-seed0.json was made with epochs = 3, but now.* 4"):
        results.finished("cola", 0, {**settings, "epochs": 4})
    assert results.finished("cola", 0, {**settings, "epochs": 4}, force=True) is None
    (tmp_path / "out" / "cells" / "cola-seed0.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        results.finished("cola", 0, settings)


def test_cell_is_written_last(tmp_path, monkeypatch):
    """Catches a cell that counts as finished though the run was killed before its predictions were
    there; and half a file."""
    results = Results(tmp_path)
    real = os.replace

    def killed(source, target):
        if "predictions" in str(target):
            raise KeyboardInterrupt
        return real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        results.write(cell(0, 0.5), {"dev": [Prediction(2, "1", "0")]})
    assert results.finished("cola", 0, {}) is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    write_whole(tmp_path / "a.json", json.dumps("é"))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf8")) == "é"


def test_bootstrap():
    """Catches an interval that is not of paired samples: two systems that are right on almost the
    same examples differ by little more than their difference, however hard the examples are."""
    random = np.random.default_rng(1)
    gold = random.integers(0, 2, size=400).astype(str)
    hard = random.random(400) < 0.5
    one = np.where(hard, random.integers(0, 2, size=400).astype(str), gold)
    other = one.copy()
    wrong = np.flatnonzero(one == gold)[:12]
    other[wrong] = np.where(gold[wrong] == "1", "0", "1")
    found = paired_bootstrap(gold, one, other, metric="accuracy", n_samples=400)
    assert found.value == pytest.approx(12 / 400)
    # Of 400 paired draws, 12 expected: a standard deviation of sqrt(12) / 400.
    assert 0.008 < found.low < 0.018 and 0.042 < found.high < 0.055
    same = paired_bootstrap(gold, one, one, metric="accuracy", n_samples=50)
    assert same == (0.0, 0.0, 0.0)
    back = paired_bootstrap(gold, other, one, metric="accuracy", n_samples=400)
    assert back == pytest.approx((-found.value, -found.high, -found.low))
    with pytest.raises(ValueError, match="400 gold values, and predictions for 400 and 3"):
        paired_bootstrap(gold, one, one[:3], metric="accuracy")


def test_bootstrap_of_numbers_that_hardly_differ():
    """Catches a comparison that ends because one of its samples holds equal numbers only."""
    gold = [0.0] * 40 + [1.0, 3.0]
    one = [0.1 * (i % 7) for i in range(40)] + [1.0, 2.0]
    other = [0.1 * (i % 5) for i in range(40)] + [2.0, 1.0]
    for metric in ("pearson", "spearman"):
        found = paired_bootstrap(gold, one, other, metric=metric, n_samples=200)
        assert found.low <= found.value <= found.high and found.low < found.high
    with pytest.raises(ValueError, match="All 42 gold numbers are 0.0"):
        paired_bootstrap([0.0] * 42, one, other, metric="pearson")
