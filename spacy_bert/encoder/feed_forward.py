"""The feed-forward sublayer in training on a processor: some rows at a time.

The inner layer is four times as wide as the outer, so of a usual batch it makes arrays of 32 MB and
more, which a C library takes from the system, and gives back, every time: a tenth of a step goes
into pages that are cleared. Parts of them stay in the cache, and in the process.

Legend: R rows, W width, F inner width.
"""

from typing import Any, List, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .activations import ACTIVATIONS

# Numbers of the inner layer that are made at a time.
PART = 1 << 20


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, rows: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor,
        activation: str,
    ) -> Tensor:  # fmt: skip
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else rows.dtype
        with torch.autocast("cpu", enabled=False):
            rows_, up_, up_bias_, down_, down_bias_ = (
                tensor.to(dtype) for tensor in (rows, up, up_bias, down, down_bias)
            )
            output = torch.empty_like(rows_)
            kept: List[Tensor] = []
            for part in _parts(len(rows), len(up)):
                inner = torch.addmm(up_bias_, rows_[part], up_.t())  # (r, F)
                active = ACTIVATIONS[activation].function(inner)
                torch.addmm(down_bias_, active, down_.t(), out=output[part])
                kept.append(inner)
        ctx.save_for_backward(rows_, up, down, *kept)
        ctx.activation, ctx.dtype = activation, rows.dtype
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:  # type: ignore[override]
        rows, up, down, *kept = ctx.saved_tensors
        up_, down_ = up.to(rows.dtype), down.to(rows.dtype)
        grad_rows = torch.empty_like(rows)
        grad_up, grad_down = torch.zeros_like(up), torch.zeros_like(down)
        grad_up_bias = up.new_zeros(len(up))
        activation = ACTIVATIONS[ctx.activation]
        # It may be run under autocast itself.
        with torch.autocast("cpu", enabled=False):
            for part, inner in zip(_parts(len(rows), len(up)), kept, strict=True):
                # Computed again: that takes less time than what was kept of it would take memory.
                _add_product(grad_down, grad[part], activation.function(inner))
                grad_inner = activation.gradient(grad[part] @ down_, inner)
                _add_product(grad_up, grad_inner, rows[part])
                grad_up_bias += grad_inner.sum(0, dtype=up.dtype)
                torch.mm(grad_inner, up_, out=grad_rows[part])
        grad_down_bias = grad.sum(0, dtype=down.dtype)
        return grad_rows.to(ctx.dtype), grad_up, grad_up_bias, grad_down, grad_down_bias, None


def _is_plain(layer: torch.nn.Module) -> bool:
    """Whether a layer is what it is called, and nobody watches it: adapters and hooks have to run."""
    hooks = (
        layer._forward_hooks,
        layer._forward_pre_hooks,
        layer._backward_hooks,
        layer._backward_pre_hooks,
        "forward" in layer.__dict__,
    )
    return type(layer) is torch.nn.Linear and not any(hooks)


def _parts(n_rows: int, inner_width: int) -> List[slice]:
    size = max(1, PART // inner_width)
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def _add_product(total: Tensor, grad: Tensor, rows: Tensor) -> None:
    """Add a part of the gradient of a matrix, (n, r)' x (r, m), in the precision of the total."""
    if total.dtype == grad.dtype:
        total.addmm_(grad.t(), rows)
    else:
        total += grad.t() @ rows


def feed_forward(
    rows: Tensor, up: torch.nn.Linear, down: torch.nn.Linear, *, activation: str
) -> Tensor:
    """down(activation(up(rows))).

    rows (Tensor): Shape (R, W).
    up (torch.nn.Linear): From W to F.
    down (torch.nn.Linear): From F to W.
    activation (str): A name of ACTIVATIONS.
    RETURNS (Tensor): Shape (R, W). Differentiable once, in training on a processor.
    """
    learns = rows.device.type == "cpu" and torch.is_grad_enabled() and up.weight.requires_grad
    if learns and _is_plain(up) and _is_plain(down) and not torch.compiler.is_compiling():
        return _FeedForward.apply(rows, up.weight, up.bias, down.weight, down.bias, activation)
    return down(ACTIVATIONS[activation].function(up(rows)))
