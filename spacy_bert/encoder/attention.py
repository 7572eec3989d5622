"""Self-attention over packed rows, with the kernel that suits. (With dropout, on a processor, it is our own:
dropped_attention.py.)

Legend: R rows of the batch, N sequences of one length, L that length, H heads, D width of a head.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Callable, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .dropped_attention import dropped_attention
from .packing import LengthGroup, length_groups


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
        With it, sequences of mixed length take one kernel, where there is one: on GPUs.
    RETURNS (Tensor): Attended values, shape (R, H * D).
    """
    if not groups:
        return qkv[:, : qkv.shape[1] // 3]  # an empty batch
    if cu_seqlens is not None:
        kernel = find_kernel(qkv.device, qkv.dtype, qkv.shape[1] // (3 * heads))
        if kernel is not None:
            return _attend_mixed(kernel, qkv, groups, cu_seqlens, heads, dropout, causal)
    if dropout and qkv.device.type == "cpu":
        return dropped_attention(qkv, groups, heads=heads, dropout=dropout, causal=causal)
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
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()  # (N, H, L, D) each
    block = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
    return block.transpose(1, 2).reshape(n_seqs * length, -1)


# Attention of packed sequences: queries, keys and values, shape (R, H, D) each, where the sequences start,
# the longest, dropout, whether it is causal -> shape (R, H, D)
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, int, float, bool], Tensor]


# They are what torch computes attention of nested tensors with. Its public `varlen_attn` has no dropout
# as of torch 2.13, and nothing for 32 bits.
def _flash(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int, dropout: float, causal: bool
) -> Tensor:  # fmt: skip
    return torch.ops.aten._flash_attention_forward(
        query, key, value, starts, starts, longest, longest, dropout, causal, False
    )[0]


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int, dropout: float, causal: bool
) -> Tensor:  # fmt: skip
    learns = torch.is_grad_enabled() and query.requires_grad
    return torch.ops.aten._efficient_attention_forward(
        query[None], key[None], value[None], None, starts, starts, longest, longest, dropout, int(causal),
        learns,
    )[0][0]  # fmt: skip


def _attend_mixed(
    kernel: Kernel,
    qkv: Tensor,
    groups: Sequence[LengthGroup],
    cu_seqlens: Tensor,
    heads: int,
    dropout: float,
    causal: bool,
) -> Tensor:
    """Attention of sequences of mixed length: (R, 3 * H * D) -> (R, H * D)."""
    query, key, value = qkv.view(len(qkv), 3, heads, -1).unbind(1)  # (R, H, D) each
    longest = max(group.length for group in groups)
    return kernel(query, key, value, cu_seqlens, longest, dropout, causal).reshape(len(qkv), -1)


@cache
def find_kernel(device: torch.device, dtype: torch.dtype, width: int) -> Optional[Kernel]:
    """device (torch.device): Where to compute.
    dtype (torch.dtype): What in.
    width (int): Width of a head, D; kernels do not have all of them.
    RETURNS (Optional[Kernel]): What computes attention of sequences of mixed length there, at once and
        with its gradient, if this torch and this GPU have something that comes out right."""
    if device.type != "cuda":
        return None
    kernels = [_efficient] if dtype == torch.float32 else [_flash, _efficient]
    right = (kernel for kernel in kernels if _is_right(kernel, device, dtype, width))
    return next(right, None)


def _is_right(kernel: Kernel, device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether a kernel comes out right in a trial."""
    # It may be asked for in the middle of a prediction, under autocast, or within a checkpointed layer,
    # which counts the tensors that are saved. All of that is the thread's own: in another one there is none.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_comes_out_right, kernel, device, dtype, width).result()


def _comes_out_right(kernel: Kernel, device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether it gives for a small batch what attention on the processor gives, and the same gradient;
    and whether its gradient is that of what dropout left."""
    heads, lengths = 2, [3, 7, 16, 64]
    groups = length_groups(lengths)
    starts = torch.tensor([*(group.start for group in groups), sum(lengths)], dtype=torch.int32)
    starts = starts.to(device)
    numbers = torch.linspace(-2.0, 2.0, sum(lengths) * 3 * heads * width).mul(1e3).sin()
    qkv = numbers.view(sum(lengths), -1).to(device, dtype).requires_grad_()
    exact = qkv.detach().float().cpu().requires_grad_()
    # What is drawn after it must not depend on whether it was made.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            for causal in (False, True):
                expected = self_attention(exact, groups, heads=heads, causal=causal)
                found = _attend_mixed(kernel, qkv, groups, starts, heads, 0.0, causal)
                for ours, theirs in (
                    (found, expected),
                    (_gradient(found, qkv), _gradient(expected, exact)),
                ):
                    if not torch.allclose(ours.float().cpu(), theirs, rtol=0.05, atol=0.1):
                        return False
            # Of values that are all one, the sums of what was kept, which are one on average.
            ones = qkv.detach().clone()
            ones.view(len(ones), 3, -1)[:, 2] = 1.0
            kept = _attend_mixed(kernel, ones.requires_grad_(), groups, starts, heads, 0.9, False)
            sums = kept.detach().float()
            mean, squares = float(sums.mean()), float(sums.square().sum())
            # They are linear in the values: with other elements dropped, this would come out as much
            # smaller than the squares as the sums differ among themselves.
            back = float(_gradient(kept, ones).view(len(ones), 3, -1)[:, 2].float().sum()) / 2
            return (
                abs(mean - 1.0) < 0.3
                and squares > 1.1 * kept.numel()
                and abs(back / squares - 1.0) < 0.05
            )
        except torch.OutOfMemoryError:  # that says nothing about the kernel
            raise
        except (AttributeError, RuntimeError, TypeError, ValueError):  # a GPU or torch without it
            return False


def _gradient(results: Tensor, rows: Tensor) -> Tensor:
    """Of the sum of the squares of some results."""
    return torch.autograd.grad(results.float().square().sum(), rows)[0]
