"""Dropout that costs little on a CPU.

torch draws one random number an element there, serially, which takes a tenth of a training step.
Sixteen random bits an element are enough, and a generator that torch's own only seeds draws them
several times as fast.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 1 << 16  # the rate is rounded to 1 / STEPS


def dropout(rows: Tensor, rate: float) -> Tensor:
    """Set random elements to zero and scale the rest, so that the expectation stays.

    rows (Tensor): Any shape.
    rate (float): Share of elements to drop, in [0, 1).
    RETURNS (Tensor): The same shape.
    """
    if not rate:
        return rows
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(rows, rate)
    dropped = min(round(rate * STEPS), STEPS - 1)
    bits = _random_bits(rows.numel()).view(rows.shape)  # uniform in [-STEPS/2, STEPS/2)
    # The comparison writes numbers, not bools that would have to be converted.
    kept = torch.ge(bits, dropped - STEPS // 2, out=torch.empty_like(rows.detach()))
    return rows * kept.mul_(STEPS / (STEPS - dropped))


def _random_bits(n: int) -> Tensor:
    """n (int): How many. RETURNS (Tensor): Random integers of 16 bits, shape (n,), int16."""
    # One number of torch's generator decides them: its state is all that a resume has to know.
    seed = int(torch.randint(2**63 - 1, ()))
    draws = np.random.SFC64(seed).random_raw((n + 3) // 4)  # 64 bits each
    return torch.from_numpy(draws.view(np.int16))[:n]
