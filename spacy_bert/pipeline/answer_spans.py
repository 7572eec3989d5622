"""Logits of windows -> the best answers, and answers -> what windows should say. Pure arrays.

Only windows that show a part of the context count: those that read a long question by itself do
not. In each, [CLS] stands for "no answer in here" (paper, section 4.3).

Legend: R rows of a Doc.
"""

import unicodedata
from typing import Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from ..alignment import align
from ..layers.doc_windows import DocPieces
from ..windows import Window


class Candidates(NamedTuple):
    """The best answers to one question.

    characters (np.ndarray): First character of each in the text, and the one after it, shape (n, 2).
    scores (np.ndarray): Start logit + end logit of each, best first, shape (n,).
    null_score (Optional[float]): The same of [CLS], from the window that is least sure that there is
        no answer; None without any context.
    """

    characters: np.ndarray
    scores: np.ndarray
    null_score: Optional[float]


def context_windows(pieces: DocPieces) -> Iterator[Tuple[int, Window]]:
    """pieces (DocPieces): The pieces of a pair.
    YIELDS (Tuple[int, Window]): Each window that shows a part of the context, and its first row."""
    first = 0
    for window in pieces.windows:
        if window.context_end is not None:
            yield first, window
        first += window.length


def best_answers(
    logits: np.ndarray, pieces: DocPieces, text: str, *, n_best: int, max_pieces: int
) -> Candidates:
    """Find the best spans of pieces. An answer counts in the window in which its first piece has
    the widest context, and has to end in the same window. Of equal words only the best place counts. (All
    as in the paper's code.)

    logits (np.ndarray): Start and end of each row, shape (R, 2).
    pieces (DocPieces): The pieces of the Doc.
    text (str): The text of the Doc.
    n_best (int): How many to find.
    max_pieces (int): Pieces of the longest answer.
    RETURNS (Candidates): The answers; none without any context.
    """
    spans: List[np.ndarray] = []
    null_scores: List[float] = []
    for row, window in context_windows(pieces):
        null_scores.append(float(logits[row].sum()))
        part = logits[row + window.part_row :][: window.end - window.start]
        spans.append(_best_of_window(part, window, n_best, max_pieces))
    if not spans:
        return Candidates(np.zeros((0, 2), dtype=np.int64), np.zeros(0), None)
    # Of equal ones the first in the text, whatever the windows.
    found = sorted(np.concatenate(spans).tolist(), key=lambda span: (-span[0], span[1], span[2]))
    places, scores, said = [], [], set()
    for score, start, end in found:
        place = _whole_characters(text, pieces.offsets[int(start), 0], pieces.offsets[int(end), 1])
        words = text[place[0] : place[1]]
        # A character may be several pieces, and words may be said twice.
        if words and words not in said:
            said.add(words)
            places.append(place)
            scores.append(score)
        if len(places) == n_best:
            break
    characters = np.array(places, dtype=np.int64).reshape(-1, 2)
    return Candidates(characters, np.array(scores), min(null_scores))


def _best_of_window(logits: np.ndarray, window: Window, n_best: int, max_pieces: int) -> np.ndarray:
    """Score, first and last piece of the best spans that start where they are read, shape (n, 3)."""
    starts = np.arange(window.read_start, window.read_end)
    if not len(starts):
        return np.zeros((0, 3))
    ends = np.concatenate([logits[:, 1], np.full(max_pieces - 1, -np.inf, dtype=logits.dtype)])
    ends_from = np.lib.stride_tricks.sliding_window_view(ends, max_pieces)
    read = starts - window.start
    scores = logits[read, :1].astype("f8") + ends_from[read]  # (start, length - 1)
    # Many times as many, as most may turn out to be the same words.
    best = np.argsort(-scores, axis=None, kind="stable")[: 20 * n_best]
    best = best[np.isfinite(scores.flat[best])]
    rows, lengths = np.divmod(best, max_pieces)
    return np.stack([scores.flat[best], starts[rows], starts[rows] + lengths], axis=1)


def _whole_characters(text: str, start: int, end: int) -> Tuple[int, int]:
    """Marks belong to the letter that they stand behind, though an uncased BERT reads no accents, and to
    a cased one each may be a piece."""
    start, end = int(start), int(end)
    while start and _is_mark(text[start]) and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and _is_mark(text[end]):
        end += 1
    return start, end


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


class Targets(NamedTuple):
    """What the windows of a Doc should say.

    rows (np.ndarray): First row of each window that shows a part of the context, shape (n_windows,).
    lengths (np.ndarray): Its number of rows, shape (n_windows,).
    places (np.ndarray): The rows, counted in the window, where the answer starts and ends; 0, which
        is [CLS], in windows that do not hold it, shape (n_windows, 2).
    """

    rows: np.ndarray
    lengths: np.ndarray
    places: np.ndarray


def answer_targets(pieces: DocPieces, answer: Optional[Tuple[int, int]]) -> Targets:
    """pieces (DocPieces): The pieces of a pair.
    answer (Optional[Tuple[int, int]]): First character of the answer in the text, and the one after
        it; None if there is no answer. Pieces that it cuts through belong to it.
    RETURNS (Targets): What its windows should say."""
    first, last = -1, -1
    if answer is not None:
        start, count = (int(a[0]) for a in align(pieces.offsets, *np.array(answer)[:, None]))
        if count:
            first, last = start, start + count - 1
    windows = list(context_windows(pieces))
    places = [
        (w.part_row + first - w.start, w.part_row + last - w.start)
        if w.start <= first and last < w.end
        else (0, 0)
        for _, w in windows
    ]
    return Targets(
        np.array([row for row, _ in windows], dtype=np.int64),
        np.array([window.length for _, window in windows], dtype=np.int64),
        np.array(places, dtype=np.int64).reshape(-1, 2),
    )


def window_loss(logits: np.ndarray, targets: Targets) -> Tuple[float, np.ndarray]:
    """Cross entropy of start and end, each with a softmax over all rows of a window.

    logits (np.ndarray): Start and end of each row of a Doc, shape (R, 2).
    targets (Targets): What its windows should say.
    RETURNS (Tuple[float, np.ndarray]): The sum over windows of the mean of the two, and its gradient,
        shape (R, 2).
    """
    loss, gradient = 0.0, np.zeros(logits.shape, dtype="f8")
    for row, length, place in zip(*targets):
        part = logits[row : row + length].astype("f8")  # (length, 2)
        part = part - part.max(axis=0)
        log_probs = part - np.log(np.exp(part).sum(axis=0))
        loss -= float(log_probs[place, [0, 1]].mean())
        d_part = np.exp(log_probs)
        d_part[place, [0, 1]] -= 1.0
        gradient[row : row + length] = d_part / 2
    return loss, gradient
