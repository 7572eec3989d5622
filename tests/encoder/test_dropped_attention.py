"""Attention in training on a processor: in parts, and made again for its gradient."""

from typing import List, Tuple

import pytest
import torch
from torch import Tensor

from spacy_bert.encoder import BertConfig, BertEncoder, pack
from spacy_bert.encoder import dropped_attention as module
from spacy_bert.encoder.attention import length_groups, self_attention
from spacy_bert.encoder.dropout import Dropping
from spacy_bert.encoder.dropped_attention import dropped_attention


def by_the_book(qkv: Tensor, rate: float, seed: int, causal: bool) -> Tensor:
    """The formula, all at once, with the same elements dropped: (N, L, 3, H, D) -> (N * L, H * D)."""
    n_seqs, length, _, heads, width = qkv.shape
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    scores = query @ key.mT / width**0.5
    if causal:
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    dropping = Dropping(rate, seed)
    by_head = scores.detach().flatten(0, 1)
    parts = module._parts(len(by_head), length)  # a part draws what it needs, in fours
    kept = torch.cat([dropping.kept(by_head[part]) for part in parts]).view(scores.shape)
    attended = torch.softmax(scores, -1) * kept * dropping.scale @ value
    return attended.transpose(1, 2).reshape(n_seqs * length, heads * width)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3, 2, 4), (5, 7, 3, 2, 4), (1, 12, 3, 4, 2), (3, 2, 3, 1, 1)]
)
@pytest.mark.parametrize("part", [1, 150, 1 << 20])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_formula(
    shape: Tuple[int, ...], part: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches heads that are lost between parts, draws in another order, a scale that is left out of the
    gradient, and numbers of the caller that are written over."""
    monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(module, "draw_seed", lambda: 5)
    torch.manual_seed(0)
    qkv = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    before = qkv.detach().clone()
    weights = torch.randn(shape[0] * shape[1], shape[3] * shape[4], dtype=torch.float64)
    weights_before = weights.clone()
    found = dropped_attention(qkv, dropout=0.3, causal=causal)
    # The gradient is handed over as it is: dropped_attention gets no copy of it.
    (found_gradient,) = torch.autograd.grad(found, qkv, weights)
    expected = by_the_book(qkv, 0.3, 5, causal)
    (expected_gradient,) = torch.autograd.grad(expected, qkv, weights)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_gradient, expected_gradient)
    assert torch.equal(qkv.detach(), before) and torch.equal(weights, weights_before)


def test_gradient_of_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a gradient that is expected to lie in memory row by row, as that of a transpose does not."""
    monkeypatch.setattr(module, "draw_seed", lambda: 5)
    qkv = torch.randn(2, 3, 3, 2, 4, requires_grad=True)
    weights = torch.randn(8, 6)
    gradients = [
        torch.autograd.grad(attended.t(), qkv, weights)[0]
        for attended in (
            dropped_attention(qkv, dropout=0.3, causal=False),
            by_the_book(qkv, 0.3, 5, False),
        )
    ]
    torch.testing.assert_close(*gradients)


def kept_numbers(length: int) -> int:
    """RETURNS (int): How many numbers a training step of an encoder keeps for its gradient, a piece."""
    config = BertConfig.from_size("tiny", vocab_size=20, max_positions=256)
    encoder = BertEncoder(config).train()
    pieces = pack([torch.arange(length).numpy() % 20] * (256 // length))
    kept = {}

    def remember(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        encoder(pieces)
    for parameter in encoder.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(kept.values()) // 256


def test_memory_does_not_grow_with_length() -> None:
    """Catches square matrices, or what dropout drew, that are kept for the gradient: in windows of 512
    pieces they were four fifths of a step's memory."""
    short, long = kept_numbers(8), kept_numbers(256)
    config = BertConfig.from_size("tiny", vocab_size=20)
    # A layer keeps the inputs of its four products and of its two norms, queries, keys and values, and
    # what goes into the activation.
    layer = 8 * config.width + config.intermediate_width
    assert short == pytest.approx(config.depth * layer, rel=0.2)
    assert long == pytest.approx(short, rel=0.02)


def test_resuming_draws_the_same() -> None:
    """Catches draws that do not follow from the state of torch's generator."""
    qkv = torch.randn(9, 24)
    results: List[Tensor] = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(self_attention(qkv, length_groups([2, 2, 5]), heads=2, dropout=0.5))
    assert torch.equal(*results)
    assert not torch.equal(
        results[0], self_attention(qkv, length_groups([2, 2, 5]), heads=2, dropout=0.5)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_backward_under_autocast(dtype: torch.dtype) -> None:
    """Catches products that a caller's autocast turns into those of other numbers than are kept."""
    torch.manual_seed(0)
    qkv = torch.randn(2, 3, 3, 2, 4).to(dtype).requires_grad_()
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            attended = dropped_attention(qkv, dropout=0.3, causal=False)
            gradients.append(torch.autograd.grad(attended.square().sum(), qkv)[0])
        assert attended.dtype == dtype
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
