"""Attention with dropout on the probabilities, in training on a processor.

torch's fused kernel knows no dropout there. Taken apart, attention leaves three square matrices a
head for its gradient, which of long windows are most of what a training step holds. Of these, none
is kept here: they are made once more, in parts that stay in the cache.

Sequences of one length after the other, a batch of sentences has thirty lengths, and a dozen small
operations each take longer than all that they compute. So those of like length are filled up to one:

    a b            a b . .
    c d e f   ->   c d e f        in one block
    g h i          g h i .

Legend: R rows of the batch, N sequences of a block, L their length, H heads, D width of a head, B = N * H.
"""

from functools import lru_cache
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .dropout import Dropping, draw_seed
from .packing import LengthGroup

# Probabilities that are made at a time.
PART = 1 << 20
# As many probabilities as take about the time that each block takes besides.
WORTH_A_BLOCK = 1 << 15
# Lengths of a block at most: looking for more would take longer than they save.
LONGEST_RUN = 64
# Up to this length, probabilities are kept for the gradient: they are few, and take a third as long again.
WORTH_KEEPING = 128
# In bfloat16, oneDNN compiles products for each shape that it meets, and keeps them. Blocks of fewer
# rows than this are not worth it, and computed in 32 bits; as are those of unlike lengths, which have
# another shape in every batch.
WORTH_COMPILING = 512


class Block(NamedTuple):
    """Neighbouring sequences of like length.

    rows (slice): Their rows in the batch.
    n_seqs (int): How many they are, N.
    length (int): Length of the longest, L.
    row_of (Optional[Tensor]): The row of each place of the block, counted from its first, any of the
        sequence where that is filled up, shape (N * L,); None if nothing is.
    place_of (Optional[Tensor]): The place of each row.
    is_filled (Optional[Tensor]): Whether there is none, shape (N, 1, L).
    """

    rows: slice
    n_seqs: int
    length: int
    row_of: Optional[Tensor]
    place_of: Optional[Tensor]
    is_filled: Optional[Tensor]


@lru_cache(maxsize=16)  # all layers of a batch have the same
@torch.inference_mode(False)  # and another batch may, which learns
def plan_blocks(groups: Tuple[LengthGroup, ...], heads: int) -> List[Block]:
    """Fill sequences up where that takes less time than a block of their own.

    groups (Tuple[LengthGroup, ...]): The runs of equal length.
    heads (int): Number of heads.
    RETURNS (List[Block]): The blocks, in order; together they cover all rows.
    """
    # Shortest path: the least time for the groups before each one, and where its last block starts.
    best: List[Tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(groups) + 1):
        n_seqs, longest, candidates = 0, 0, []
        for start in range(end - 1, max(end - LONGEST_RUN, 0) - 1, -1):
            n_seqs += groups[start].n_seqs
            longest = max(longest, groups[start].length)
            time = WORTH_A_BLOCK + n_seqs * heads * longest**2
            candidates.append((best[start][0] + time, start))
        best.append(min(candidates))
    blocks: List[Block] = []
    end = len(groups)
    while end:
        start = best[end][1]
        blocks.append(_block(groups[start:end]))
        end = start
    return blocks[::-1]


def _block(groups: Sequence[LengthGroup]) -> Block:
    longest = max(group.length for group in groups)
    of_each = [group.length for group in groups for _ in range(group.n_seqs)]
    lengths = torch.tensor(of_each, device="cpu")
    first, n_rows = groups[0].start, int(lengths.sum())
    rows = slice(first, first + n_rows)
    if n_rows == len(lengths) * longest:
        return Block(rows, len(lengths), longest, None, None, None)
    places = torch.arange(longest, device="cpu")
    is_filled = places >= lengths[:, None]  # (N, L)
    starts = (lengths.cumsum(0) - lengths)[:, None]
    row_of = torch.where(is_filled, starts, starts + places).flatten()
    place_of = (~is_filled).flatten().nonzero().flatten()
    return Block(rows, len(lengths), longest, row_of, place_of, is_filled[:, None])


class _DroppedAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, qkv: Tensor, blocks: List[Block], heads: int, rate: float, causal: bool
    ) -> Tensor:
        ctx.blocks, ctx.heads, ctx.rate, ctx.causal = blocks, heads, rate, causal
        ctx.seed = draw_seed()
        kept_weights: List[Tensor] = []
        dropping = Dropping(rate, ctx.seed)
        output = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        with torch.autocast("cpu", enabled=False):
            for block in blocks:
                query, key, value = _queries_keys_values(qkv, block, heads)
                attended = torch.empty_like(value)
                for part in _parts(block, heads):
                    weights = _probabilities(query, key, part, block, causal)
                    if block.length <= WORTH_KEEPING:
                        kept_weights.append(weights)
                    dropped = dropping.kept(weights).mul_(weights)
                    torch.bmm(dropped, value[part], out=attended[part])
                attended *= dropping.scale
                _put(output, attended[None], block)
        ctx.save_for_backward(qkv, *kept_weights)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:  # type: ignore[override]
        qkv, *kept_weights = ctx.saved_tensors
        weights_of_parts = iter(kept_weights)
        dropping = Dropping(ctx.rate, ctx.seed)
        output = torch.empty_like(qkv)
        # It may be run under autocast itself.
        with torch.autocast("cpu", enabled=False):
            for block in ctx.blocks:
                query, key, value = _queries_keys_values(qkv, block, ctx.heads)
                (d_attended,) = _by_head(grad, block, ctx.heads, n_arrays=1)
                d_attended *= dropping.scale
                if block.is_filled is not None:
                    by_seq = d_attended.view(block.n_seqs, ctx.heads, block.length, -1)
                    by_seq.masked_fill_(block.is_filled[..., None], 0.0)
                d_rows = value.new_empty(3, *value.shape)
                d_query, d_key, d_value = d_rows
                for part in _parts(block, ctx.heads):
                    if block.length <= WORTH_KEEPING:
                        weights = next(weights_of_parts)
                    else:
                        weights = _probabilities(query, key, part, block, ctx.causal)
                    kept = dropping.kept(weights)
                    d_weights = torch.bmm(d_attended[part], value[part].mT).mul_(kept)
                    torch.bmm(kept.mul_(weights).mT, d_attended[part], out=d_value[part])
                    scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                    torch.bmm(scores, key[part], out=d_query[part])
                    torch.bmm(scores.mT, query[part], out=d_key[part])
                d_query *= value.shape[-1] ** -0.5
                _put(output, d_rows, block)
        return output, None, None, None, None


def _queries_keys_values(qkv: Tensor, block: Block, heads: int) -> Tensor:
    """Those of a block, shape (3, B, L, D); the queries are scaled."""
    by_head = _by_head(qkv, block, heads, n_arrays=3)
    by_head[0] *= by_head.shape[-1] ** -0.5
    return by_head


def _by_head(rows: Tensor, block: Block, heads: int, *, n_arrays: int) -> Tensor:
    """The rows of a block, each of K arrays side by side, (R, K * H * D) -> (K, B, L, D), in memory of
    their own. Where the block is filled up, there is another row of the sequence."""
    n_seqs, length = block.n_seqs, block.length
    rows = rows[block.rows]
    if block.row_of is not None:
        rows = rows.index_select(0, block.row_of)
    compiles = len(rows) >= WORTH_COMPILING and block.row_of is None
    dtype = torch.float32 if rows.dtype == torch.bfloat16 and not compiles else rows.dtype
    rows = rows.view(n_seqs, length, n_arrays, heads, -1).permute(2, 0, 3, 1, 4)
    by_head = torch.empty(rows.shape, dtype=dtype, device=rows.device)  # (K, N, H, L, D)
    by_head.copy_(rows)
    return by_head.view(n_arrays, n_seqs * heads, length, -1)


def _put(output: Tensor, by_head: Tensor, block: Block) -> None:
    """Write what was computed by head, (K, B, L, D), to the rows of a block, (R, K * H * D)."""
    n_arrays, _, length, width = by_head.shape
    rows = by_head.view(n_arrays, block.n_seqs, -1, length, width).permute(1, 3, 0, 2, 4)
    if block.place_of is None:
        # (N, L, K, H, D)
        output[block.rows].view(rows.shape).copy_(rows)
    else:
        rows = rows.reshape(block.n_seqs * length, -1)
        output[block.rows] = rows.index_select(0, block.place_of).to(output.dtype)


def _parts(block: Block, heads: int) -> List[slice]:
    size = max(1, PART // block.length**2)
    return [slice(start, start + size) for start in range(0, block.n_seqs * heads, size)]


def _probabilities(query: Tensor, key: Tensor, part: slice, block: Block, causal: bool) -> Tensor:
    """What each row of some heads attends to, shape (b, L, L)."""
    scores = torch.bmm(query[part], key[part].mT)
    if block.is_filled is not None:
        by_head = block.is_filled.repeat_interleave(len(query) // block.n_seqs, 0)  # (B, 1, L)
        scores.masked_fill_(by_head[part], float("-inf"))
    if causal:
        later = scores.new_ones(scores.shape[1:], dtype=torch.bool).triu(1)
        scores.masked_fill_(later, float("-inf"))
    return torch.softmax(scores, dim=-1)


def dropped_attention(
    qkv: Tensor, groups: Sequence[LengthGroup], *, heads: int, dropout: float, causal: bool
) -> Tensor:
    """Attention within each sequence.

    qkv (Tensor): Queries, keys and values side by side, on the processor, shape (R, 3 * H * D).
    groups (Sequence[LengthGroup]): How the rows fall into sequences.
    heads (int): Number of heads, H.
    dropout (float): Dropout on the probabilities, above 0.
    causal (bool): Whether each row attends to itself and what is before it only.
    RETURNS (Tensor): Attended values, shape (R, H * D). Differentiable once.
    """
    blocks = plan_blocks(tuple(groups), heads)
    return _DroppedAttention.apply(qkv, blocks, heads, dropout, causal)
