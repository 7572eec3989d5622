"""A seeded, resumable stream of batches: what the training loop reads.

    blocks     |  block 0   |  block 1   |  block 2  |     as blocks.py makes them
    batches    [...][...][...][...][...][...][...][...]    of so many pieces; across all borders

A batch is a pure function of the store, the settings and its position.
"""

from typing import Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..encoder import PackedPieces
from ..encoder.packing import pack_rows
from .blocks import BLOCK_PIECES, Block, Blocks, ObjectiveSettings
from .instances import Instances
from .masking import Masking, next_pieces
from .store import TokenStore


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


class PretrainingStream:
    """Batches for masked LM and next-sentence prediction; an iterator.

    Every epoch visits every document once, in another order, with other pairs and other masks
    (Devlin et al. 2018 went over ten versions of the masks, made beforehand: `masking = "static"`,
    where an epoch has the instances and the masks of the one `duplicates` epochs ago). Only one
    thread may call `next`.
    """

    def __init__(
        self,
        store: TokenStore,
        documents: np.ndarray,
        *,
        objective: ObjectiveSettings,
        max_length: int,
        batch_pieces: int,
        seed: int,
        position: Position = Position(),
        epochs: Optional[int] = None,
        block_pieces: int = BLOCK_PIECES,
    ) -> None:
        """store (TokenStore): The text.
        documents (np.ndarray): Which documents, as `store.split` returns them: the first sentence
            of each, and the end, shape (n_documents, 2).
        objective (ObjectiveSettings): What is learned: the [objective] of a configuration.
        max_length (int): Longest sequence, specials included.
        batch_pieces (int): How many pieces a batch may have, specials included: as many instances
            as fit, the shortest first.
        seed (int): Decides everything that is random.
        position (Position): Where to begin: the `position` of an earlier stream with the same
            settings. Costs no more than a beginning does.
        epochs (Optional[int]): Where to end; None: never.
        block_pieces (int): Pieces of a block.
        RAISES (ValueError): There are no documents, a setting is out of range, settings contradict
            each other, or next-sentence prediction is asked of a single document.
        """
        _check_objective(objective)
        _check_least("batch_pieces", batch_pieces, max_length, "one sequence of max_length")
        _check_least("seed", seed, 0, "NumPy takes no other")
        self.store, self.documents = store, _checked(documents, store)
        self.objective, self.seed, self.epochs = objective, seed, epochs
        self.batch_pieces, self.max_length = batch_pieces, max_length
        self._check_length(max_length)
        if objective.nsp and len(documents) < 2:
            raise ValueError(
                "Next-sentence prediction takes half of the second segments from another document, "
                f"but {len(documents)} document of the store {store.path} is read here, of "
                f"{len(store.documents)}. Give more documents (a book can be cut into chapters; "
                "a reader can be told what divides documents), hold out fewer, or set nsp = false "
                "under [objective]."
            )
        self._masking = Masking(
            store.tokenizer,
            share=objective.mask_share,
            as_mask=objective.mask_as_mask,
            as_random=objective.mask_as_random,
            whole_word=objective.whole_word,
        )
        self._blocks = Blocks(
            store, self.documents, objective=objective, seed=seed, block_pieces=block_pieces
        )
        epoch, block, instance, counted_for = position
        if counted_for not in (0, max_length):
            instance = 0
        if min(position) < 0:
            raise _no_such(position, "some of it is negative")
        if block >= self._blocks.count(epoch):
            raise _no_such(position, f"epoch {epoch} has {self._blocks.count(epoch)} blocks")
        self.position = Position(epoch, block, instance, max_length)

    position: Position  # of the batch that `next` gives next

    @property
    def n_pieces(self) -> int:
        """RETURNS (int): Pieces of the documents, specials not counted: about what an epoch is."""
        return self._blocks.n_pieces

    def set_max_length(self, max_length: int) -> None:
        """Go on with another length of sequences, from the beginning of the block that was being
        read: its instances are made anew. A stream that is constructed with the new length at the
        position before the change does the same.

        max_length (int): Longest sequence, specials included.
        RAISES (ValueError): It is too short, or too long for `batch_pieces`.
        """
        if max_length == self.max_length:
            return
        _check_least("batch_pieces", self.batch_pieces, max_length, "one sequence of max_length")
        self._check_length(max_length)
        self.max_length = max_length
        self.position = Position(self.position.epoch, self.position.block, 0, max_length)

    def __iter__(self) -> Iterator[PretrainingBatch]:
        return self

    def __next__(self) -> PretrainingBatch:
        epoch, block, instance, _ = self.position
        room, taken = self.batch_pieces, []
        while self.epochs is None or epoch < self.epochs:
            after = (epoch, block + 1) if block + 1 < self._blocks.count(epoch) else (epoch + 1, 0)
            is_last = self.epochs is not None and after[0] >= self.epochs
            key = (epoch, block, self.max_length)
            found = self._blocks.get(key, key if is_last else (*after, self.max_length))
            if instance >= len(found.ends):
                raise _no_such(self.position, f"the block has {len(found.ends)} instances")
            before = found.ends[instance - 1] if instance else 0
            stop = int(np.searchsorted(found.ends, before + room, side="right"))
            if stop > instance:
                taken.append((found, slice(instance, stop)))
                room -= int(found.ends[stop - 1] - before)
            if stop < len(found.ends):
                instance = stop
                break
            epoch, block, instance = *after, 0
        if not taken:
            raise StopIteration
        self.position = Position(epoch, block, instance, self.max_length)
        return self._batch(taken)

    def _batch(self, taken: List[Tuple[Block, slice]]) -> PretrainingBatch:
        a, b, not_next = (
            np.concatenate([getattr(found.instances, name)[rows] for found, rows in taken])
            for name in ("a", "b", "not_next")
        )
        keys = np.concatenate([found.keys[rows] for found, rows in taken])
        instances = Instances(a, b, not_next, taken[0][0].instances.n_specials)
        by_length = np.argsort(instances.lengths, kind="stable")
        instances = instances[by_length]
        ids, types, special = lay_out(instances, self.store)
        lengths = instances.lengths
        if self.objective.causal:
            rows, targets = next_pieces(ids, lengths)
        else:
            ids, rows, targets = self._masking(ids, special, lengths, keys[by_length])
        return PretrainingBatch(
            pack_rows(ids, types, lengths.tolist()),
            torch.from_numpy(rows),
            torch.from_numpy(targets),
            torch.from_numpy(instances.not_next.astype(np.int64)),
        )

    def _check_length(self, max_length: int) -> None:
        least = 5 if self.objective.nsp else 4
        _check_least("max_length", max_length, least, "the specials and two pieces")


def lay_out(instances: Instances, store: TokenStore) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Instances -> [CLS] A [SEP] B [SEP], one after another.

    instances (Instances): Which pieces.
    store (TokenStore): Where they are.
    RETURNS (Tuple[np.ndarray, np.ndarray, np.ndarray]): Ids, segment types (int64) and whether the
        piece is a special one (bool), each of shape (n_rows,).
    """
    pair = instances.n_specials == 3
    ranges = np.stack([instances.a, instances.b], axis=1) if pair else instances.a[:, None]
    sizes = ranges[..., 1] - ranges[..., 0]  # (n, segments)
    # Each segment with the [SEP] behind it, and the first with the [CLS] before it too.
    rows = sizes + 1
    rows[:, 0] += 1
    ends = np.cumsum(rows).reshape(rows.shape)
    n_rows = int(ends[-1, -1])
    special = np.zeros(n_rows, dtype=bool)
    seps, clss = ends.ravel() - 1, ends[:, 0] - rows[:, 0]
    special[seps] = special[clss] = True
    counts = sizes.ravel()
    within = np.arange(n_rows - len(seps) - len(clss)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    ids = np.empty(n_rows, dtype=np.int64)
    ids[~special] = store.pieces[np.repeat(ranges[..., 0].ravel(), counts) + within]
    ids[seps], ids[clss] = store.tokenizer.sep_id, store.tokenizer.cls_id
    segments = np.tile(np.arange(rows.shape[1]), len(rows))
    return ids, np.repeat(segments, rows.ravel()), special


def _checked(documents: np.ndarray, store: TokenStore) -> np.ndarray:
    documents = np.asarray(documents)
    if documents.ndim != 2 or documents.shape[1] != 2 or documents.dtype.kind not in "iu":
        raise ValueError(
            f"The documents are an array of shape {documents.shape} and type {documents.dtype}; "
            "expected (n_documents, 2), integers: the first sentence of each, and the end. Use "
            "store.documents, or what store.split returns."
        )
    if not len(documents):
        raise ValueError(
            f"There are no documents to read: the selection from {store.path} is empty. Hold out "
            "another share, or give more documents."
        )
    return documents.astype(np.int64, copy=False)


def _no_such(position: Position, found: str) -> ValueError:
    return ValueError(
        f"{position} is no place of this stream: {found}. Expected a position of a stream with the "
        "same store, documents and settings; start anew, or give it those."
    )


def _check_objective(objective: ObjectiveSettings) -> None:
    if objective.causal and objective.nsp:
        raise ValueError(
            "causal = true and nsp = true contradict each other under [objective]: a causal model "
            "reads one segment. Set nsp = false."
        )
    if objective.masking not in ("dynamic", "static"):
        raise ValueError(
            f'masking is {objective.masking!r} under [objective]; expected "dynamic" or "static".'
        )
    if objective.masking == "static":
        _check_least("duplicates", objective.duplicates, 1, "the masks that are used in turn")
    if not 0 <= objective.short_share <= 1:
        raise ValueError(
            f"short_share is {objective.short_share} under [objective]; expected 0 to 1."
        )


def _check_least(name: str, value: int, least: int, reason: str) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}: {reason}.")
