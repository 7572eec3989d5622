"""How the gradients of heads enter the encoder, and which form that of its table has."""

from typing import Any, Sequence, Tuple

import torch
from torch import nn


class _WithGradients(torch.autograd.Function):
    """A number whose gradient by some tensors is what is given. (Gradients that torch is handed to begin
    with are compared by its compiler's algebra, which takes half a second to import, and 40 MB.)"""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, gradients: Sequence[torch.Tensor], *tensors: torch.Tensor
    ) -> torch.Tensor:
        for gradient, tensor in zip(gradients, tensors, strict=True):
            # Else it would be summed up, if it can.
            if gradient.shape != tensor.shape:
                raise ValueError(
                    f"A gradient has the shape {tuple(gradient.shape)}, but what it is of has "
                    f"{tuple(tensor.shape)}."
                )
        ctx.gradients = gradients
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[Any, ...]:  # type: ignore[override]
        return None, *ctx.gradients


def reads_rows(table: nn.Module) -> bool:
    """table (nn.Module): What gives pieces their embeddings.
    RETURNS (bool): Whether its gradient can be that of the rows that a batch reads: not where somebody
        reckons with the whole table, or replaced it."""
    weight = table._parameters.get("weight")
    # Apple's GPUs lacked it in versions of torch that are allowed.
    return (
        type(table) is nn.Embedding
        and weight is not None
        and not weight._backward_hooks
        and not weight._post_accumulate_grad_hooks
        and not table.scale_grad_by_freq
        and weight.device.type in ("cpu", "cuda")
    )


def send_back(gradients: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> None:
    """Run the backward pass of some results.

    gradients (Sequence[torch.Tensor]): The gradient of each of them.
    tensors (Sequence[torch.Tensor]): The results, of the same shapes.
    RAISES: ValueError if a gradient has another shape.
    """
    torch.autograd.backward(_WithGradients.apply(gradients, *tensors))
