"""BERT's reader of answers: two numbers a piece, for the start and the end (paper, section 4.2)."""

from typing import List, cast

from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Model, chain
from thinc.types import Floats2d

from ..layers.piece_rows import PieceRows, gives_rows, with_rows
from .token_classifier import initial_weights


def BertSpanQA(
    tok2vec: Model[List[Doc], List[PieceRows]], dropout: float = 0.0
) -> Model[List[Doc], List[PieceRows]]:
    """Rows of windows -> linear, for `span_qa` (`spacy-bert.BertSpanQA.v1`).

    tok2vec (Model[List[Doc], List[PieceRows]]): The rows of windows: a BertPieceListener or BertPieces.
        (spaCy's `replace_listeners` looks for it under this name.)
    dropout (float): Dropout on the rows. With 0.0 there is none, as in the paper's code, whatever
        `[training] dropout` says; else that takes its place in training.
    RETURNS (Model[List[Doc], List[PieceRows]]): The logit of a start and that of an end for each
        row, shape (n_rows, 2).
    RAISES: ValueError if `tok2vec` gives anything else than rows.
    """
    if not gives_rows(tok2vec):
        raise ValueError(
            f"The tok2vec of BertSpanQA is {tok2vec.name!r}, but a vector for each piece of each "
            f"window is needed. Use spacy-bert.BertPieceListener.v1 or BertPieces.v1."
        )
    layer: Model[Floats2d, Floats2d] = Linear(2, tok2vec.get_dim("nO"), init_W=initial_weights)
    if dropout:
        layer = chain(cast(Model[Floats2d, Floats2d], Dropout(dropout)), layer)
    model: Model[List[Doc], List[PieceRows]] = chain(tok2vec, with_rows(layer))
    model.set_ref("tok2vec", tok2vec)
    return model
