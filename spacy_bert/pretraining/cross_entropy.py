"""Cross entropy of a linear layer's scores, without keeping the scores.

Of a vocabulary of 30,000, the scores of one masked piece are 120 kB, and log-softmax and its
gradient would each be as much again. Here some rows are scored at a time, in place, and their
gradients taken at once, while they are in the cache.

Legend: M masked rows, W width, V pieces of the vocabulary.
"""

from typing import Any, Tuple

import torch
from torch import Tensor

# Scores that are made at a time: 9 MB on a processor; a GPU needs more to be busy.
CPU_SCORES, GPU_SCORES = 1 << 21, 1 << 27


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float
    ) -> Tuple[Tensor, Tensor]:
        kind, training = rows.device.type, any(ctx.needs_input_grad[:3])
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        n_rows = max(1, (CPU_SCORES if kind == "cpu" else GPU_SCORES) // len(weight))
        loss = rows.new_zeros((), dtype=torch.float32)
        n_correct = torch.zeros((), dtype=torch.int64, device=rows.device)
        # Nothing of any size where nobody asks for gradients.
        grad_rows, grad_weight, grad_bias = (
            torch.zeros_like(tensor if training else tensor[:0]) for tensor in (rows, weight, bias)
        )
        with torch.autocast(kind, enabled=False):
            matrix, addend = weight.detach().to(dtype), bias.detach().to(dtype)
            for start in range(0, len(rows), n_rows):
                part = slice(start, start + n_rows)
                row, target = rows[part].detach().to(dtype), targets[part, None]
                scores = torch.addmm(addend, row, matrix.t())  # (m, V)
                scores = scores.float() if scores.dtype == torch.bfloat16 else scores
                wanted = scores.gather(1, target)
                if dtype == torch.bfloat16:
                    # Of pieces with the same score, which 16 bits often give, one is told.
                    top, told = scores.max(1, keepdim=True)
                    n_correct += (told == target).sum()
                else:  # a sixth of the time
                    top = scores.amax(1, keepdim=True)
                    n_correct += (wanted >= top).sum()
                total = scores.sub_(top).exp_().sum(1, keepdim=True)
                loss += (total.log_() + top - wanted).sum()
                if training:
                    # softmax - one-hot
                    scores.mul_(torch.exp(-total).mul_(scale))
                    scores.scatter_add_(1, target, scores.new_full((), -scale).expand_as(target))
                    grad_bias += scores.sum(0)
                    gradient = scores.to(dtype)
                    grad_rows[part] = gradient @ matrix
                    if dtype == grad_weight.dtype:
                        grad_weight.addmm_(gradient.t(), row)
                    else:
                        grad_weight += gradient.t() @ row
        if training:
            ctx.save_for_backward(grad_rows, grad_weight, grad_bias)
        ctx.mark_non_differentiable(n_correct)
        return loss * scale, n_correct

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Any) -> Tuple[Any, ...]:  # type: ignore[override]
        grads = [grad.mul_(grad_loss) for grad in ctx.saved_tensors]
        return (*grads, None, None)


def linear_cross_entropy(
    rows: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, scale: float
) -> Tuple[Tensor, Tensor]:
    """Scores of each row for each piece, and how far they are from the right piece.

    rows (Tensor): Shape (M, W).
    weight (Tensor): One row a piece, shape (V, W).
    bias (Tensor): Shape (V,).
    targets (Tensor): The right pieces, shape (M,), int64.
    scale (float): Factor on the loss; 1 / M for the mean.
    RETURNS (Tuple[Tensor, Tensor]): The sum of the cross entropies in nats, times `scale`; and of
        how many rows the right piece has the highest score. Differentiable once.
    """
    return _LinearCrossEntropy.apply(rows, weight, bias, targets, scale)
