import functools
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_bert.encoder import BertConfig, BertEncoder, attention, pack
from spacy_bert.encoder.attention import LengthGroup, length_groups, self_attention


def by_the_book(qkv, lengths, heads, causal=False):
    """softmax(q k' / sqrt(d)) v, one sequence and one head at a time."""
    width = qkv.shape[1] // 3
    size = width // heads
    out = torch.zeros(len(qkv), width, dtype=qkv.dtype)
    start = 0
    for length in lengths:
        rows = slice(start, start + length)
        for head in range(heads):
            columns = slice(head * size, (head + 1) * size)
            query, key, value = (part[rows, columns] for part in qkv.split(width, dim=1))
            scores = query @ key.T / math.sqrt(size)
            if causal:
                scores[torch.ones(length, length).triu(1).bool()] = -math.inf
            out[rows, columns] = torch.softmax(scores, dim=1) @ value
        start += length
    return out


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), max_size=12))
def test_groups_cover_the_rows(lengths):
    """Catches groups that leave out, repeat or shift rows, or that miss a neighbour of the same
    length, for any order of lengths."""
    groups = length_groups(lengths)
    assert [g.length for g in groups for _ in range(g.n_seqs)] == lengths
    start = 0
    for group in groups:
        assert group.start == start
        start += group.n_seqs * group.length
    assert start == sum(lengths)
    assert all(a.length != b.length for a, b in itertools.pairwise(groups))


def test_groups_are_runs():
    """Catches the loss of grouping: one group a sequence gives the same numbers, only slower."""
    assert length_groups([3, 3, 2, 3]) == [
        LengthGroup(0, 2, 3),
        LengthGroup(6, 1, 2),
        LengthGroup(8, 1, 3),
    ]


@pytest.mark.parametrize("lengths", [[1], [7], [3, 3, 3], [1, 5, 5, 2, 9, 1]])
@pytest.mark.parametrize("heads", [1, 4])
def test_equals_the_formula(lengths, heads):
    """Catches a wrong scale, heads or q, k, v mixed up, and sequences that see each other."""
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3 * 8, dtype=torch.float64)
    attended = self_attention(qkv, length_groups(lengths), heads=heads)
    torch.testing.assert_close(attended, by_the_book(qkv, lengths, heads), rtol=0, atol=1e-12)


def test_long_sequences_equal_the_formula():
    """Catches an error of a kernel that is chosen for long sequences only."""
    torch.manual_seed(0)
    lengths = [300, 512]
    qkv = torch.randn(sum(lengths), 3 * 64)
    attended = self_attention(qkv, length_groups(lengths), heads=2)
    torch.testing.assert_close(attended, by_the_book(qkv, lengths, 2), rtol=0, atol=1e-5)


def test_gradient():
    """Catches a gradient that is not that of the values, by finite differences."""
    torch.manual_seed(0)
    groups = length_groups([2, 2, 3])
    qkv = torch.randn(7, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: self_attention(x, groups, heads=2), (qkv,))


def test_empty_batch():
    """Catches a crash where there is nothing to attend to."""
    qkv = torch.zeros(0, 12, requires_grad=True)
    attended = self_attention(qkv, [], heads=2)
    assert attended.shape == (0, 4)
    attended.sum().backward()


def test_dropout_is_on_the_probabilities():
    """Catches dropout that does nothing, or drops values rather than probabilities: with all values
    one, each output is a sum of kept probabilities, and its mean over many stays one."""
    torch.manual_seed(0)
    qkv = torch.cat([torch.zeros(2000, 16), torch.ones(2000, 8)], dim=1)
    attended = self_attention(qkv, length_groups([10] * 200), heads=2, dropout=0.5)
    steps = attended * 5  # each of ten probabilities is 0.1, and 0.2 where it is kept
    torch.testing.assert_close(steps, steps.round())
    assert len(steps.round().unique()) > 5
    assert attended.mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("length", [1, 9, 60, 150])
def test_kernels_agree(length: int) -> None:
    """Catches a kernel for few sequences that differs from the one for many, or its choice by
    something that changes the result."""
    torch.manual_seed(0)
    qkv = torch.randn(length, 3 * 32)
    few = self_attention(qkv, length_groups([length]), heads=4)
    many = self_attention(qkv.repeat(9, 1), length_groups([length] * 9), heads=4)
    torch.testing.assert_close(many, few.repeat(9, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lengths", [[1], [7], [3, 3, 3], [1, 5, 5, 2, 9, 1], [20] * 80])
@pytest.mark.parametrize("dropout", [0.0, 1e-9])
def test_causal_equals_the_formula(lengths, dropout):
    """Catches a row that sees what comes after it, in any of the kernels (a rate that rounds to
    nothing chooses the one for dropout)."""
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3 * 8, dtype=torch.float64)
    groups = length_groups(lengths)
    attended = self_attention(qkv, groups, heads=2, causal=True, dropout=dropout)
    expected = by_the_book(qkv, lengths, 2, causal=True)
    torch.testing.assert_close(attended, expected, rtol=0, atol=1e-12)
    if max(lengths) > 1:
        assert (by_the_book(qkv, lengths, 2) - expected).abs().max() > 0.01


def test_gradient_with_dropout():
    """Catches a mask that is another in the backward pass, by finite differences."""
    groups = length_groups([2, 2, 3])
    qkv = torch.randn(7, 12, dtype=torch.float64, requires_grad=True)

    def attend(rows):
        torch.manual_seed(0)
        return self_attention(rows, groups, heads=2, dropout=0.3, causal=True)

    assert torch.autograd.gradcheck(attend, (qkv,))


@pytest.mark.parametrize(
    "lengths, exact", [([16] * 4, True), ([16] * 64, False), ([15] * 32 + [16] * 32, True)]
)
def test_bfloat16_of_small_groups_is_computed_in_32_bits(lengths, exact):
    """Catches a kernel compiled, and kept, for every shape of a group that comes along in training."""
    qkv = torch.randn(sum(lengths), 3 * 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    groups = length_groups(lengths)
    with torch.autocast("cpu", torch.bfloat16):
        attended = self_attention(qkv, groups, heads=2, dropout=1e-9)
    expected = self_attention(qkv.float(), groups, heads=2)
    assert attended.dtype == torch.bfloat16
    error = (attended.float() - expected).abs().max()
    assert torch.equal(attended, expected.bfloat16()) == exact
    assert error < 0.05


def packed_by_the_book(query, key, value, starts, longest, dropout, causal):
    """What the kernels of GPUs compute, slowly; (R, H, D) -> (R, H, D)."""
    assert starts.dtype == torch.int32 and longest == starts.diff().max()
    blocks = []
    for q, k, v in zip(*(x.split(starts.diff().tolist()) for x in (query, key, value))):
        scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
        if causal:
            scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -math.inf)
        weights = torch.dropout(torch.softmax(scores, -1), dropout, True)
        blocks.append(torch.einsum("hij,jhd->ihd", weights, v))
    return torch.cat(blocks)


class Recomputed(torch.autograd.Function):
    """Saves what the kernels of GPUs save, and makes its gradient of what it computes anew."""

    same_elements = True

    @classmethod
    def forward(cls, ctx, *arguments):
        ctx.save_for_backward(*arguments[:4])
        ctx.rest, ctx.state = arguments[4:], torch.get_rng_state()
        return packed_by_the_book(*arguments)

    @classmethod
    def backward(cls, ctx, grad):
        *qkv, starts = ctx.saved_tensors
        qkv = [x.detach().requires_grad_() for x in qkv]
        with torch.random.fork_rng([]), torch.enable_grad():
            if cls.same_elements:
                torch.set_rng_state(ctx.state)
            again = packed_by_the_book(*qkv, starts, *ctx.rest)
        return (*torch.autograd.grad(again, qkv, grad), None, None, None, None)


class OtherElements(Recomputed):
    """Drops other elements in the backward pass than in the forward pass."""

    same_elements = False


def kernel_that_fails(*arguments):
    raise RuntimeError("no kernel for this GPU")


def kernel_without_memory(*arguments):
    raise torch.OutOfMemoryError("out of memory")


def test_kernel_for_mixed_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches heads, sequences or a direction that get mixed up on the way to the kernel of GPUs."""
    torch.manual_seed(0)
    lengths = [3, 7, 7, 20]
    qkv = torch.randn(sum(lengths), 3 * 8, dtype=torch.float64)
    groups, cu_seqlens = length_groups(lengths), torch.tensor([0, 3, 10, 17, 37]).int()
    monkeypatch.setattr(attention, "find_kernel", lambda *args: packed_by_the_book)
    for causal in (False, True):
        arguments = {"heads": 2, "causal": causal}
        found = self_attention(qkv, groups, cu_seqlens=cu_seqlens, **arguments)
        expected = by_the_book(qkv, lengths, 2, causal=causal)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    dropped = self_attention(qkv, groups, heads=2, dropout=0.5, cu_seqlens=cu_seqlens)
    assert not torch.allclose(dropped, by_the_book(qkv, lengths, 2))


def test_encoder_names_the_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches training that computes attention length by length on a GPU, where a kernel has all."""
    calls = []

    def kernel(*arguments):
        calls.append(arguments[3].tolist())
        return packed_by_the_book(*arguments)

    config = BertConfig(vocab_size=20, width=16, depth=2, heads=2, intermediate_width=16)
    encoder, pieces = BertEncoder(config).eval(), pack([[1, 2], [3, 4, 5]])
    expected = encoder(pieces)
    monkeypatch.setattr(attention, "find_kernel", lambda *args: kernel)
    torch.testing.assert_close(encoder(pieces), expected)
    for encoder.gradient_checkpointing in (False, True):
        encoder.train()(pieces).sum().backward()
    assert calls == [[0, 2, 5]] * 8  # two layers each; recomputed once


@pytest.mark.parametrize("inference", [False, True])
def test_kernels_are_tried(inference: bool) -> None:
    """Catches a kernel that is wrong being trusted, and a trial that changes the numbers drawn next."""
    here = torch.device("cpu"), torch.float32, 8
    wrong = {
        "values": lambda q, k, v, *rest: v,
        "not causal": lambda *args: packed_by_the_book(*args[:6], False),
        "no dropout": lambda *args: packed_by_the_book(*args[:5], 0.0, args[6]),
        "not scaled": lambda *args: packed_by_the_book(*args) * (1 - args[5]),
        "no gradient": lambda *args: packed_by_the_book(*(x.detach() for x in args[:4]), *args[4:]),
        "other elements": OtherElements.apply,
        "out of luck": kernel_that_fails,
        "other call": lambda q, k: q,
    }
    state = torch.get_rng_state()
    with torch.inference_mode(inference):
        assert attention._is_right(packed_by_the_book, *here)
        assert attention._is_right(Recomputed.apply, *here)
        assert [name for name, kernel in wrong.items() if attention._is_right(kernel, *here)] == []
        with pytest.raises(torch.OutOfMemoryError):  # not for good
            attention._is_right(kernel_without_memory, *here)
    assert torch.equal(torch.get_rng_state(), state)


def test_tried_within_a_checkpointed_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a trial whose tensors are taken for those of the layer that asked for the kernel first."""

    @functools.cache
    def find(device, dtype, width):
        right = attention._is_right(Recomputed.apply, device, dtype, width)
        return Recomputed.apply if right else None

    monkeypatch.setattr(attention, "find_kernel", find)
    config = BertConfig(vocab_size=20, width=16, depth=2, heads=2, intermediate_width=16)
    encoder = BertEncoder(config).train()
    encoder.gradient_checkpointing = True
    encoder(pack([[1, 2], [3, 4, 5]])).sum().backward()
    assert find.cache_info().currsize == 1 and find(torch.device("cpu"), torch.float32, 8)


def test_no_kernel_for_mixed_lengths_here() -> None:
    """Catches a kernel of GPUs being tried on a processor, and this torch no longer having them."""
    assert attention.find_kernel(torch.device("cpu"), torch.bfloat16, 32) is None
    for kernel, n in ((attention._flash, 10), (attention._efficient, 11)):
        name = f"{kernel.__name__}_attention_forward"
        names = [a.name for a in getattr(torch.ops.aten, name).default._schema.arguments]
        assert "dropout_p" in names[:n] and names[3 + (n == 11)].startswith("cu")
