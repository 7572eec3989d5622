"""Attention with dropout on the probabilities, in training on a processor: some heads at a time.

torch's fused kernel knows no dropout there. Taken apart, attention leaves three square matrices a
head for its gradient, which of long windows are most of what a training step holds. Here they are
made once more instead, in parts that stay in the cache.

Legend: N sequences of one length, L that length, H heads, D width of a head, B = N * H.
"""

from typing import Any, List, Tuple

import torch
from torch import Tensor

from .dropout import Dropping, draw_seed

# Probabilities that are made at a time.
PART = 1 << 20


class _DroppedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rate: float, causal: bool) -> Tensor:  # type: ignore[override]
        n_seqs, length, _, heads, width = qkv.shape
        # (N, L, 3, H, D) -> (3, N, H, L, D) -> (3, B, L, D)
        rows = qkv.new_empty(3, n_seqs, heads, length, width).copy_(qkv.permute(2, 0, 3, 1, 4))
        rows = rows.view(3, -1, length, width)
        query, key, value = rows.unbind()
        query.mul_(width**-0.5)
        ctx.rate, ctx.seed, ctx.causal, ctx.heads = rate, draw_seed(), causal, heads
        dropping = Dropping(rate, ctx.seed)
        output = torch.empty_like(value)
        with torch.autocast("cpu", enabled=False):
            for part in _parts(*value.shape[:2]):
                weights = _probabilities(query[part], key[part], causal)
                weights *= dropping.kept(weights)
                torch.bmm(weights, value[part], out=output[part])
        ctx.save_for_backward(rows)
        output *= dropping.scale
        # (B, L, D) -> (N * L, H * D)
        return (
            output.view(n_seqs, heads, length, width).transpose(1, 2).reshape(n_seqs * length, -1)
        )

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:  # type: ignore[override]
        (rows,) = ctx.saved_tensors
        query, key, value = rows.unbind()
        n_rows, length, width = value.shape
        dropping = Dropping(ctx.rate, ctx.seed)
        # (N * L, H * D) -> (B, L, D)
        grad_output = torch.empty_like(value).view(-1, ctx.heads, length, width)
        by_head = grad.reshape(-1, length, ctx.heads, width).transpose(1, 2)
        grad = torch.mul(by_head, dropping.scale, out=grad_output).view(value.shape)
        grad_rows = torch.empty_like(rows)
        grad_query, grad_key, grad_value = grad_rows.unbind()
        # It may be run under autocast itself.
        with torch.autocast("cpu", enabled=False):
            for part in _parts(n_rows, length):
                weights = _probabilities(query[part], key[part], ctx.causal)
                kept = dropping.kept(weights)
                grad_weights = torch.bmm(grad[part], value[part].mT).mul_(kept)
                torch.bmm(kept.mul_(weights).mT, grad[part], out=grad_value[part])
                scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
                torch.bmm(scores, key[part], out=grad_query[part])
                torch.bmm(scores.mT, query[part], out=grad_key[part])
        grad_query *= width**-0.5
        # (3, B, L, D) -> (3, N, H, L, D) -> (N, L, 3, H, D)
        grad_rows = grad_rows.view(3, -1, ctx.heads, length, width)
        return grad_rows.permute(1, 3, 0, 2, 4), None, None


def _parts(n_rows: int, length: int) -> List[slice]:
    size = max(1, PART // length**2)
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def _probabilities(query: Tensor, key: Tensor, causal: bool) -> Tensor:
    """(b, L, D) and (b, L, D) -> (b, L, L); the queries are scaled."""
    scores = torch.bmm(query, key.mT)
    if causal:
        later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
        scores.masked_fill_(later, float("-inf"))
    return torch.softmax(scores, dim=-1)


def dropped_attention(qkv: Tensor, *, dropout: float, causal: bool) -> Tensor:
    """Attention of sequences of one length.

    qkv (Tensor): Queries, keys and values, shape (N, L, 3, H, D), on the processor.
    dropout (float): Dropout on the probabilities, above 0.
    causal (bool): Whether each row attends to itself and what is before it only.
    RETURNS (Tensor): Attended values, shape (N * L, H * D). Differentiable once.
    """
    return _DroppedAttention.apply(qkv, dropout, causal)
