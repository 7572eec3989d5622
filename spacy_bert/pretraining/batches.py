"""A seeded, resumable stream of batches: what the training loop reads."""

from typing import Iterator, NamedTuple, Optional, Protocol

import numpy as np
from torch import Tensor

from ..encoder import PackedPieces


class PretrainingBatch(NamedTuple):
    """What one step learns from.

    pieces (PackedPieces): The sequences, [CLS] and [SEP] included, the shortest first.
    masked_rows (Tensor): The rows whose pieces are to be told, shape (n_masked,), int64, ascending.
    masked_ids (Tensor): The pieces that were there, shape (n_masked,), int64. Of a causal
        objective, the piece after the row.
    not_next (Tensor): 0 = B follows A, 1 = B is from another document, shape (n_seqs,), int64.
        Zeros without the next-sentence objective.
    """

    pieces: PackedPieces
    masked_rows: Tensor
    masked_ids: Tensor
    not_next: Tensor


class Position(NamedTuple):
    """Where in a stream a batch begins: plain ints, so that `Position(*json.loads(text))` works.

    epoch (int): How often all documents have been visited.
    block (int): Which part of the epoch's documents.
    instance (int): Which of the block's instances.
    max_length (int): For which length of sequences the instances were counted; 0 for any. Where
        the stream has another length, it begins at the first instance of the block.
    """

    epoch: int = 0
    block: int = 0
    instance: int = 0
    max_length: int = 0
