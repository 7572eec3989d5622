"""Docs -> the windows in which their masks are read, in micro-batches.

Windows are cut as for the shared encoder, so that each mask is read where its context is widest.
A window without a mask to read is not computed: text without masks costs nothing.

    pieces     0 1 2 M 4 5 6 7 8 9 M        capacity 6, stride 3, a mask at 3 and one at 10
    window 0   0 1 2 M 4 5                  reads the first
    window 1         M 4 5 6 7 8            left out
    window 2               6 7 8 9 M        reads the second
"""

from typing import Callable, List, NamedTuple, Tuple

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model

from ..encoder.packing import PackedPieces
from ..windows import Window, check_window
from ..wordpiece import WordPieceTokenizer
from .config_attr import ConfigInt
from .doc_windows import DocPieces, doc_pieces
from .tokenizer_attr import TokenizerSlot
from .window_rows import cut, lay_out, packed


class MaskRows(NamedTuple):
    """Windows that are computed together, and the masks that are read in them.

    pieces (PackedPieces): The windows.
    rows (np.ndarray): Rows that are masks, from the micro-batch's first, shape (n_read,), int64.
    masks (np.ndarray): Which masks they are, counted over the batch, shape (n_read,), int64.
    """

    pieces: PackedPieces
    rows: np.ndarray
    masks: np.ndarray


class MaskBatch(NamedTuple):
    """All masks of a batch of Docs.

    offsets (List[np.ndarray]): Where the masks of each Doc are in its text, shape (n_masks, 2), int32.
    n_pieces (int): Size of the vocabulary.
    micro_batches (List[MaskRows]): The work, by length.
    """

    offsets: List[np.ndarray]
    n_pieces: int
    micro_batches: List[MaskRows]


def mask_windows(*, window: int, stride: int, batch_pieces: int) -> Model[List[Doc], MaskBatch]:
    """A layer that finds the masks of Docs, and the windows to read them in.

    window (int): Longest window in pieces, [CLS] and [SEP] included.
    stride (int): Pieces from the start of one window to the start of the next.
    batch_pieces (int): Pieces of a micro-batch, about.
    RETURNS (Model[List[Doc], MaskBatch]): The layer; its "tokenizer" attribute is empty until a
        checkpoint is loaded. It has the name and attributes of the shared encoder's layer, as what
        loads, saves and describes encoders looks for these.
    """
    check_window(window, stride)
    if batch_pieces < 1:
        raise ValueError(f"batch_pieces is {batch_pieces}, but it must be a positive number.")
    attrs = {
        "tokenizer": TokenizerSlot(),
        "window": ConfigInt(window),
        "stride": ConfigInt(stride),
        "batch_pieces": ConfigInt(batch_pieces),
        "masked": True,
    }
    return Model("doc-windows", forward, attrs=attrs)


def forward(
    model: Model[List[Doc], MaskBatch], docs: List[Doc], is_train: bool
) -> Tuple[MaskBatch, Callable]:
    """docs (List[Doc]): The Docs.
    RETURNS (Tuple[MaskBatch, Callable]): Their masks; nothing flows back to a Doc."""
    tokenizer = model.attrs["tokenizer"].get()
    pieces = doc_pieces(
        docs,
        tokenizer,
        window=model.attrs["window"],
        stride=model.attrs["stride"],
        masked=True,
    )
    return plan_masks(pieces, tokenizer, batch_pieces=model.attrs["batch_pieces"]), _no_gradient


def _no_gradient(d_batch: object) -> list:
    return []


def plan_masks(
    docs: List[DocPieces], tokenizer: WordPieceTokenizer, *, batch_pieces: int
) -> MaskBatch:
    """Lay out the windows that read a mask, and say which rows are masks.

    docs (List[DocPieces]): The pieces of the Docs.
    tokenizer (WordPieceTokenizer): Knows the mask piece.
    batch_pieces (int): Rows of a micro-batch; a longer window is one of its own.
    RETURNS (MaskBatch): The plan.
    """
    places = [np.flatnonzero(doc.ids == tokenizer.mask_id) for doc in docs]
    windows = [
        (i, window)
        for i, (doc, masks) in enumerate(zip(docs, places))
        if len(masks)
        for window in doc.windows
        if _reads(window, masks)
    ]
    rows = lay_out([doc.ids for doc in docs], windows, tokenizer)
    empty = np.zeros(0, dtype=np.int64)
    mask_rows = np.concatenate(
        [empty, *(doc_rows[masks] for doc_rows, masks in zip(rows.piece_rows, places))]
    )
    order = np.argsort(mask_rows, kind="stable")  # the mask of each row, in the order of the rows
    mask_rows = mask_rows[order]
    micro_batches = []
    for first, last, start, end in cut(rows, batch_pieces):
        here = slice(*np.searchsorted(mask_rows, [start, end]))
        pieces = packed(rows, first, last, start, end)
        micro_batches.append(MaskRows(pieces, mask_rows[here] - start, order[here]))
    offsets = [doc.offsets[masks] for doc, masks in zip(docs, places)]
    return MaskBatch(offsets, len(tokenizer), micro_batches)


def _reads(window: Window, masks: np.ndarray) -> bool:
    """Whether any of the pieces `masks` is read in this window."""
    here = (masks >= window.read_start) & (masks < window.read_end)
    if window.reads_context:
        assert window.context_end is not None
        here |= masks < window.context_end
    return bool(here.any())
