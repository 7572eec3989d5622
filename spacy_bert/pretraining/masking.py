"""Which pieces are hidden, and behind what (Devlin et al. 2018, section 3.1, task 1, and A.1).

    row       0     1    2    3     4     5    6     7
    pieces  [CLS]  the  dog  ##s  [SEP]  ran  .   [SEP]
    words          0    1----1           2    3            (each piece a word, unless whole words)
    masks   max(1, round(0.15 * 8)) = 1 piece; never the specials

Everything is done for a whole batch at once; what is drawn for a sequence depends on its key only.
"""

from typing import NamedTuple, Tuple

import numpy as np

from ..wordpiece import WordPieceTokenizer
from .randomness import uniforms, words

# Where in the stream of a sequence its draws are; no sequence is longer than the gap.
_ORDER, _FATE, _PIECE = (np.uint64(purpose << 32) for purpose in range(3))
_40, _24 = np.uint64(40), np.uint64(24)


class Masked(NamedTuple):
    """Sequences with some pieces hidden.

    ids (np.ndarray): The pieces to read, shape (n_rows,), int64.
    rows (np.ndarray): The rows that were chosen, shape (n_masked,), int64, ascending.
    originals (np.ndarray): The pieces that were there, shape (n_masked,), int64.
    """

    ids: np.ndarray
    rows: np.ndarray
    originals: np.ndarray


class Masking:
    """Chooses pieces, and hides them."""

    def __init__(
        self,
        tokenizer: WordPieceTokenizer,
        *,
        share: float = 0.15,
        as_mask: float = 0.8,
        as_random: float = 0.1,
        whole_word: bool = False,
    ) -> None:
        """tokenizer (WordPieceTokenizer): The vocabulary.
        share (float): How much of a sequence is chosen, specials counted.
        as_mask (float): How much of the chosen is replaced with [MASK].
        as_random (float): How much of the chosen is replaced with a random piece; the rest stays.
        whole_word (bool): Whether the pieces of a word are chosen together.
        RAISES (ValueError): A share is out of range.
        """
        if not 0 < share <= 1:
            raise ValueError(
                f"mask_share is {share}; expected more than 0 and at most 1, such as 0.15: without "
                "masked pieces there is nothing to learn."
            )
        if as_mask < 0 or as_random < 0 or as_mask + as_random > 1:
            raise ValueError(
                f"mask_as_mask is {as_mask} and mask_as_random is {as_random}; expected shares "
                "that together are at most 1, such as 0.8 and 0.1."
            )
        self.share, self.as_mask, self.as_random = share, as_mask, as_random
        self.n_vocabulary, self.mask_id = len(tokenizer), tokenizer.mask_id
        # Piece -> whether it goes on with the word before it.
        self.continues = continuing_pieces(tokenizer) if whole_word else None

    def __call__(
        self, ids: np.ndarray, special: np.ndarray, lengths: np.ndarray, keys: np.ndarray
    ) -> Masked:
        """Hide pieces of a batch.

        ids (np.ndarray): The pieces of all sequences, shape (n_rows,), int64; not changed.
        special (np.ndarray): Where [CLS] and [SEP] are, shape (n_rows,), bool.
        lengths (np.ndarray): Of each sequence, shape (n_seqs,).
        keys (np.ndarray): What the draws for each sequence depend on, shape (n_seqs,), uint64.
        RETURNS (Masked): max(1, round(share * length)) pieces of each sequence are chosen; of whole
            words, as many as there is room for, and at least one word. A sequence of specials alone
            has none.
        """
        rows = np.flatnonzero(~special)
        sequence = np.repeat(np.arange(len(lengths)), lengths)[rows]
        place = (rows - (np.cumsum(lengths) - lengths)[sequence]).astype(np.uint64)
        # rint rounds halves to even, as Python's round in the original does.
        wanted = np.maximum(1, np.rint(lengths * self.share).astype(np.int64))
        # Sorts by sequence, and within a sequence at random.
        order = sequence.astype(np.uint64) << _40 | words(keys[sequence], _ORDER + place) >> _24
        if self.continues is None:
            chosen = _first_of_each(sequence, order, wanted)
        else:
            inside = self.continues[ids[rows]]
            # After a special piece a word begins, whatever the piece.
            inside[1:] &= rows[1:] == rows[:-1] + 1
            inside[:1] = False
            word = np.cumsum(~inside) - 1
            heads = np.flatnonzero(~inside)
            sizes = np.diff(heads, append=len(rows))
            taken = _words_that_fit(sequence[heads], order[heads], sizes, wanted)
            chosen = np.flatnonzero(taken[word])
        return self._hide(ids, rows[chosen], keys[sequence[chosen]], place[chosen])

    def _hide(
        self, ids: np.ndarray, rows: np.ndarray, keys: np.ndarray, place: np.ndarray
    ) -> Masked:
        fate = uniforms(keys, _FATE + place)
        anything = (uniforms(keys, _PIECE + place) * self.n_vocabulary).astype(np.int64)
        originals = ids[rows]
        shown = np.where(fate < self.as_mask + self.as_random, anything, originals)
        hidden = ids.copy()
        hidden[rows] = np.where(fate < self.as_mask, self.mask_id, shown)
        return Masked(hidden, rows, originals)


def continuing_pieces(tokenizer: WordPieceTokenizer) -> np.ndarray:
    """tokenizer (WordPieceTokenizer): A vocabulary.
    RETURNS (np.ndarray): Piece -> whether it goes on with the word before it, bool."""
    return np.array([piece.startswith("##") for piece in tokenizer.pieces])


def next_pieces(ids: np.ndarray, lengths: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The causal objective: every row but a sequence's last tells the piece after it.

    ids (np.ndarray): The pieces of all sequences, shape (n_rows,).
    lengths (np.ndarray): Of each sequence, shape (n_seqs,).
    RETURNS (Tuple[np.ndarray, np.ndarray]): The rows, and the piece after each, int64.
    """
    last = np.zeros(len(ids), dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    rows = np.flatnonzero(~last)
    return rows, ids[rows + 1]


def _first_of_each(sequence: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """RETURNS (np.ndarray): Of each sequence the elements with the smallest `order`, ascending."""
    by_order = np.argsort(order)
    rank = _places(sequence)  # sorting leaves every sequence where it was
    return np.sort(by_order[rank < wanted[sequence]])


def _words_that_fit(
    sequence: np.ndarray, order: np.ndarray, sizes: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """As the original's whole-word masking does: words in random order, each that still fits.

    RETURNS (np.ndarray): Which words are chosen, bool. Where none fits, the first is: the original
        masks nothing then, and the sequence is read in vain.
    """
    by_order = np.argsort(order)
    rank = _places(sequence)
    taken = np.zeros(len(sequence), dtype=bool)
    if not len(sequence):
        return taken
    n_words = np.bincount(sequence, minlength=len(wanted))
    table = np.full((int(rank.max()) + 1, len(wanted)), -1)  # (rank, sequence) -> word
    table[rank, sequence] = by_order
    room = wanted.copy()
    # All sequences step from word to word together; most are full after a fifth of the words.
    for rank_words in table:
        if not room.any():
            break
        there = np.flatnonzero((rank_words >= 0) & (room > 0))
        word = rank_words[there]
        fits = sizes[word] <= room[there]
        taken[word[fits]] = True
        room[there[fits]] -= sizes[word[fits]]
    none = np.flatnonzero((room == wanted) & (n_words > 0))
    taken[table[0, none]] = True
    return taken


def _places(sequence: np.ndarray) -> np.ndarray:
    """sequence (np.ndarray): Number of each element's sequence, ascending.
    RETURNS (np.ndarray): How many elements of its sequence are before each."""
    counts = np.bincount(sequence)
    return np.arange(len(sequence)) - (np.cumsum(counts) - counts)[sequence]
