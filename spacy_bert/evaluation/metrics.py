"""GLUE's official metrics, by scikit-learn and SciPy, as GLUE's own scorer computes them."""

import math
from typing import Any, Callable, Dict, Sequence

# Those of numbers; the others are of labels.
NUMBERS = ("pearson", "spearman")


def _library(name: str) -> Any:
    """Imported when used: a pipeline that only predicts does not need them."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"The official metrics need {name.split('.')[0]}, which is not installed: "
            f"pip install scikit-learn scipy"
        ) from None


def accuracy(gold: Sequence[str], predicted: Sequence[str], positive: str) -> float:
    """RETURNS (float): The share of right labels."""
    return float(_library("sklearn.metrics").accuracy_score(gold, predicted))


def f1(gold: Sequence[str], predicted: Sequence[str], positive: str) -> float:
    """RETURNS (float): F1 of one label, `positive`; 0.0 if it was never predicted."""
    metrics = _library("sklearn.metrics")
    return float(
        metrics.f1_score(
            [label == positive for label in gold],
            [label == positive for label in predicted],
            zero_division=0.0,
        )
    )


def matthews(gold: Sequence[str], predicted: Sequence[str], positive: str) -> float:
    """RETURNS (float): Matthews' correlation, from -1 to 1; 0.0 if one label is all that was predicted."""
    return float(_library("sklearn.metrics").matthews_corrcoef(gold, predicted))


def pearson(gold: Sequence[float], predicted: Sequence[float], positive: str) -> float:
    """RETURNS (float): Pearson's correlation; 0.0 if all predictions are equal."""
    return _correlation("pearsonr", gold, predicted)


def spearman(gold: Sequence[float], predicted: Sequence[float], positive: str) -> float:
    """RETURNS (float): Spearman's correlation of ranks; 0.0 if all predictions are equal."""
    return _correlation("spearmanr", gold, predicted)


METRICS: Dict[str, Callable[..., float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def score(
    metrics: Sequence[str], gold: Sequence[Any], predicted: Sequence[Any], *, positive: str = "1"
) -> Dict[str, float]:
    """Score predictions.

    metrics (Sequence[str]): Names in METRICS.
    gold (Sequence[Any]): Labels, or numbers.
    predicted (Sequence[Any]): As many of the same kind.
    positive (str): The label that F1 is about.
    RETURNS (Dict[str, float]): Metric -> value, from -1 or 0 to 1.
    RAISES: ValueError if there is nothing to score, or not as many of one as of the other; ImportError,
        naming the extra, without scikit-learn and SciPy.
    """
    if len(gold) != len(predicted) or not len(gold):
        raise ValueError(
            f"There are {len(predicted)} predictions for {len(gold)} gold values; as many are needed, "
            f"and one at least."
        )
    return {metric: METRICS[metric](gold, predicted, positive) for metric in metrics}


def _correlation(name: str, gold: Sequence[float], predicted: Sequence[float]) -> float:
    if len(set(gold)) < 2:
        raise ValueError(
            f"All {len(gold)} gold numbers are {gold[0]}, with which nothing can correlate. Score on "
            f"more examples."
        )
    if len(set(predicted)) < 2:
        return 0.0  # it is not defined; such predictions say nothing
    value = float(getattr(_library("scipy.stats"), name)(gold, predicted)[0])
    return 0.0 if math.isnan(value) else value
