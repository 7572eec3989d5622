"""Dropout: its rate, its scale, its independence, its gradient."""

import pytest
import torch

from spacy_bert.encoder.dropout import dropout


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9])
def test_rate_and_scale(rate: float) -> None:
    """Catches a biased comparison, or a scale that does not undo the rate."""
    torch.manual_seed(0)
    n = 400_000
    dropped = dropout(torch.ones(n), rate)
    share = float((dropped == 0).float().mean())
    five_sigma = 5 * (rate * (1 - rate) / n) ** 0.5
    assert abs(share - rate) < five_sigma + 2e-5
    assert float(dropped.mean()) == pytest.approx(1.0, abs=five_sigma / (1 - rate) + 2e-5)
    assert dropped.unique().numel() == 2


def test_nearly_all() -> None:
    """Catches a rate that rounds to all, and a division by the share that is left."""
    assert torch.isfinite(dropout(torch.ones(1000), 1 - 1e-9)).all()


def test_elements_that_share_a_draw_are_independent() -> None:
    """Catches bits of one draw that go together, such as a sign bit that is never set."""
    torch.manual_seed(0)
    zero = (dropout(torch.ones(100_000, 4), 0.5) == 0).double()
    correlation = torch.corrcoef(zero.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.02
    assert torch.allclose(zero.mean(0), torch.full((4,), 0.5, dtype=torch.double), atol=0.01)


def test_gradient_goes_through_what_is_kept() -> None:
    """Catches a mask that the backward pass does not see."""
    torch.manual_seed(0)
    rows = torch.randn(7, 5, requires_grad=True)
    result = dropout(rows, 0.3)
    result.sum().backward()
    assert rows.grad is not None
    assert torch.equal(rows.grad == 0, result == 0)
    assert torch.allclose(rows.grad * rows, result)


def test_rate_zero_is_identity_and_draws_nothing() -> None:
    """Catches evaluation that consumes random numbers."""
    rows = torch.randn(3)
    state = torch.get_rng_state()
    assert dropout(rows, 0.0) is rows
    assert torch.equal(torch.get_rng_state(), state)


def test_same_seed_same_mask() -> None:
    """Catches randomness from outside torch's generator."""
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(dropout(torch.ones(1001), 0.2))
    assert torch.equal(*masks)
