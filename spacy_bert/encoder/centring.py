"""Rows near zero, so that products in 8-bit integers read them in finer steps.

Some inputs are far from zero in every text (Bondarenko et al. 2021, "Understanding and Overcoming the
Challenges of Efficient Transformer Quantization"), and where a row shares one scale, its largest number
makes the steps of all coarse. Their usual values can be taken away, and the network stays as it is:

    W x + b = W (x - c) + (b + W c)            x + y = (x - c) + (y + c)

The norms before and the products behind take it all into their biases, so that it costs no time.

Legend: W width.
"""

from typing import Iterable, List, NamedTuple, Optional, cast

import numpy as np
import torch
from torch import Tensor, nn

from .bert import BertEncoder, Layer
from .config import BertConfig
from .packing import PackedPieces, length_groups, pack
from .products import Affine, Biased

# Of random pieces: rows at most, and sequences.
SAMPLE_ROWS, SAMPLE_SEQUENCES = 256, 8


class Centres(NamedTuple):
    """What is taken away from the rows of a layer, shape (W,) each.

    before (Tensor): From what the layer reads.
    middle (Tensor): From what its feed-forward sublayer reads.
    after (Optional[Tensor]): From what it makes; None for the last layer.
    """

    before: Tensor
    middle: Tensor
    after: Optional[Tensor]


def find_centres(encoder: BertEncoder) -> List[Centres]:
    """encoder (BertEncoder): An encoder, with weights.
    RETURNS (List[Centres]): For each layer, the mean of what its products read of random pieces; that
        of texts is much the same."""
    config = encoder.config
    pieces = random_pieces(config, SAMPLE_ROWS, longest=SAMPLE_ROWS // SAMPLE_SEQUENCES)
    pieces = pieces.to(next(encoder.parameters()).device)
    groups = length_groups(pieces.lengths)
    before, middle = [], []
    with torch.inference_mode():
        rows = encoder.embeddings(pieces)
        for layer in cast(Iterable[Layer], encoder.layers):
            before.append(rows.mean(0))
            rows = layer.attend(rows, groups, pieces.cu_seqlens, 0.0, 0.0, config.causal)
            middle.append(rows.mean(0))
            rows = layer.feed_forward(rows, 0.0)
    return [Centres(*three) for three in zip(before, middle, [*before[1:], None])]


def raised(layer: nn.Linear, by: Optional[Tensor], *, as_input: bool = False) -> Affine:
    """layer (nn.Linear): A layer.
    by (Optional[Tensor]): What its results are to be raised by, shape (O,).
    as_input (bool): It is of the rows instead, shape (I,).
    RETURNS (Affine): A layer with the same weights."""
    if by is None:
        return layer
    weight, bias = layer.weight.detach(), layer.bias.detach()
    return Biased(weight, bias + (weight @ by if as_input else by))


def random_pieces(config: BertConfig, n_rows: int, *, longest: int) -> PackedPieces:
    """config (BertConfig): Knows how many pieces and positions there are.
    n_rows (int): Rows at most.
    longest (int): The longest sequence, at most.
    RETURNS (PackedPieces): Sequences of random lengths and pieces, always the same."""
    numbers = np.random.default_rng(0)
    longest = min(longest, config.max_positions)
    lengths = sorted(numbers.integers(2, longest + 1, n_rows // longest).tolist())
    return pack([numbers.integers(0, config.vocab_size, length) for length in lengths])
