"""How much a step computes, and how much the hardware could."""

import time
from typing import Sequence

import torch

from ..encoder import BertConfig


def step_flops(config: BertConfig, lengths: Sequence[int], *, n_masked: int, nsp: bool) -> float:
    """Floating-point operations of matrix products, forward and backward; a backward pass takes
    twice the forward pass (Chowdhery et al. 2022, appendix B). What is recomputed does not count.

    config (BertConfig): The sizes.
    lengths (Sequence[int]): Of the sequences that are read.
    n_masked (int): How many rows are scored for all pieces of the vocabulary.
    nsp (bool): Whether [CLS] is scored too.
    RETURNS (float): Operations; a multiplication and an addition are two.
    """
    width, inner = config.width, config.intermediate_width
    weights = config.depth * (4 * width * width + 2 * width * inner)
    scores = config.depth * 2 * width * sum(length * length for length in lengths)
    heads = n_masked * (width * width + width * config.vocab_size)
    if nsp:
        heads += len(lengths) * (width * width + 2 * width)
    return 3 * 2.0 * (weights * sum(lengths) + scores + heads)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure how fast large matrices are multiplied: the best of some products.

    device (torch.device): Where.
    dtype (torch.dtype): In which precision.
    RETURNS (float): Floating-point operations a second.
    """
    size, times = (8192, 10) if device.type == "cuda" else (1024, 6)
    # Its own numbers: a measurement must not change the run's.
    a = torch.linspace(-1, 1, size * size, device=device).view(size, size).to(dtype)
    best = float("inf")
    for _ in range(times):
        _wait(device)
        start = time.perf_counter()
        torch.mm(a, a)
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
