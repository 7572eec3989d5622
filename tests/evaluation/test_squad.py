"""The scores of SQuAD: each rule, and each corner of it, worked out by hand."""

import math
import random
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spacy_bert.evaluation.squad import (
    CERTAIN,
    best_threshold,
    evaluate_v1,
    evaluate_v2,
    exact_match,
    f1,
    normalize,
    score_answers,
    tuned_threshold,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The Cat", "cat"),
        ("a an the", ""),
        ("theatre an-other", "theatre another"),
        ("U.S.A.", "usa"),
        ("  many \t\n blanks ", "many blanks"),
        ("no\u00a0break", "no break"),
        ("Élan’s “quote”", "élan’s “quote”"),  # only ASCII punctuation goes
        ("€5,000 – 50%", "€5000 – 50"),
        ("ÅNGSTRÖM STRASSE ß", "ångström strasse ß"),
        ("the-end", "theend"),  # punctuation goes before articles
        ("'the' end", "end"),
        ("", ""),
        ("...", ""),
        ("a1 the_end", "a1 theend"),
        ("İ", "i\u0307"),
    ],
)
def test_normalize(text, expected):
    """Catches a rule that is missing, or applied in another order than the official one."""
    assert normalize(text) == expected


def test_exact_match():
    """Catches a comparison of raw texts."""
    assert exact_match("The cat!", "a cat") and not exact_match("cats", "cat")
    assert exact_match("the", "") and not exact_match("", "cat")


@pytest.mark.parametrize(
    "predicted, gold, expected",
    [
        ("the big cat", "cat", 2 * 0.5 / 1.5),
        ("cat cat", "cat", 2 * 0.5 / 1.5),  # words count as often as they are there
        ("cat cat", "cat cat dog", 0.8),
        ("dog", "cat", 0.0),
        ("a", "the", 1.0),  # nothing left of either
        ("", "", 1.0),
        ("", "cat", 0.0),
        ("the", "cat", 0.0),
        ("cat big the", "The big cat.", 1.0),
    ],
)
def test_f1(predicted, gold, expected):
    """Catches sets in the place of bags of words, and what happens if nothing is left."""
    assert f1(predicted, gold) == pytest.approx(expected)


def test_f1_of_nothing():
    """Catches SQuAD 2.0's rule in 1.1, where two answers without words have none in common."""
    assert f1("the", "a", empty_is_equal=False) == 0.0
    scores = evaluate_v1({"q": ["the"]}, {"q": "a"})
    assert scores == {"exact_match": 100.0, "f1": 0.0, "total": 1}


def test_best_of_several_answers():
    """Catches the first gold answer for the best, and gold answers of which nothing is left."""
    scores = score_answers(
        {"q": ["big dog", "the cat"], "r": ["the", "cat"]}, {"q": "cat", "r": ""}
    )
    assert scores.exact == {"q": 1.0, "r": 0.0} and scores.f1["q"] == 1.0
    assert score_answers({"q": ["the"]}, {"q": ""}).exact["q"] == 1.0


def test_v1():
    """Catches questions without a prediction that are left out of the mean (they count as wrong)."""
    gold = {"a": ["cat"], "b": ["big dog"], "c": ["fish"]}
    with pytest.warns(UserWarning, match="1 of 3 questions have no prediction, 'c' first"):
        scores = evaluate_v1(gold, {"a": "the cat", "b": "dog"})
    assert scores["exact_match"] == pytest.approx(100 / 3)
    assert scores["f1"] == pytest.approx(100 * (1 + 2 / 3) / 3)
    with pytest.raises(ValueError, match="question 'd' has no annotated answer"):
        evaluate_v1({"d": []}, {"d": "x"})


GOLD = {"a": ["cat"], "b": ["big dog"], "c": [], "d": []}
PREDICTIONS = {"a": "cat", "b": "dog", "c": "fish", "d": "bird"}


def test_v2():
    """Catches a mean over other questions, and a question without answer that any answer is right for."""
    scores = evaluate_v2(GOLD, {**PREDICTIONS, "d": ""})
    assert scores == pytest.approx(
        {
            "exact": 50.0,
            "f1": 100 * (1 + 2 / 3 + 1) / 4,
            "total": 4,
            "HasAns_exact": 50.0,
            "HasAns_f1": 100 * (5 / 3) / 2,
            "HasAns_total": 2,
            "NoAns_exact": 50.0,
            "NoAns_f1": 50.0,
            "NoAns_total": 2,
        }
    )
    with pytest.warns(UserWarning, match="3 of 4"):
        assert evaluate_v2(GOLD, {"a": "dog"})["total"] == 1  # left out, by the rules of 2.0
    assert "NoAns_exact" not in evaluate_v2({"a": ["cat"]}, PREDICTIONS)


def test_threshold_is_applied():
    """Catches odds at the threshold that count as "no answer", and scores from before it."""
    odds = {"a": 0.1, "b": 0.9, "c": 0.8, "d": 0.5}
    scores = evaluate_v2(GOLD, PREDICTIONS, null_odds=odds, threshold=0.5)
    assert scores["exact"] == 50.0  # a right, b "no answer", c "no answer" and right, d answered
    assert scores["NoAns_exact"] == 50.0 and scores["HasAns_f1"] == 50.0


def test_best_threshold():
    """Catches a threshold that is off by one question, and best scores that depend on the one in force."""
    odds = {"a": 0.1, "b": 0.6, "c": 0.8, "d": 0.5}
    for threshold in (0.0, 1.0):
        scores = evaluate_v2(GOLD, PREDICTIONS, null_odds=odds, threshold=threshold)
        assert (scores["best_exact"], scores["best_exact_thresh"]) == (75.0, 0.1)
        # To answer d, wrongly, costs more than b brings.
        assert (scores["best_f1"], scores["best_f1_thresh"]) == (75.0, 0.1)
    assert evaluate_v2({"c": [], "d": []}, PREDICTIONS, null_odds=odds)["best_exact_thresh"] == 0.0
    # An answer that is not given costs nothing.
    assert best_threshold({"c": [], "b": ["dog"]}, {"c": "", "b": "dog"}, {"c": 1.0, "b": 1.0}, {"c": 0.1, "b": 0.2}) == (1.0, 0.2)  # fmt: skip


def test_best_threshold_against_all(n=60):
    """Catches a search that misses the best: against every threshold, one by one."""
    rng = random.Random(0)
    gold = {str(i): ["x"] * rng.randrange(2) for i in range(n)}
    predictions = {name: rng.choice("xyz") for name in gold}
    odds = {name: rng.gauss(0.0 if texts else 1.0, 1.0) for name, texts in gold.items()}
    found = evaluate_v2(gold, predictions, null_odds=odds)
    tried = [
        evaluate_v2(gold, predictions, null_odds=odds, threshold=t)["exact"]
        for t in (-math.inf, *odds.values())
    ]
    assert found["best_exact"] == pytest.approx(max(tried))
    at = evaluate_v2(gold, predictions, null_odds=odds, threshold=found["best_exact_thresh"])
    assert at["exact"] == pytest.approx(max(tried))


def test_nothing_to_score():
    """Catches a mean of nothing, and predictions for another file."""
    with pytest.raises(ValueError, match="no questions"):
        evaluate_v2({}, {})
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="the ids differ"):
        evaluate_v2({"a": []}, {"b": ""})
    with pytest.raises(ValueError, match="no odds for the question 'a'"):
        evaluate_v2({"a": []}, {"a": ""}, null_odds={})


WORDS = st.sampled_from(["the", "a", "An", "cat", "Cat!", "dog.", "...", "É", "“cat”", "\u00a0", "ß", "U.S.", "the-cat", "İ", "5%"])  # fmt: skip
TEXTS = st.lists(WORDS, max_size=4).map(" ".join) | st.text(max_size=6)


@given(
    st.lists(st.tuples(st.lists(TEXTS, max_size=3), TEXTS, st.floats(-3, 3)), min_size=1, max_size=8),
    st.floats(-2, 2),
)  # fmt: skip
def test_official_numbers(questions, threshold):
    """Catches any number that differs from the official script's, as HuggingFace adapted it."""
    from transformers.data.metrics.squad_metrics import squad_evaluate

    gold = {str(i): texts for i, (texts, _, _) in enumerate(questions)}
    predictions = {str(i): text for i, (_, text, _) in enumerate(questions)}
    odds = {str(i): odd for i, (_, _, odd) in enumerate(questions)}
    examples = [
        SimpleNamespace(qas_id=name, answers=[{"text": text} for text in texts])
        for name, texts in gold.items()
    ]
    expected = squad_evaluate(examples, predictions, odds, threshold)
    found = evaluate_v2(gold, predictions, null_odds=odds, threshold=threshold)
    assert found == pytest.approx(dict(expected), abs=1e-9)


@given(st.lists(st.tuples(st.lists(TEXTS, max_size=2), TEXTS, st.integers(-3, 3)), min_size=1, max_size=8))  # fmt: skip
@example([([], "the", 0), ([""], "", 0)])
def test_tuned_threshold(questions):
    """Catches a threshold with which F1 is not the best that one can give: where it is best to answer
    nothing, which the official 0.0 does not say, and among equal odds, between which none lies."""
    odds = {str(i): float(odd) for i, (_, _, odd) in enumerate(questions)}
    gold = {str(i): texts for i, (texts, _, _) in enumerate(questions)}
    predictions = {str(i): text for i, (_, text, _) in enumerate(questions)}

    def f1_at(threshold: float) -> float:
        # Not by the script's own threshold, for which silence is wrong where it is the answer ("the").
        given = {
            name: text if odds[name] <= threshold else "" for name, text in predictions.items()
        }
        return evaluate_v2(gold, given)["f1"]

    best = max(f1_at(threshold + 0.5) for threshold in range(-4, 4))
    assert f1_at(tuned_threshold(gold, predictions, odds)) == pytest.approx(best)


def test_nothing_answered_is_best_of_49():
    """Catches a comparison of scores that went through a division: 1 / 49 * 49 is not 1."""
    names = [str(i) for i in range(49)]
    gold = {name: ["right"] if name != "48" else [] for name in names}
    odds = {name: float(i - 20) for i, name in enumerate(names)}
    assert tuned_threshold(gold, dict.fromkeys(names, "wrong"), odds) < min(odds.values())


def test_tuned_threshold_bears_rounding():
    """Catches a threshold at the very odds of a question, which other hardware puts on the other side."""
    gold = {"a": ["x"], "b": ["x"], "c": []}
    odds = {"a": -14.1, "b": -3.0, "c": 3.9}
    predictions = dict.fromkeys(gold, "x")
    assert tuned_threshold(gold, predictions, odds) == pytest.approx(0.45)
    assert tuned_threshold(gold, predictions, {**odds, "c": CERTAIN}) == pytest.approx(-2.0)
    assert tuned_threshold({"a": ["x"], "b": ["x"]}, predictions, odds) > -3.0
