"""Docs -> windows of pieces, sorted by length and cut into micro-batches: what the encoder reads.

Pieces come from the raw text of each Doc, as in BERT's pretraining; where each vector goes back to
is worked out here, in numpy, so that the torch module only gathers and scatters.

Legend: a "row" is one position of one window. Rows are numbered over the whole batch, in the order
in which windows are computed: shortest window first.
"""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from thinc.api import Model
from thinc.util import get_torch_default_device

from ..alignment import Alignment, align
from ..encoder.packing import PackedPieces
from ..encoder.side_by_side import rows_of_batches
from ..segments import split_character
from ..windows import Window, check_window, split_windows
from ..wordpiece import WordPieceTokenizer, encode_masked
from .config_attr import ConfigInt
from .tokenizer_attr import TokenizerSlot
from .window_rows import cut, lay_out, packed


class DocPieces(NamedTuple):
    """The pieces of one Doc.

    ids (np.ndarray): Piece ids, shape (n_pieces,), int32.
    offsets (np.ndarray): Their characters in the text, shape (n_pieces, 2), int32.
    alignment (Alignment): Which pieces make which token.
    windows (List[Window]): The windows they are read from.
    text (str): How its text begins, for messages.
    """

    ids: np.ndarray
    offsets: np.ndarray
    alignment: Alignment
    windows: List[Window]
    text: str


class MicroBatch(NamedTuple):
    """Windows that are computed together, and where their rows go. Rows count from the micro-batch's first.

    pieces (PackedPieces): The windows.
    token_rows (np.ndarray): A row that is part of a token, shape (n_pairs,).
    token_ids (np.ndarray): The token it is part of, counted over the batch, shape (n_pairs,).
    token_weights (np.ndarray): One over the number of the token's pieces, shape (n_pairs,), float32.
    pool_rows (np.ndarray): The rows that are read: each piece once, and all [CLS] and [SEP], shape (n_read,).
    pool_docs (np.ndarray): The Doc of each of those, shape (n_read,).
    pool_weights (np.ndarray): One over the number of rows read for that Doc, shape (n_read,), float32.
    cls_rows (np.ndarray): The [CLS] row of each window, shape (n_windows,).
    cls_docs (np.ndarray): The Doc of each window, shape (n_windows,).
    cls_weights (np.ndarray): One over the number of that Doc's windows, shape (n_windows,), float32.
    places (np.ndarray): Where each row stands once the windows are back in the order of the Docs, shape (n_rows,).
    """

    pieces: PackedPieces
    token_rows: np.ndarray
    token_ids: np.ndarray
    token_weights: np.ndarray
    pool_rows: np.ndarray
    pool_docs: np.ndarray
    pool_weights: np.ndarray
    cls_rows: np.ndarray
    cls_docs: np.ndarray
    cls_weights: np.ndarray
    places: np.ndarray


class WindowBatch(NamedTuple):
    """All windows of a batch of Docs.

    docs (List[DocPieces]): The pieces of each Doc.
    token_lengths (List[int]): Number of tokens of each Doc.
    micro_batches (List[MicroBatch]): The work, by length.
    """

    docs: List[DocPieces]
    token_lengths: List[int]
    micro_batches: List[MicroBatch]


def doc_windows(*, window: int, stride: int, batch_pieces: int) -> Model[List[Doc], WindowBatch]:
    """A layer that cuts Docs into windows of pieces.

    window (int): Longest window in pieces, [CLS] and [SEP] included.
    stride (int): Pieces from the start of one window to the start of the next.
    batch_pieces (int): Pieces of a micro-batch, about.
    RETURNS (Model[List[Doc], WindowBatch]): The layer; its "tokenizer" attribute is empty until
        a checkpoint is loaded.
    """
    check_window(window, stride)
    if batch_pieces < 1:
        raise ValueError(f"batch_pieces is {batch_pieces}, but it must be a positive number.")
    attrs = {
        "tokenizer": TokenizerSlot(),
        "window": ConfigInt(window),
        "stride": ConfigInt(stride),
        "batch_pieces": ConfigInt(batch_pieces),
    }
    return Model("doc-windows", forward, attrs=attrs)


def forward(
    model: Model[List[Doc], WindowBatch], docs: List[Doc], is_train: bool
) -> Tuple[WindowBatch, Callable]:
    """docs (List[Doc]): The Docs.
    RETURNS (Tuple[WindowBatch, Callable]): Their windows; nothing flows back to a Doc."""
    pieces = doc_pieces(
        docs,
        model.attrs["tokenizer"].get(),
        window=model.attrs["window"],
        stride=model.attrs["stride"],
    )
    batch_pieces = model.attrs["batch_pieces"]
    # Thinc's ops for Apple's GPUs say "cpu", too.
    on_cpu = model.ops.device_type == "cpu" and get_torch_default_device().type != "mps"
    if not is_train and on_cpu:
        n_rows = sum(window.length for doc in pieces for window in doc.windows)
        batch_pieces = min(batch_pieces, rows_of_batches(n_rows))
    batch = plan_batch(
        pieces,
        [len(doc) for doc in docs],
        model.attrs["tokenizer"].get(),
        batch_pieces=batch_pieces,
    )
    return batch, _no_gradient


def _no_gradient(d_batch: object) -> list:
    return []


def doc_pieces(
    docs: Sequence[Doc],
    tokenizer: WordPieceTokenizer,
    *,
    window: int,
    stride: int,
    masked: bool = False,
) -> List[DocPieces]:
    """Tokenise, align and window some Docs.

    docs (Sequence[Doc]): The Docs.
    tokenizer (WordPieceTokenizer): Text -> pieces.
    window (int): Longest window in pieces, [CLS] and [SEP] included.
    stride (int): Pieces from one window's start to the next's.
    masked (bool): Whether "[MASK]" in a text is the mask piece; else it is plain text.
    RETURNS (List[DocPieces]): One entry a Doc.
    """
    texts = [doc.text for doc in docs]
    encoded_texts = encode_masked(tokenizer, texts) if masked else tokenizer.encode_batch(texts)
    result = []
    for doc, text, encoded in zip(docs, texts, encoded_texts):
        alignment = align_doc(doc, encoded.offsets)
        split = split_piece(doc, encoded.offsets)
        windows = split_windows(len(encoded.ids), max_length=window, stride=stride, split=split)
        result.append(DocPieces(encoded.ids, encoded.offsets, alignment, windows, text[:60]))
    return result


def align_doc(doc: Doc, offsets: np.ndarray) -> Alignment:
    """doc (Doc): A Doc.
    offsets (np.ndarray): Characters of the pieces of its text, shape (n_pieces, 2).
    RETURNS (Alignment): Which of them make which of its tokens."""
    places = doc.to_array([IDX, LENGTH]).astype(np.int64).reshape(-1, 2)
    return align(offsets, places[:, 0], places[:, 0] + places[:, 1])


def split_piece(doc: Doc, offsets: np.ndarray) -> Optional[int]:
    """doc (Doc): A Doc.
    offsets (np.ndarray): Its pieces' characters, shape (n_pieces, 2).
    RETURNS (Optional[int]): The first piece of segment B, or None if the Doc is no pair."""
    character = split_character(doc)
    if character is None:
        return None
    return int(np.searchsorted(offsets[:, 0], character, side="left"))


def plan_batch(
    docs: List[DocPieces],
    token_lengths: List[int],
    tokenizer: WordPieceTokenizer,
    *,
    batch_pieces: int,
) -> WindowBatch:
    """Lay the windows of some Docs out in rows, shortest first, and cut them into micro-batches.

    docs (List[DocPieces]): Their pieces.
    token_lengths (List[int]): Number of tokens of each.
    tokenizer (WordPieceTokenizer): Knows [CLS] and [SEP].
    batch_pieces (int): Rows of a micro-batch; a longer window is one of its own.
    RETURNS (WindowBatch): The plan.
    """
    windows = [(i, window) for i, doc in enumerate(docs) for window in doc.windows]
    rows = lay_out([doc.ids for doc in docs], windows, tokenizer)
    # Pairs of token and row, in the order of the rows.
    token_ids, token_rows, token_weights = _token_rows(docs, token_lengths, rows.piece_rows)
    read_rows = np.flatnonzero(rows.is_read)
    read_docs = np.repeat(rows.window_docs, rows.lengths)[read_rows]
    read_weights = _one_over_count(read_docs, len(docs))
    cls_weights = _one_over_count(rows.window_docs, len(docs))

    micro_batches = []
    for first, last, start, end in cut(rows, batch_pieces):
        tokens = slice(*np.searchsorted(token_rows, [start, end]))
        reads = slice(*np.searchsorted(read_rows, [start, end]))
        micro_batches.append(
            MicroBatch(
                pieces=packed(rows, first, last, start, end),
                token_rows=token_rows[tokens] - start,
                token_ids=token_ids[tokens],
                token_weights=token_weights[tokens],
                pool_rows=read_rows[reads] - start,
                pool_docs=read_docs[reads],
                pool_weights=read_weights[reads],
                cls_rows=rows.window_rows[first:last] - start,
                cls_docs=rows.window_docs[first:last],
                cls_weights=cls_weights[first:last],
                places=rows.places[start:end],
            )
        )
    return WindowBatch(docs, token_lengths, micro_batches)


def _token_rows(
    docs: Sequence[DocPieces], token_lengths: Sequence[int], piece_rows: Sequence[np.ndarray]
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token, row and weight of every overlap of a token with a piece, sorted by row."""
    if not docs:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty.astype(np.float32)
    ids, rows, weights = [], [], []
    first_token = 0
    for doc, n_tokens, doc_rows in zip(docs, token_lengths, piece_rows):
        tokens, pieces = doc.alignment.pairs()
        ids.append(tokens + first_token)
        rows.append(doc_rows[pieces])
        weights.append((1.0 / doc.alignment.counts[tokens]).astype(np.float32))
        first_token += n_tokens
    all_rows = np.concatenate(rows)
    order = np.argsort(all_rows, kind="stable")
    return np.concatenate(ids)[order], all_rows[order], np.concatenate(weights)[order]


def _one_over_count(groups: np.ndarray, n_groups: int) -> np.ndarray:
    """groups (np.ndarray): The group of each item.
    RETURNS (np.ndarray): One over the size of each item's group, float32."""
    counts = np.bincount(groups, minlength=n_groups)
    return (1.0 / np.maximum(counts, 1)).astype(np.float32)[groups]
