"""Cross entropy over the tags of tokens, some of which may be unknown."""

from typing import Tuple

import numpy as np
from thinc.api import Ops
from thinc.types import Floats2d


def tag_loss(
    ops: Ops, scores: Floats2d, gold: np.ndarray, *, label_smoothing: float = 0.0
) -> Tuple[float, Floats2d]:
    """Softmax cross entropy, summed over the tokens whose tag is known (as in spaCy's own
    components, so that parts of a batch add up to the whole).

    ops (Ops): For arrays.
    scores (Floats2d): Scores of tags (logits), shape (n_tokens, n_tags).
    gold (np.ndarray): The right tag of each token, -1 where it is unknown, shape (n_tokens,).
    label_smoothing (float): How much probability the other tags are to have together.
    RETURNS (Tuple[float, Floats2d]): The loss, and its gradient, shape (n_tokens, n_tags).
    """
    xp = ops.xp
    rows = np.flatnonzero(gold >= 0)
    chosen = scores[xp.asarray(rows)]
    logs = chosen - chosen.max(axis=1, keepdims=True)
    logs = logs - xp.log(xp.exp(logs).sum(axis=1, keepdims=True))  # log probabilities
    n_tags = scores.shape[1]
    targets = xp.full(logs.shape, label_smoothing / max(n_tags - 1, 1), dtype="f")
    targets[xp.arange(len(rows)), xp.asarray(gold[rows])] = 1.0 - label_smoothing
    gradient = ops.alloc2f(*scores.shape)
    gradient[xp.asarray(rows)] = xp.exp(logs) - targets
    return -float((targets * logs).sum()), gradient
