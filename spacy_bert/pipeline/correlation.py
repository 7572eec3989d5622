"""Pearson's and Spearman's correlation, with nothing but NumPy: a trained pipeline is scored with them."""

from typing import Optional, Sequence

import numpy as np


def pearson(predicted: Sequence[float], gold: Sequence[float]) -> Optional[float]:
    """predicted (Sequence[float]): Numbers.
    gold (Sequence[float]): What they should be.
    RETURNS (Optional[float]): Their linear correlation, from -1 to 1. 0.0 if all predictions are equal,
        since they then say nothing of the gold numbers (an untrained model's are); None if there are
        no two different gold numbers, and nothing can be said of the predictions."""
    a, b = np.asarray(predicted, dtype="float64"), np.asarray(gold, dtype="float64")
    if len(b) == 0 or (b == b[0]).all():
        return None
    # The mean of equal numbers need not be that number: what is left of it would correlate.
    if (a == a[0]).all():
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float(np.clip((a * b).sum() / norm, -1.0, 1.0)) if norm else 0.0


def spearman(predicted: Sequence[float], gold: Sequence[float]) -> Optional[float]:
    """predicted (Sequence[float]): Numbers.
    gold (Sequence[float]): What they should be.
    RETURNS (Optional[float]): The correlation of their ranks; 0.0 and None as of `pearson`."""
    return pearson(ranks(predicted), ranks(gold))


def ranks(values: Sequence[float]) -> Sequence[float]:
    """values (Sequence[float]): Numbers.
    RETURNS (Sequence[float]): The place of each in their order, from 1; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(
        np.asarray(values, dtype="float64"), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    mean_places: np.ndarray = last - (counts - 1) / 2
    return mean_places[inverse]  # type: ignore[return-value]
