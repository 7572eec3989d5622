"""The functions between the two products of a feed-forward layer, and what is known of them."""

from functools import partial
from typing import Callable, Dict, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Activation(NamedTuple):
    """A function of each element.

    function (Callable[[Tensor], Tensor]): The function.
    in_place (Callable[[Tensor], Tensor]): The same, written over what it is given.
    gradient (Callable[[Tensor, Tensor], Tensor]): The gradient of its input, from that of its output, and the
        input.
    fused (Tuple[str, str]): What oneDNN calls it, and its algorithm.
    floor (float): What it is never below.
    """

    function: Callable[[Tensor], Tensor]
    in_place: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    fused: Tuple[str, str]
    floor: float


def _relu_gradient(grad: Tensor, inner: Tensor) -> Tensor:
    return grad * (inner > 0)


# The least value of GELU, a little lower.
GELU_FLOOR = -0.1701

# name in a BertConfig -> the function
ACTIVATIONS: Dict[str, Activation] = {
    "gelu": Activation(
        F.gelu,
        torch.ops.aten.gelu_,
        torch.ops.aten.gelu_backward,
        ("gelu", "none"),
        GELU_FLOOR,
    ),
    "gelu_new": Activation(
        partial(F.gelu, approximate="tanh"),
        partial(torch.ops.aten.gelu_, approximate="tanh"),
        partial(torch.ops.aten.gelu_backward, approximate="tanh"),
        ("gelu", "tanh"),
        GELU_FLOOR,
    ),
    "relu": Activation(F.relu, torch.relu_, _relu_gradient, ("relu", ""), 0.0),
}
