"""Rows of a Doc's windows, and what each row is: what heads that read pieces work on.

    Doc        question: a b    context: c d e f
    windows    [CLS] a b [SEP] c d e [SEP]    [CLS] a b [SEP] e f [SEP]
    rows         0   1 2   3   4 5 6   7        8   9 . .  11 12 . .
    lengths                  8                           7

Legend: R rows of a Doc, W width of a row.
"""

from typing import Any, Callable, List, Optional, Sequence, Tuple, cast

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d, Ints1d, Ragged

from ..windows import Window
from .annotations import values_of
from .doc_encoder import ROWS
from .doc_windows import DocPieces, align_doc


class PieceRows(Ragged):
    """The rows of one Doc, one sequence a window, in the order of the text. There is always one window.

    data (Floats2d): The rows, [CLS] and [SEP] included, shape (R, W).
    pieces (DocPieces): The Doc's pieces, and the windows that they stand in.
    """

    data: Floats2d  # type: ignore[assignment]

    def __init__(self, data: Floats2d, pieces: DocPieces) -> None:
        lengths = np.array([window.length for window in pieces.windows], dtype=np.int32)
        super().__init__(cast(Any, data), cast(Ints1d, lengths))
        self.pieces = pieces

    def with_data(self, data: Floats2d) -> "PieceRows":
        """data (Floats2d): Something else for each row, shape (R, anything).
        RETURNS (PieceRows): The same windows with it."""
        return PieceRows(data, self.pieces)


def read_rows(pieces: DocPieces) -> np.ndarray:
    """Where each piece is read: in the window in which its context is widest.

    pieces (DocPieces): The pieces of a Doc.
    RETURNS (np.ndarray): The row of each, counted over the windows of the Doc, shape (n_pieces,), int64.
    """
    rows = np.zeros(len(pieces.ids), dtype=np.int64)
    first = 0
    for window in pieces.windows:
        if window.context_end is not None and window.reads_context:
            rows[: window.context_end] = np.arange(first + 1, first + 1 + window.context_end)
        part = first + window.part_row - window.start
        rows[window.read_start : window.read_end] = np.arange(
            part + window.read_start, part + window.read_end
        )
        first += window.length
    return rows


def first_piece_rows(pieces: DocPieces) -> np.ndarray:
    """Where the first piece of each token is read.

    pieces (DocPieces): The pieces of a Doc.
    RETURNS (np.ndarray): The row of each token, -1 for one without pieces (as whitespace is),
        shape (n_tokens,), int64.
    """
    starts, counts = pieces.alignment
    rows = np.full(len(counts), -1, dtype=np.int64)
    has_pieces = counts > 0
    rows[has_pieces] = read_rows(pieces)[starts[has_pieces]]
    return rows


def last_layer(model: Model) -> Model:
    """model (Model): A model, perhaps of layers in a chain.
    RETURNS (Model): The layer whose output is its output."""
    while model.layers:
        model = model.layers[-1]
    return model


# Layers that give a vector a token, or a piece.
TOKEN_LAYERS = (
    "bert-listener",
    "bert-piece-listener",
    "take-first-pieces",
    "take-pieces",
    "take-tokens",
    "tok2vec-listener",
)


def gives_tokens(model: Model) -> bool:
    """model (Model): A tok2vec, perhaps with layers mixed into one (BertLayerMix).
    RETURNS (bool): Whether it gives vectors of tokens or pieces, as far as the layer is known."""
    while model.layers:
        *before, last = model.layers
        model = before[-1] if before and last_layer(last).name == "layer-mix" else last
    return model.name in TOKEN_LAYERS


def gives_rows(model: Model) -> bool:
    """model (Model): A tok2vec.
    RETURNS (bool): Whether it gives the rows of windows, and not vectors of tokens or Docs."""
    return last_layer(model).name in ("bert-piece-listener", "take-pieces")


def take_first_pieces(width: int) -> Model[List[PieceRows], List[Floats2d]]:
    """A layer: piece rows -> the vector of each token's first piece (paper, section 5.3).

    width (int): Width of the rows.
    RETURNS (Model[List[PieceRows], List[Floats2d]]): Token vectors, shape (n_tokens, width) for each
        Doc; zeros for tokens without pieces, as whitespace is.
    """
    return Model("take-first-pieces", _forward_first, dims={"nI": width, "nO": width})


def _forward_first(
    model: Model[List[PieceRows], List[Floats2d]], docs: List[PieceRows], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    places = [first_piece_rows(rows.pieces) for rows in docs]
    outputs = []
    for rows, place in zip(docs, places):
        tokens = rows.data[cast(Any, place)]
        tokens[cast(Any, place < 0)] = 0.0
        outputs.append(tokens)

    def backprop(gradients: List[Floats2d]) -> List[PieceRows]:
        results = []
        for rows, place, gradient in zip(docs, places, gradients):
            d_rows = model.ops.xp.zeros_like(rows.data)
            has_pieces: Any = place >= 0
            # Added, as a piece may be the first of two tokens.
            model.ops.scatter_add(
                d_rows, model.ops.asarray1i(place[has_pieces].tolist()), gradient[has_pieces]
            )
            results.append(rows.with_data(d_rows))
        return results

    return outputs, backprop


def with_rows(layer: Model[Floats2d, Floats2d]) -> Model[List[PieceRows], List[PieceRows]]:
    """layer (Model[Floats2d, Floats2d]): Something that is done with each row.
    RETURNS (Model[List[PieceRows], List[PieceRows]]): The same with the rows of all Docs."""
    return Model("with-rows", _forward_rows, init=_init_rows, layers=[layer])


def _init_rows(model: Model, X: Optional[List[PieceRows]] = None, Y: Any = None) -> None:
    model.layers[0].initialize(X=None if not X else _joined(model, X))


def _forward_rows(
    model: Model[List[PieceRows], List[PieceRows]], docs: List[PieceRows], is_train: bool
) -> Tuple[List[PieceRows], Callable]:
    if not docs:
        return [], lambda gradients: []
    outputs, backprop_layer = model.layers[0](_joined(model, docs), is_train)

    def backprop(gradients: List[PieceRows]) -> List[PieceRows]:
        return _apart(docs, backprop_layer(_joined(model, gradients)))

    return _apart(docs, outputs), backprop


def _joined(model: Model, docs: Sequence[PieceRows]) -> Floats2d:
    return model.ops.xp.concatenate([rows.data for rows in docs])


def _apart(docs: Sequence[PieceRows], data: Floats2d) -> List[PieceRows]:
    ends = np.cumsum([len(rows.data) for rows in docs]).tolist()
    return [rows.with_data(data[a:b]) for rows, a, b in zip(docs, [0, *ends], ends)]


# On a Doc, between an encoder and the heads that read its rows


def row_values(rows: Floats2d, windows: Sequence[Window]) -> dict:
    """rows (Floats2d): The rows of a Doc, shape (R, W).
    windows (Sequence[Window]): Its windows.
    RETURNS (dict): What to leave on the Doc for `rows_of`: arrays only."""
    plain = [[-1 if w.context_end is None else w.context_end, *w[1:]] for w in windows]
    return {ROWS: rows, "windows": np.array(plain, dtype=np.int32)}


def rows_of(doc: Doc, name: str) -> Optional[PieceRows]:
    """doc (Doc): A Doc.
    name (str): An encoder, or "*".
    RETURNS (Optional[PieceRows]): The rows that it left there, or None."""
    values = values_of(doc, name) or {}
    if ROWS not in values:
        return None
    windows = [
        Window(None if w[0] < 0 else w[0], w[1], w[2], w[3], w[4], bool(w[5]))
        for w in values["windows"].tolist()
    ]
    return PieceRows(values[ROWS], doc_geometry(doc, values["ids"], values["offsets"], windows))


def no_rows(doc: Doc, width: int, zeros: Callable[[int, int], Floats2d]) -> PieceRows:
    """doc (Doc): A Doc that no encoder has seen.
    width (int): Width of a row.
    zeros (Callable[[int, int], Floats2d]): Makes an array.
    RETURNS (PieceRows): Zeros for [CLS] and [SEP], and no pieces: something of the right form."""
    windows = [Window(None, 0, 0, 0, 0, False)]
    ids, offsets = np.zeros(0, dtype=np.int32), np.zeros((0, 2), dtype=np.int32)
    return PieceRows(zeros(2, width), doc_geometry(doc, ids, offsets, windows))


def doc_geometry(
    doc: Doc, ids: np.ndarray, offsets: np.ndarray, windows: List[Window]
) -> DocPieces:
    """doc (Doc): A Doc.
    ids (np.ndarray): Its pieces, shape (n_pieces,).
    offsets (np.ndarray): Their characters, shape (n_pieces, 2).
    windows (List[Window]): Its windows.
    RETURNS (DocPieces): All of that, aligned with the tokens that the Doc has now."""
    return DocPieces(ids, offsets, align_doc(doc, offsets), windows, doc[:60].text[:60])
