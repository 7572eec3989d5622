"""Cross entropy over tags, against torch's."""

import numpy as np
import pytest
import torch
from thinc.api import NumpyOps

from spacy_bert.layers.tag_loss import tag_loss

OPS = NumpyOps()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_against_torch(smoothing):
    """Catches a wrong loss or gradient, smoothing that goes to the right tag as well, and unknown
    tags that count."""
    random = np.random.default_rng(0)
    scores = random.normal(scale=4.0, size=(7, 5)).astype("f")
    gold = np.array([0, 4, -1, 2, 2, -1, 1])
    known = gold >= 0
    targets = np.full((7, 5), smoothing / 4)
    targets[np.arange(7), gold] = 1.0 - smoothing
    tensor = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    logs = tensor.log_softmax(1)
    expected = -(torch.tensor(targets) * logs)[torch.tensor(known)].sum()
    expected.backward()
    loss, gradient = tag_loss(OPS, scores, gold, label_smoothing=smoothing)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, tensor.grad, atol=1e-6)
    assert not gradient[~known].any() and gradient.dtype == np.float32


def test_parts_add_up():
    """Catches a mean: parts of a batch, computed one after the other, have to give the same step."""
    random = np.random.default_rng(1)
    scores = random.normal(size=(6, 3)).astype("f")
    gold = np.array([0, -1, 2, 1, 1, 0])
    whole, gradient = tag_loss(OPS, scores, gold)
    parts = [tag_loss(OPS, scores[i : i + 2], gold[i : i + 2]) for i in (0, 2, 4)]
    assert whole == pytest.approx(sum(loss for loss, _ in parts), rel=1e-6)
    np.testing.assert_allclose(gradient, np.vstack([part for _, part in parts]), atol=1e-7)


def test_nothing_known():
    """Catches NaN out of an empty batch."""
    loss, gradient = tag_loss(OPS, np.ones((3, 4), dtype="f"), np.full(3, -1))
    assert loss == 0.0 and not gradient.any() and gradient.shape == (3, 4)


def test_large_scores():
    """Catches overflow of the softmax."""
    loss, gradient = tag_loss(OPS, np.array([[1e4, 0.0], [0.0, 1e4]], dtype="f"), np.array([0, 0]))
    assert loss == pytest.approx(1e4) and np.isfinite(gradient).all()
