"""The blocks of an epoch: which documents they are of, and their instances.

    epoch      all documents, in a new order            | epoch 1 ...
    blocks     |  block 0   |  block 1   |  block 2  |    of so many pieces that memory stays flat
    instances  shuffled within their block

A block is a pure function of the store, the settings and its number. The next one is built by
another thread while the one before it is read.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Dict, List, Protocol, Tuple

import numpy as np

from .instances import Instances, Text, make_pairs, make_singles, stretches_of
from .masking import continuing_pieces
from .randomness import generator, stream_key, words
from .store import TokenStore

# Pieces of a block. A block of novels is some 45,000 instances, mixed well, and built in less than
# half a second; its instances take 2 MB.
BLOCK_PIECES = 4_000_000
# What random numbers are for: a part of their keys.
_DOCUMENT_ORDER, _INSTANCES, _INSTANCE_ORDER, _MASKS = range(4)
# Epoch, block, length of sequences.
Key = Tuple[int, int, int]


class ObjectiveSettings(Protocol):
    """What is learned: the attributes that are looked at."""

    @property
    def nsp(self) -> bool: ...
    @property
    def masking(self) -> str: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def whole_word(self) -> bool: ...
    @property
    def causal(self) -> bool: ...
    @property
    def mask_share(self) -> float: ...
    @property
    def mask_as_mask(self) -> float: ...
    @property
    def mask_as_random(self) -> float: ...
    @property
    def short_share(self) -> float: ...


@dataclass(frozen=True)
class Block:
    """Instances of some documents, in the order in which they are read.

    ends (np.ndarray): Pieces up to the end of each instance, shape (n,), int64.
    keys (np.ndarray): What the masks of each depend on, shape (n,), uint64.
    """

    instances: Instances
    ends: np.ndarray
    keys: np.ndarray


class Blocks:
    """Makes blocks. Static masking reads the instances and masks of the epoch `duplicates` epochs
    ago, in another order."""

    def __init__(
        self,
        store: TokenStore,
        documents: np.ndarray,
        *,
        objective: ObjectiveSettings,
        seed: int,
        block_pieces: int = BLOCK_PIECES,
    ) -> None:
        """store (TokenStore): The text.
        documents (np.ndarray): First sentence of each document, and the end, shape (n, 2).
        objective (ObjectiveSettings): What is learned.
        seed (int): Decides everything.
        block_pieces (int): Pieces of a block."""
        self.objective, self.seed, self.block_pieces = objective, seed, block_pieces
        self._text = Text(
            store.pieces, store.sentence_offsets, documents, continuing_pieces(store.tokenizer)
        )
        self._stretches, self._owners = stretches_of(
            store.sentence_offsets, documents, most=block_pieces
        )
        offsets = store.sentence_offsets[self._stretches]
        self._sizes = offsets[:, 1] - offsets[:, 0]
        self._plans: Dict[int, List[np.ndarray]] = {}
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pretraining-block")
        self._built: Dict[Key, Future[Block]] = {}

    @property
    def n_pieces(self) -> int:
        """RETURNS (int): Pieces of the documents, specials not counted."""
        return int(self._sizes.sum())

    def count(self, epoch: int) -> int:
        """epoch (int): Number of an epoch.
        RETURNS (int): How many blocks it has."""
        return len(self._plan(epoch))

    def get(self, key: Key, ahead: Key) -> Block:
        """A block, which in most cases is there already.

        key (Key): Its epoch, its number there, and the length of sequences.
        ahead (Key): The block that is wanted next.
        RETURNS (Block): The block.
        """
        for old in set(self._built) - {key, ahead}:
            del self._built[old]
        for wanted in (key, ahead):
            if wanted not in self._built:
                stretches = self._plan(wanted[0])[wanted[1]]
                self._built[wanted] = self._builder.submit(self._build, *wanted, stretches)
        return self._built[key].result()

    def _version(self, epoch: int) -> int:
        """Which of the versions of the instances and masks an epoch reads."""
        static = self.objective.masking == "static"
        return epoch % self.objective.duplicates if static else epoch

    def _plan(self, epoch: int) -> List[np.ndarray]:
        """The stretches of each block."""
        version = self._version(epoch)
        if version not in self._plans:
            order = generator(self.seed, _DOCUMENT_ORDER, version).permutation(len(self._stretches))
            sizes = self._sizes[order]
            number = (np.cumsum(sizes) - sizes) // self.block_pieces
            borders = np.flatnonzero(np.diff(number)) + 1
            while len(self._plans) > 1:  # this epoch's and the next one's
                self._plans.pop(next(iter(self._plans)))
            self._plans[version] = np.split(order, borders)
        return self._plans[version]

    def _build(self, epoch: int, block: int, max_length: int, stretches: np.ndarray) -> Block:
        key = (self._version(epoch), block, max_length)
        draws = generator(self.seed, _INSTANCES, *key)
        short = self.objective.short_share
        chosen = self._stretches[stretches]
        if self.objective.nsp:
            owners = self._owners[stretches]
            instances = make_pairs(
                self._text, chosen, owners, max_length=max_length, short_share=short, draws=draws
            )
        else:
            instances = make_singles(
                self._text, chosen, max_length=max_length, short_share=short, draws=draws
            )
        numbers = np.arange(len(instances), dtype=np.uint64)
        keys = words(stream_key(self.seed, _MASKS, *key), numbers)
        # Of static masks only the order is new in each epoch.
        order = generator(self.seed, _INSTANCE_ORDER, epoch, block, max_length).permutation(
            len(instances)
        )
        instances = instances[order]
        return Block(instances, np.cumsum(instances.lengths), keys[order])
