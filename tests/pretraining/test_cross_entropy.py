"""The fused loss against torch's own."""

from typing import Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spacy_bert.pretraining import cross_entropy
from spacy_bert.pretraining.cross_entropy import linear_cross_entropy


def inputs(n_rows: int, dtype: torch.dtype = torch.float32) -> Tuple[Tensor, ...]:
    torch.manual_seed(0)
    rows = torch.randn(n_rows, 8, dtype=dtype, requires_grad=True)
    weight = torch.randn(11, 8, dtype=dtype, requires_grad=True)
    bias = torch.randn(11, dtype=dtype, requires_grad=True)
    return rows, weight, bias, torch.randint(0, 11, (n_rows,))


@pytest.mark.parametrize("n_at_once", [1, 3, 7, 1000])
def test_equals_torch(n_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a wrong loss, scale or gradient, and rows that are lost where one part ends and the
    next begins."""
    monkeypatch.setattr(cross_entropy, "CPU_SCORES", n_at_once * 11)
    rows, weight, bias, targets = inputs(7)
    loss, correct = linear_cross_entropy(rows, weight, bias, targets, scale=0.25)
    gradients = torch.autograd.grad(3 * loss, (rows, weight, bias))
    logits = F.linear(rows, weight, bias)
    expected = 0.25 * F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(loss, expected)
    assert int(correct) == int((logits.argmax(1) == targets).sum())
    for found, wanted in zip(
        gradients, torch.autograd.grad(3 * expected, (rows, weight, bias)), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_counts_correct_rows() -> None:
    """Catches a count that is always zero, or always all."""
    weight, bias = torch.eye(4), torch.zeros(4)
    _, correct = linear_cross_entropy(
        torch.eye(4), weight, bias, torch.tensor([0, 1, 3, 2]), scale=1.0
    )
    assert int(correct) == 2


def test_great_scores_do_not_overflow() -> None:
    """Catches an exponential of a score itself."""
    rows, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]])
    loss, _ = linear_cross_entropy(rows, weight, torch.zeros(2), torch.tensor([1]), scale=1.0)
    assert float(loss) == 2000.0


def test_no_rows() -> None:
    """Catches a division by the number of masked pieces, where there are none."""
    rows, weight, bias, targets = inputs(0)
    loss, correct = linear_cross_entropy(rows, weight, bias, targets, scale=1.0)
    loss.backward()
    assert float(loss.detach()) == 0.0 and int(correct) == 0
    assert weight.grad is not None and not weight.grad.any()


def test_bf16_is_near() -> None:
    """Catches scores or sums that are kept in bfloat16, and autocast that is not followed."""
    rows, weight, bias, targets = inputs(50)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = linear_cross_entropy(rows, weight, bias, targets, scale=1 / 50)
    loss.backward()
    expected = F.cross_entropy(F.linear(rows, weight, bias), targets)
    assert float(loss) != float(expected)  # the products are in bfloat16
    assert float(loss) == pytest.approx(float(expected), rel=1e-2)
    assert rows.grad is not None and rows.grad.dtype == torch.float32
    wanted = torch.autograd.grad(expected, rows)[0]
    torch.testing.assert_close(rows.grad, wanted, rtol=0.05, atol=2e-3)


def test_pieces_with_the_same_score() -> None:
    """Catches accuracy that is too high because scores of 16 bits are often the same."""
    rows, weight = torch.ones(4, 1), torch.full((4, 1), 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        _, correct = linear_cross_entropy(rows, weight, torch.zeros(4), torch.arange(4), scale=1.0)
    assert int(correct) == 1


def test_makes_no_gradients_where_none_are_wanted() -> None:
    """Catches evaluation that pays for training."""
    rows, weight, bias, targets = (tensor.detach() for tensor in inputs(5))
    loss, _ = linear_cross_entropy(rows, weight, bias, targets, scale=1.0)
    assert not loss.requires_grad
