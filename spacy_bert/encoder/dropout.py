"""Dropout that costs little on a CPU.

torch draws one random number an element there, serially, which takes a tenth of a training step.
Sixteen random bits an element are enough, and a generator that torch's own only seeds draws them
several times as fast: so fast that they are drawn again for the gradient, and take no memory.
"""

from typing import Any, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

STEPS = 1 << 16  # the rate is rounded to 1 / STEPS


class Dropping:
    """Which elements are dropped: the same ones, whenever it is made with the same seed.

    rate (float): Share of elements to drop, in (0, 1).
    seed (int): Decides which.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self.dropped = min(round(rate * STEPS), STEPS - 1)
        # What is kept is to be multiplied by this, so that the expectation stays.
        self.scale = STEPS / (STEPS - self.dropped)
        self.generator = np.random.SFC64(seed)

    def kept(self, rows: Tensor) -> Tensor:
        """rows (Tensor): The next elements, on the processor, any shape.
        RETURNS (Tensor): Ones where they are kept and zeros where they are dropped, like `rows`."""
        draws = self.generator.random_raw((rows.numel() + 3) // 4)  # 64 bits each
        bits = torch.from_numpy(draws.view(np.int16))[: rows.numel()].view(rows.shape)
        # The bits are uniform in [-STEPS/2, STEPS/2). The comparison writes numbers, not bools that
        # would have to be converted.
        limit = self.dropped - STEPS // 2
        return torch.ge(bits, limit, out=torch.empty_like(rows, requires_grad=False))


def draw_seed() -> int:
    """RETURNS (int): A number of torch's generator, whose state is all that a resume has to know."""
    return int(torch.randint(2**63 - 1, (), device="cpu"))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, rate: float) -> Tensor:  # type: ignore[override]
        ctx.rate, ctx.seed = rate, draw_seed()
        return _drop(rows, rate, ctx.seed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None]:  # type: ignore[override]
        return _drop(grad, ctx.rate, ctx.seed), None


def _drop(rows: Tensor, rate: float, seed: int) -> Tensor:
    dropping = Dropping(rate, seed)
    return dropping.kept(rows).mul_(dropping.scale).mul_(rows)


def dropout(rows: Tensor, rate: float) -> Tensor:
    """Set random elements to zero and scale the rest, so that the expectation stays.

    rows (Tensor): Any shape.
    rate (float): Share of elements to drop, in [0, 1).
    RETURNS (Tensor): The same shape. Differentiable once on a processor.
    """
    if not rate:
        return rows
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(rows, rate)
    return _Dropout.apply(rows, rate)
