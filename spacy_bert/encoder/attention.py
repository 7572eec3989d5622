"""Self-attention over packed rows. The only file that knows kernels.

Legend: R rows of the batch, N sequences of one length, L that length, H heads, D width of a head.
"""

from functools import cache
from itertools import groupby
from typing import Callable, List, NamedTuple, Optional, Sequence, cast

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
    cu_seqlens: Optional[Tensor] = None,
) -> Tensor:
    """Scaled dot-product attention within each sequence (Vaswani et al. 2017, section 3.2).

    qkv (Tensor): Queries, keys and values side by side, shape (R, 3 * H * D).
    groups (Sequence[LengthGroup]): How the rows fall into sequences.
    heads (int): Number of heads, H.
    dropout (float): Dropout on the attention probabilities.
    causal (bool): Whether each row attends to itself and what is before it only.
    cu_seqlens (Optional[Tensor]): Where each sequence starts, and the end, shape (n_seqs + 1,), int32.
        With it, sequences of mixed length take one kernel, where there is one: on GPUs, in 16 bits.
    RETURNS (Tensor): Attended values, shape (R, H * D).
    """
    if not groups:
        return qkv[:, : qkv.shape[1] // 3]  # an empty batch
    if cu_seqlens is not None and len(groups) > 1 and not dropout:
        varlen = find_varlen(qkv.device, qkv.dtype, qkv.shape[1] // (3 * heads))
        if varlen is not None:
            return _attend_mixed(varlen, qkv, groups, cu_seqlens, heads, causal)
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
        # On a GPU the fused kernels have dropout; varlen_attn has none as of torch 2.13.
        block = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=causal
        )
    return block.transpose(1, 2).reshape(n_seqs * length, -1)


def _attend_mixed(
    varlen: Callable[..., Tensor],
    qkv: Tensor,
    groups: Sequence[LengthGroup],
    cu_seqlens: Tensor,
    heads: int,
    causal: bool,
) -> Tensor:
    """Attention of sequences of mixed length: (R, 3 * H * D) -> (R, H * D)."""
    query, key, value = qkv.view(len(qkv), 3, heads, -1).unbind(1)  # (R, H, D) each
    longest = max(group.length for group in groups)
    window = (-1, 0) if causal else (-1, -1)
    block = varlen(query, key, value, cu_seqlens, cu_seqlens, longest, longest, window_size=window)
    return block.reshape(len(qkv), -1)


@cache
def find_varlen(
    device: torch.device, dtype: torch.dtype, width: int
) -> Optional[Callable[..., Tensor]]:
    """device (torch.device): Where to compute.
    dtype (torch.dtype): What in.
    width (int): Width of a head, D; kernels do not have all of them.
    RETURNS (Optional[Callable[..., Tensor]]): torch's attention for sequences of mixed length, where it
        has one that comes out right."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    try:
        # Not above: it is torch's compiler that this brings in, which takes seconds.
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        return None
    kernel = cast(Callable[..., Tensor], varlen_attn)
    return kernel if _comes_out_right(kernel, device, dtype, width) else None


def _comes_out_right(
    varlen: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, width: int
) -> bool:
    """Whether it gives for a small batch what torch's ordinary attention does."""
    heads, lengths = 2, [3, 7, 16]
    numbers = torch.linspace(-2.0, 2.0, sum(lengths) * 3 * heads * width).sin()
    qkv = numbers.view(sum(lengths), -1).to(device, dtype)
    groups = length_groups(lengths)
    starts = [group.start for group in groups]
    cu_seqlens = torch.tensor([*starts, len(qkv)], dtype=torch.int32, device=device)
    try:
        for causal in (False, True):
            expected = self_attention(qkv, groups, heads=heads, causal=causal)
            found = _attend_mixed(varlen, qkv, groups, cu_seqlens, heads, causal)
            if not torch.allclose(found.float(), expected.float(), atol=0.02):
                return False
    except (RuntimeError, TypeError, ValueError):  # a GPU or torch without it
        return False
    return True
