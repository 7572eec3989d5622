"""Batches of sequences without padding: the rows of all sequences, one after another.

ids        [CLS] a b [SEP] [CLS] c d e f [SEP]
positions    0   1 2   3     0   1 2 3 4   5
cu_seqlens   0               4                 10
"""

from itertools import groupby
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

# What the numbers of rows are multiples of on a processor, in inference and in training (see `fill`).
# In training the memory of a step is then given back in sizes that the next one asks for, too: else it
# would grow by half within an epoch.
ENGINE_ROWS, TRAINING_ROWS = 16, 64
# From how many times that on: the rows added are at most an eighth, usually much less.
WORTH_FILLING = 8


class PackedPieces(NamedTuple):
    """A batch of sequences, concatenated without padding.

    ids (Tensor): Piece ids, shape (n_rows,), int64.
    type_ids (Tensor): 0 = segment A, 1 = segment B, shape (n_rows,), int64.
    positions (Tensor): Position within the sequence, shape (n_rows,), int64.
    cu_seqlens (Tensor): Where each sequence starts, and the end, shape (n_seqs + 1,), int32.
    max_seqlen (int): Length of the longest sequence.
    lengths (Tuple[int, ...]): Length of each sequence on the host, so that grouping by length never has to wait for a device.
    """

    ids: Tensor
    type_ids: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    lengths: Sequence[int]

    @property
    def n_seqs(self) -> int:
        """RETURNS (int): Number of sequences."""
        return len(self.lengths)

    def to(self, device: torch.device) -> "PackedPieces":
        """device (torch.device): Where the tensors should be.
        RETURNS (PackedPieces): The same batch there."""
        if self.ids.device == device:
            return self
        return self._replace(
            ids=move(self.ids, device),
            type_ids=move(self.type_ids, device),
            positions=move(self.positions, device),
            cu_seqlens=move(self.cu_seqlens, device),
        )


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy what a batch was made of to where it is computed.

    tensor (Tensor): A tensor on the host, or there already.
    device (torch.device): Where it should be.
    RETURNS (Tensor): It there. To an NVIDIA GPU, copying may go on while the host does.
    """
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        # An Apple GPU might read what is gone by then.
        return tensor.to(device)
    # Other memory than pinned is first copied to some that is, and the host waits for that.
    return tensor.pin_memory().to(device, non_blocking=True)


def pack(
    sequences: Sequence[np.ndarray], type_ids: Optional[Sequence[np.ndarray]] = None
) -> PackedPieces:
    """Concatenate sequences into one batch.

    sequences (Sequence[np.ndarray]): Piece ids of each sequence, [CLS] and [SEP] included, shape (length,), integers.
    type_ids (Optional[Sequence[np.ndarray]]): Segment types of the same shapes; zeros if not given.
    RETURNS (PackedPieces): The batch, on the CPU.
    RAISES: ValueError if a sequence is empty, or its segment types are of another length.
    """
    lengths = [len(ids) for ids in sequences]
    if type_ids is not None and (of_types := [len(types) for types in type_ids]) != lengths:
        raise ValueError(
            f"The sequences have {lengths} pieces, but their segment types are {of_types}. Each piece "
            f"needs one."
        )
    if not all(lengths):
        raise ValueError(f"Sequence {lengths.index(0)} of the batch has no pieces.")
    return pack_rows(
        np.concatenate(sequences) if lengths else np.zeros(0, dtype=np.int64),
        None if type_ids is None or not lengths else np.concatenate(type_ids),
        lengths,
    )


def pack_rows(
    ids: np.ndarray, type_ids: Optional[np.ndarray], lengths: Sequence[int]
) -> PackedPieces:
    """Make a batch of rows that are concatenated already.

    ids (np.ndarray): Piece ids, shape (n_rows,).
    type_ids (Optional[np.ndarray]): Segment types, shape (n_rows,); zeros if None.
    lengths (Sequence[int]): Length of each sequence; their sum is n_rows.
    RETURNS (PackedPieces): The batch, on the CPU.
    """
    cu_seqlens = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    positions = np.arange(len(ids), dtype=np.int64)
    positions -= np.repeat(cu_seqlens[:-1].astype(np.int64), lengths)
    if type_ids is None:
        type_ids = np.zeros(len(ids), dtype=np.int64)
    return PackedPieces(
        ids=torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64)),
        type_ids=torch.from_numpy(np.ascontiguousarray(type_ids, dtype=np.int64)),
        positions=torch.from_numpy(positions),
        cu_seqlens=torch.from_numpy(cu_seqlens),
        max_seqlen=max(lengths, default=0),
        lengths=tuple(lengths),
    )


def fill(pieces: PackedPieces, multiple: int) -> PackedPieces:
    """Add rows that nobody reads, so that batches have one of few numbers of rows: on a processor, oneDNN
    compiles kernels for each number that it meets, and keeps them.

    pieces (PackedPieces): The batch; a small one, which the rows would slow down, or one that is not on
        the processor, stays as it is.
    multiple (int): What its number of rows is to be a multiple of.
    RETURNS (PackedPieces): The batch with up to `multiple` - 1 sequences more, of one piece each, behind
        the others.
    """
    n_more = -len(pieces.ids) % multiple
    is_small = len(pieces.ids) < WORTH_FILLING * multiple
    if not n_more or is_small or pieces.ids.device.type != "cpu":
        return pieces
    zeros = pieces.ids.new_zeros(n_more)
    starts = torch.arange(1, n_more + 1, dtype=torch.int32, device=pieces.ids.device)
    return PackedPieces(
        ids=torch.cat([pieces.ids, zeros]),
        type_ids=torch.cat([pieces.type_ids, zeros]),
        positions=torch.cat([pieces.positions, zeros]),
        cu_seqlens=torch.cat([pieces.cu_seqlens, pieces.cu_seqlens[-1] + starts]),
        max_seqlen=pieces.max_seqlen,
        lengths=(*pieces.lengths, *[1] * n_more),
    )


def unpack(rows: Tensor, pieces: PackedPieces) -> List[Tensor]:
    """Split rows back into sequences.

    rows (Tensor): One row a piece, shape (n_rows, ...).
    pieces (PackedPieces): The batch they belong to.
    RETURNS (List[Tensor]): One view a sequence, shape (length, ...).
    """
    return list(torch.split(rows, list(pieces.lengths)))


class LengthGroup(NamedTuple):
    """Neighbouring sequences of equal length: a dense block that needs neither padding nor mask.

    start (int): First row.
    n_seqs (int): Number of sequences, N.
    length (int): Length of each, L.
    """

    start: int
    n_seqs: int
    length: int


def length_groups(lengths: Sequence[int]) -> List[LengthGroup]:
    """Find the runs of equal length. Sort sequences by length beforehand to make the runs long.

    lengths (Sequence[int]): Length of each sequence, in the order of the rows.
    RETURNS (List[LengthGroup]): The runs, in order; together they cover all rows.
    """
    groups, start = [], 0
    for length, run in groupby(lengths):
        n_seqs = sum(1 for _ in run)
        groups.append(LengthGroup(start, n_seqs, length))
        start += n_seqs * length
    return groups
