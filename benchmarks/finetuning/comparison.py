"""Scores of both sides, and the interval that their difference lies in.

All but one of the metrics are functions of sums over examples, so that a sample of a bootstrap is
a product of how often each example was drawn with what it contributes.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence

import numpy as np

N_SAMPLES, CONFIDENCE = 2000, 0.95
# The sums of an example's contributions, any shape + (n_contributions,) -> scores of that shape.
FromSums = Callable[[np.ndarray], np.ndarray]


class Metric(NamedTuple):
    """contribution (Callable[[Any, Any], Sequence[float]]): Gold, prediction -> what is summed up.
    from_sums (FromSums): The score."""

    contribution: Callable[[Any, Any], Sequence[float]]
    from_sums: FromSums


class Comparison(NamedTuple):
    """ours (List[float]): Our scores, one a seed, from -1 or 0 to 1.
    theirs (List[float]): Those of the reference.
    difference (float): Mean of ours less mean of theirs.
    low (float): Lower end of the interval of the difference.
    high (float): Upper end; from 0 on, the reference's score is reached."""

    ours: List[float]
    theirs: List[float]
    difference: float
    low: float
    high: float


def compare(
    metric: str, gold: List[Any], ours: List[List[Any]], theirs: List[List[Any]]
) -> Comparison:
    """Paired bootstrap over examples (Koehn 2004). An example that is drawn counts for all seeds of both
    sides, so the interval is of the mean over these seeds; that of other seeds is wider.

    metric (str): One of METRICS, or "spearman".
    gold (List[Any]): What is right, an example each.
    ours (List[List[Any]]): Predictions of our side, a list a seed.
    theirs (List[List[Any]]): Those of the reference.
    RETURNS (Comparison): Scores, and the difference with its interval of 95 %.
    """
    a, b = [[score(metric, gold, p) for p in side] for side in (ours, theirs)]
    n, random = len(gold), np.random.default_rng(0)
    drawn = random.integers(0, n, size=(N_SAMPLES, n))
    means = [
        np.mean([resampled(metric, gold, p, drawn) for p in side], axis=0)
        for side in (ours, theirs)
    ]
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(means[0] - means[1], [tail, 1.0 - tail])
    return Comparison(a, b, float(np.mean(a) - np.mean(b)), float(low), float(high))


def score(metric: str, gold: List[Any], predicted: List[Any]) -> float:
    """metric (str): A metric.
    gold (List[Any]): What is right.
    predicted (List[Any]): What was predicted.
    RETURNS (float): The score of all examples; where GLUE has the metric, from its library."""
    from spacy_bert.evaluation.metrics import METRICS as OFFICIAL

    value = float(resampled(metric, gold, predicted, np.arange(len(gold))[None])[0])
    if metric in OFFICIAL:
        official = OFFICIAL[metric](gold, predicted, "1")
        if abs(official - value) > 1e-9:
            raise ValueError(f"{metric} is {official}, but by sums over examples {value}.")
    return value


def resampled(metric: str, gold: List[Any], predicted: List[Any], drawn: np.ndarray) -> np.ndarray:
    """metric (str): A metric.
    gold (List[Any]): What is right.
    predicted (List[Any]): What was predicted.
    drawn (np.ndarray): Examples of each sample, shape (n_samples, n).
    RETURNS (np.ndarray): Scores, shape (n_samples,)."""
    if len(gold) != len(predicted):
        raise ValueError(f"There are {len(predicted)} predictions for {len(gold)} examples.")
    if metric == "spearman":
        from scipy.stats import spearmanr

        pairs = np.array([gold, predicted], dtype="float64")
        return np.array([spearmanr(*pairs[:, rows]).statistic for rows in drawn])
    parts = np.array([METRICS[metric].contribution(g, p) for g, p in zip(gold, predicted)], float)
    sums = np.stack([parts[rows].sum(axis=0) for rows in drawn])
    return METRICS[metric].from_sums(sums)


def confusion(gold: str, predicted: str) -> List[float]:
    """RETURNS (List[float]): True and false positives, false and true negatives, of the label "1"."""
    a, b = gold == "1", predicted == "1"
    return [a and b, not a and b, a and not b, not a and not b]


def matthews(sums: np.ndarray) -> np.ndarray:
    tp, fp, fn, tn = np.moveaxis(sums, -1, 0)
    scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.where(scale > 0, (tp * tn - fp * fn) / np.maximum(scale, 1.0), 0.0)


def f1(sums: np.ndarray) -> np.ndarray:
    """Of true positives, false positives, false negatives, and more."""
    tp, fp, fn = np.moveaxis(sums, -1, 0)[:3]
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1.0)


def entities(gold: List[List[Any]], predicted: List[List[Any]]) -> List[float]:
    """RETURNS (List[float]): Entities that are right, to the word and label; wrong ones; missed ones."""
    a, b = ({tuple(span) for span in spans} for spans in (gold, predicted))
    return [len(a & b), len(b - a), len(a - b)]


def _answer_scores(gold: List[List[Any]], predicted: str) -> List[float]:
    """RETURNS (List[float]): Exact match, F1, and 1 for the count."""
    from spacy_bert.evaluation.squad import score_answers

    exact, scores = score_answers({"": [text for text, _ in gold]}, {"": predicted})
    return [exact[""], scores[""], 1.0]


METRICS: Dict[str, Metric] = {
    "accuracy": Metric(lambda a, b: [a == b, 1.0], lambda s: s[..., 0] / s[..., 1]),
    "matthews": Metric(confusion, matthews),
    "f1": Metric(confusion, f1),
    "entity f1": Metric(entities, f1),
    "exact match": Metric(_answer_scores, lambda s: s[..., 0] / s[..., 2]),
    "answer f1": Metric(_answer_scores, lambda s: s[..., 1] / s[..., 2]),
}
