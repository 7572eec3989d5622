"""Attention in training on a processor: in parts, and made again for its gradient."""

from typing import List

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacy_bert.encoder import BertConfig, BertEncoder, pack
from spacy_bert.encoder import dropped_attention as module
from spacy_bert.encoder.attention import self_attention
from spacy_bert.encoder.dropout import Dropping
from spacy_bert.encoder.dropped_attention import dropped_attention, plan_blocks
from spacy_bert.encoder.packing import length_groups

HEADS = 2


def by_the_book(qkv: Tensor, length: int, rate: float, seed: int, causal: bool) -> Tensor:
    """The formula, all at once, with the same elements dropped: (N * L, 3 * H * D) -> (N * L, H * D)."""
    n_seqs, width = len(qkv) // length, qkv.shape[1] // 3 // HEADS
    query, key, value = qkv.view(n_seqs, length, 3, HEADS, width).permute(2, 0, 3, 1, 4)
    scores = query @ key.mT / width**0.5
    if causal:
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    dropping = Dropping(rate, seed)
    by_head = scores.detach().flatten(0, 1)
    size = max(1, module.PART // length**2)  # a part draws what it needs, in fours
    kept = torch.cat([dropping.kept(part) for part in by_head.split(size)]).view(scores.shape)
    attended = torch.softmax(scores, -1) * kept * dropping.scale @ value
    return attended.transpose(1, 2).reshape(n_seqs * length, -1)


@pytest.mark.parametrize("n_seqs, length", [(1, 1), (5, 7), (1, 12), (3, 2)])
@pytest.mark.parametrize("part", [1, 150, 1 << 20])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("keeping", [0, 128])
def test_equals_the_formula(
    n_seqs: int, length: int, part: int, causal: bool, keeping: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches heads that are lost between parts, draws in another order, a scale that is left out of the
    gradient, and numbers of the caller that are written over."""
    monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(module, "WORTH_KEEPING", keeping)
    monkeypatch.setattr(module, "draw_seed", lambda: 5)
    torch.manual_seed(0)
    qkv = torch.randn(n_seqs * length, 3 * HEADS * 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(n_seqs * length, HEADS * 4, dtype=torch.float64)
    before = qkv.detach().clone(), weights.clone()
    groups = length_groups([length] * n_seqs)
    found = dropped_attention(qkv, groups, heads=HEADS, dropout=0.3, causal=causal)
    # The gradient is handed over as it is: nobody makes a copy of it.
    (found_gradient,) = torch.autograd.grad(found, qkv, weights)
    expected = by_the_book(qkv, length, 0.3, 5, causal)
    (expected_gradient,) = torch.autograd.grad(expected, qkv, weights)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_gradient, expected_gradient)
    assert torch.equal(qkv.detach(), before[0]) and torch.equal(weights, before[1])


def test_gradient_of_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a gradient that is expected to lie in memory row by row, as that of a transpose does not."""
    monkeypatch.setattr(module, "draw_seed", lambda: 5)
    qkv, weights = torch.randn(6, 24, requires_grad=True), torch.randn(8, 6)
    groups = length_groups([3, 3])
    gradients = [
        torch.autograd.grad(attended.t(), qkv, weights)[0]
        for attended in (
            dropped_attention(qkv, groups, heads=HEADS, dropout=0.3, causal=False),
            by_the_book(qkv, 3, 0.3, 5, False),
        )
    ]
    torch.testing.assert_close(*gradients)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.sampled_from([1, 100, 3000]))
def test_blocks_cover_the_rows(lengths: List[int], worth: int) -> None:
    """Catches rows that are left out or moved, for any order of lengths, and sequences that are filled up
    where that takes longer."""
    groups = tuple(length_groups(lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORTH_A_BLOCK", worth)
        plan_blocks.cache_clear()
        blocks = plan_blocks(groups, 1)
    plan_blocks.cache_clear()
    rows = [row for block in blocks for row in range(block.rows.start, block.rows.stop)]
    assert rows == list(range(sum(lengths)))
    for block in blocks:
        n_places = block.n_seqs * block.length
        if block.row_of is None or block.place_of is None or block.is_filled is None:
            assert n_places == block.rows.stop - block.rows.start
        else:
            kept = block.row_of[block.place_of]
            assert torch.equal(kept, torch.arange(block.rows.stop - block.rows.start))
            assert len(block.row_of) == n_places
            assert int((~block.is_filled).sum()) == len(kept)
    apart = sum(worth + group.n_seqs * group.length**2 for group in groups)
    assert sum(worth + block.n_seqs * block.length**2 for block in blocks) <= apart


@pytest.mark.parametrize("lengths", [[2, 3, 3, 9], [9, 1, 4], [5]])
@pytest.mark.parametrize("causal", [False, True])
def test_filled_up_or_not(
    lengths: List[int], causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches places that are filled up and attended to, or that send a gradient. (At this rate none is
    dropped: which ones are depends on the blocks.)"""
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3 * HEADS * 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(sum(lengths), HEADS * 4, dtype=torch.float64)
    results: List[Tensor] = []
    for worth in (0, 1 << 15):
        monkeypatch.setattr(module, "WORTH_A_BLOCK", worth)
        plan_blocks.cache_clear()
        groups = length_groups(lengths)
        assert (len(plan_blocks(tuple(groups), HEADS)) == 1) == (worth > 0 or len(groups) == 1)
        attended = dropped_attention(qkv, groups, heads=HEADS, dropout=1e-9, causal=causal)
        results += [attended, *torch.autograd.grad(attended, qkv, weights)]
    plan_blocks.cache_clear()
    torch.testing.assert_close(results[:2], results[2:])


@pytest.mark.parametrize("causal", [False, True])
def test_finite_differences(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches other elements dropped in the gradient than in the values, of a block that is filled up."""
    monkeypatch.setattr(module, "draw_seed", lambda: 5)
    monkeypatch.setattr(module, "PART", 60)
    groups = length_groups([3, 4, 5, 5, 7])
    assert len(plan_blocks(tuple(groups), HEADS)) == 1
    qkv = torch.randn(24, 3 * HEADS * 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda rows: dropped_attention(rows, groups, heads=HEADS, dropout=0.3, causal=causal),
        (qkv,),
    )


def test_first_met_in_inference_mode() -> None:
    """Catches what is kept of a batch and cannot be used by one that learns."""
    plan_blocks.cache_clear()
    groups = length_groups([2, 3])
    qkv = torch.randn(5, 24)
    with torch.inference_mode():
        dropped_attention(qkv, groups, heads=HEADS, dropout=0.3, causal=False)
    (block,) = plan_blocks(tuple(groups), HEADS)
    assert block.row_of is not None and not block.row_of.is_inference()
    qkv.requires_grad_()
    dropped_attention(qkv, groups, heads=HEADS, dropout=0.3, causal=False).sum().backward()
    assert qkv.grad is not None


def test_long_windows_are_not_filled_up() -> None:
    """Catches a window of a page that makes pages of the sentences beside it."""
    blocks = plan_blocks(tuple(length_groups([9, 10, 10, 12, 512])), 12)
    assert [(block.n_seqs, block.length) for block in blocks] == [(4, 12), (1, 512)]


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
    assert long == pytest.approx(short, rel=0.05)


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
    qkv = torch.randn(7, 24).to(dtype).requires_grad_()
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            groups = length_groups([3, 4])
            attended = dropped_attention(qkv, groups, heads=2, dropout=0.3, causal=False)
            gradients.append(torch.autograd.grad(attended.square().sum(), qkv)[0])
        assert attended.dtype == dtype
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
