"""Windows -> rows, shortest window first, and rows -> micro-batches for the encoder. Pure arrays.

windows    [CLS] a b c [SEP]     [CLS] d [SEP]
rows       [CLS] d [SEP] [CLS] a b c [SEP]
"""

from typing import Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..encoder.packing import PackedPieces, pack_rows
from ..windows import Window
from ..wordpiece import WordPieceTokenizer


class Rows(NamedTuple):
    """Windows laid out in rows, shortest first.

    ids (np.ndarray): The piece of each row, [CLS] and [SEP] included, shape (n_rows,), int64.
    type_ids (np.ndarray): Its segment, shape (n_rows,), int64.
    is_read (np.ndarray): Whether its vector is read here, shape (n_rows,), bool.
    lengths (np.ndarray): Rows of each window, shape (n_windows,), int64.
    window_rows (np.ndarray): First row of each window, shape (n_windows,), int64.
    window_docs (np.ndarray): The Doc of each window, shape (n_windows,), int64.
    piece_rows (List[np.ndarray]): For each Doc the rows that its pieces are read from, shape
        (n_pieces,); 0 where no window reads a piece.
    places (np.ndarray): Where each row would stand if the windows stood in the order given, shape (n_rows,), int64.
    """

    ids: np.ndarray
    type_ids: np.ndarray
    is_read: np.ndarray
    lengths: np.ndarray
    window_rows: np.ndarray
    window_docs: np.ndarray
    piece_rows: List[np.ndarray]
    places: np.ndarray


def lay_out(
    doc_ids: Sequence[np.ndarray],
    windows: Sequence[Tuple[int, Window]],
    tokenizer: WordPieceTokenizer,
) -> Rows:
    """Lay windows out in rows, shortest first.

    doc_ids (Sequence[np.ndarray]): The piece ids of each Doc, shape (n_pieces,).
    windows (Sequence[Tuple[int, Window]]): Which windows: index of the Doc, and the window.
    tokenizer (WordPieceTokenizer): Knows [CLS] and [SEP].
    RETURNS (Rows): The rows.
    """
    lengths = np.array([window.length for _, window in windows], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    given_rows = (np.cumsum(lengths) - lengths)[order]
    lengths = lengths[order]
    window_rows = np.cumsum(lengths) - lengths
    window_docs = np.array([windows[i][0] for i in order], dtype=np.int64)
    n_rows = int(lengths.sum())

    ids = np.full(n_rows, tokenizer.sep_id, dtype=np.int64)
    ids[window_rows] = tokenizer.cls_id
    type_ids = np.zeros(n_rows, dtype=np.int64)
    is_read = np.ones(n_rows, dtype=bool)
    piece_rows = [np.zeros(len(pieces), dtype=np.int64) for pieces in doc_ids]
    for i, row in zip(order, window_rows.tolist()):
        index, window = windows[i]
        _fill(window, row, doc_ids[index], piece_rows[index], ids, type_ids, is_read)
    places = np.arange(n_rows) + np.repeat(given_rows - window_rows, lengths)
    return Rows(ids, type_ids, is_read, lengths, window_rows, window_docs, piece_rows, places)


def _fill(
    window: Window,
    row: int,
    doc_ids: np.ndarray,
    piece_rows: np.ndarray,
    ids: np.ndarray,
    type_ids: np.ndarray,
    is_read: np.ndarray,
) -> None:
    """Write one window into the rows from `row` on. [CLS] and [SEP] stand there already.

    single   [CLS] part [SEP]                    pair   [CLS] context [SEP] part [SEP]
    """
    part = row + 1
    if window.context_end is not None:
        part += window.context_end + 1
        ids[row + 1 : part - 1] = doc_ids[: window.context_end]
        type_ids[part : row + window.length] = 1
        if window.reads_context:
            piece_rows[: window.context_end] = np.arange(row + 1, part - 1)
        else:
            is_read[row + 1 : part - 1] = False
    ids[part : row + window.length - 1] = doc_ids[window.start : window.end]
    first, last = part + window.read_start - window.start, part + window.read_end - window.start
    piece_rows[window.read_start : window.read_end] = np.arange(first, last)
    is_read[part:first] = False
    is_read[last : row + window.length - 1] = False


def cut(rows: Rows, batch_pieces: int) -> Iterator[Tuple[int, int, int, int]]:
    """Cut rows into micro-batches of at most `batch_pieces` rows, or of a single window.

    rows (Rows): The rows.
    batch_pieces (int): Rows of a micro-batch.
    YIELDS (Tuple[int, int, int, int]): Its first window and the one after its last, its first row
        and the one after its last.
    """
    first, start, n_rows = 0, 0, 0
    for i, length in enumerate(rows.lengths.tolist()):
        if n_rows and n_rows + length > batch_pieces:
            yield first, i, start, start + n_rows
            first, start, n_rows = i, start + n_rows, 0
        n_rows += length
    if n_rows:
        yield first, len(rows.lengths), start, start + n_rows


def packed(rows: Rows, first: int, last: int, start: int, end: int) -> PackedPieces:
    """rows (Rows): The rows. first ... end: A micro-batch, as `cut` yields it.
    RETURNS (PackedPieces): Its windows, for the encoder."""
    lengths = rows.lengths[first:last].tolist()
    return pack_rows(rows.ids[start:end], rows.type_ids[start:end], lengths)
