"""Self-attention over packed rows. The only file that knows kernels.

Legend: R rows of the batch, N sequences of one length, L that length, H heads, D width of a head.
"""

from itertools import groupby
from typing import List, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .dropout import dropout as drop

# In bfloat16, oneDNN compiles products for each shape that it meets, and keeps them: groups of fewer
# rows than this are not worth it.
WORTH_COMPILING = 512


class LengthGroup(NamedTuple):
    """Neighbouring sequences of equal length: a dense block that needs neither padding nor mask.

    start (int): First row.
    n_seqs (int): Number of sequences, N.
    length (int): Length of each, L.
    """

    start: int
    n_seqs: int
    length: int


def length_groups(lengths: Sequence[int]) -> List[LengthGroup]:
    """Find the runs of equal length. Sort sequences by length beforehand to make the runs long.

    lengths (Sequence[int]): Length of each sequence, in the order of the rows.
    RETURNS (List[LengthGroup]): The runs, in order; together they cover all rows.
    """
    groups, start = [], 0
    for length, run in groupby(lengths):
        n_seqs = sum(1 for _ in run)
        groups.append(LengthGroup(start, n_seqs, length))
        start += n_seqs * length
    return groups


def self_attention(
    qkv: Tensor,
    groups: Sequence[LengthGroup],
    *,
    heads: int,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention within each sequence (Vaswani et al. 2017, section 3.2).

    qkv (Tensor): Queries, keys and values side by side, shape (R, 3 * H * D).
    groups (Sequence[LengthGroup]): How the rows fall into sequences.
    heads (int): Number of heads, H.
    dropout (float): Dropout on the attention probabilities.
    causal (bool): Whether each row attends to itself and what is before it only.
    RETURNS (Tensor): Attended values, shape (R, H * D).
    """
    if not groups:
        return qkv[:, : qkv.shape[1] // 3]  # an empty batch
    shapes = [(group.n_seqs, group.length, 3, heads, -1) for group in groups]
    if len(groups) == 1:  # a short text: what is cheap besides the products counts
        return _attend(qkv.view(shapes[0]), dropout, causal)
    # One split for all groups: its gradient is one concatenation, where the gradient of a slice is
    # a zero-filled copy of the whole batch, for every group.
    parts = qkv.split_with_sizes([n_seqs * length for n_seqs, length, *_ in shapes])
    blocks = [_attend(rows.view(shape), dropout, causal) for rows, shape in zip(parts, shapes)]
    return torch.cat(blocks)


def _attend(qkv: Tensor, dropout: float, causal: bool) -> Tensor:
    """Attention of sequences of one length: (N, L, 3, H, D) -> (N * L, H * D)."""
    n_seqs, length = qkv.shape[:2]
    on_cpu = qkv.device.type == "cpu"
    is_small = n_seqs * length < WORTH_COMPILING
    if on_cpu and dropout and qkv.dtype == torch.bfloat16 and is_small:
        with torch.autocast("cpu", enabled=False):
            return _attend(qkv.float(), dropout, causal).to(qkv.dtype)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()  # (N, H, L, D) each
    if on_cpu and dropout:
        # torch's fused CPU kernel knows no dropout, and what it falls back to guards against rows
        # that are masked out whole, which packed rows never have.
        weights = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(2, 3))  # (N, H, L, L)
        if causal:
            later = torch.ones(weights.shape[-2:], dtype=torch.bool).triu(1)
            weights = weights.masked_fill(later, float("-inf"))
        block = torch.matmul(drop(torch.softmax(weights, dim=-1), dropout), value)
    else:
        # On a GPU the fused kernels have dropout. (Those for sequences of mixed length, varlen_attn,
        # have none as of torch 2.13.)
        block = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=causal
        )
    return block.transpose(1, 2).reshape(n_seqs * length, -1)
