"""Which pieces make which token: piece offsets x token offsets. Pure arrays.

    text     The  unwanted   café
    tokens   [0]  [--1---]   [2-]
    pieces   [0]  [1][2][3]  [4-]        starts (0, 1, 4), counts (1, 3, 1)

A piece counts for every token that it overlaps, so where a tokenizer splits finer than the
vocabulary ("don't" -> "do" "n't", but `don ' t`) a piece may serve two tokens.
"""

from typing import NamedTuple, Tuple

import numpy as np


class Alignment(NamedTuple):
    """For every token the run of pieces from the first that overlaps it to the last. (A piece inside
    its left neighbour could be in a run without overlapping; no tokenizer of ours makes such.)

    starts (np.ndarray): First piece of each token, shape (n_tokens,), int64.
    counts (np.ndarray): Number of its pieces, shape (n_tokens,), int64; 0 where no piece overlaps.
    """

    starts: np.ndarray
    counts: np.ndarray

    def pairs(self) -> Tuple[np.ndarray, np.ndarray]:
        """All overlaps, sorted by token and piece.

        RETURNS (Tuple[np.ndarray, np.ndarray]): Token index and piece index of each, shape (n_pairs,).
        """
        tokens = np.repeat(np.arange(len(self.counts)), self.counts)
        before = np.cumsum(self.counts) - self.counts
        within = np.arange(len(tokens)) - np.repeat(before, self.counts)
        return tokens, np.repeat(self.starts, self.counts) + within


def align(piece_offsets: np.ndarray, token_starts: np.ndarray, token_ends: np.ndarray) -> Alignment:
    """Find the pieces of every token by their places in the text.

    piece_offsets (np.ndarray): Start and end character of each piece, shape (n_pieces, 2), in order of the text.
    token_starts (np.ndarray): First character of each token, shape (n_tokens,), in order.
    token_ends (np.ndarray): The character after each token, shape (n_tokens,).
    RETURNS (Alignment): The pieces of each token.
    """
    # Running maximum / minimum: a piece never starts before its neighbour to the left, but a
    # normaliser that reorders combining marks may let one end before it.
    piece_starts = np.minimum.accumulate(piece_offsets[::-1, 0])[::-1]
    piece_ends = np.maximum.accumulate(piece_offsets[:, 1])
    first = np.searchsorted(piece_ends, token_starts, side="right")
    last = np.searchsorted(piece_starts, token_ends, side="left")
    # A token without characters overlaps nothing.
    counts = np.where(token_ends > token_starts, np.maximum(last - first, 0), 0)
    return Alignment(first.astype(np.int64), counts.astype(np.int64))
