"""Whether one of two systems is better: a paired bootstrap over examples (Koehn 2004; Berg-Kirkpatrick et al. 2012)."""

import warnings
from typing import Any, NamedTuple, Sequence

import numpy as np

from .metrics import METRICS, NUMBERS


class Difference(NamedTuple):
    """value (float): Score of the one less that of the other, on all examples.
    low (float): Lower end of the interval.
    high (float): Upper end."""

    value: float
    low: float
    high: float


def paired_bootstrap(
    gold: Sequence[Any],
    one: Sequence[Any],
    other: Sequence[Any],
    *,
    metric: str,
    positive: str = "1",
    n_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The difference of two systems' scores on the same examples, and the interval that it lies in.

    gold (Sequence[Any]): Gold labels or numbers.
    one (Sequence[Any]): What the one system predicted.
    other (Sequence[Any]): What the other did, for the same examples in the same order. With several seeds,
        put their predictions, and gold as often, one behind the other.
    metric (str): One of METRICS.
    positive (str): The label that F1 is about.
    n_samples (int): How many samples to draw, with replacement, of as many examples as there are.
    confidence (float): How many of the samples' differences the interval holds.
    seed (int): For drawing.
    RETURNS (Difference): The difference with its interval.
    RAISES: ValueError if there are not as many predictions of both as there are examples.
    """
    if not len(gold) == len(one) == len(other) or not len(gold):
        raise ValueError(
            f"There are {len(gold)} gold values, and predictions for {len(one)} and {len(other)}. "
            f"A paired comparison needs both systems' predictions for the same examples."
        )
    function, random = METRICS[metric], np.random.default_rng(seed)
    if metric in NUMBERS:
        function(gold, one, positive)  # an error if all gold numbers are equal
    arrays = [np.asarray(values) for values in (gold, one, other)]

    def difference(rows: Any) -> float:
        truth, a, b = (array[rows].tolist() for array in arrays)
        return function(truth, a, positive) - function(truth, b, positive)

    n = len(gold)

    def sample() -> Any:
        while True:
            rows = random.integers(0, n, size=n)
            # With numbers that happen to be all equal, nothing can correlate: such a sample says nothing.
            if metric not in NUMBERS or np.ptp(arrays[0][rows]) > 0:
                return rows

    with warnings.catch_warnings():
        # scikit-learn's, for a sample of one label only.
        warnings.simplefilter("ignore", UserWarning)
        drawn = [difference(sample()) for _ in range(n_samples)]
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Difference(difference(np.arange(n)), float(low), float(high))
