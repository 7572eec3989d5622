"""What the experiments put on an encoder beside the library's heads: a BiLSTM."""

from typing import List

import spacy
from spacy.tokens import Doc
from thinc.api import Model, PyTorchLSTM, chain, list2ragged, reduce_mean
from thinc.types import Floats2d


@spacy.registry.architectures("experiments.BiLSTM.v1")
def BiLSTM(
    tok2vec: Model[List[Doc], List[Floats2d]], width: int, depth: int, dropout: float = 0.1
) -> Model[List[Doc], List[Floats2d]]:
    """A BiLSTM over token vectors, which begins with random weights (paper, sections 5.1 and 5.3).

    tok2vec (Model[List[Doc], List[Floats2d]]): Token vectors.
    width (int): Width of what it gives, both directions together.
    depth (int): Its layers.
    dropout (float): Dropout between them.
    RETURNS (Model[List[Doc], List[Floats2d]]): Token vectors, shape (n_tokens, width) for each Doc.
    """
    between = dropout if depth > 1 else 0.0
    lstm = PyTorchLSTM(width, tok2vec.get_dim("nO"), bi=True, depth=depth, dropout=between)
    model: Model[List[Doc], List[Floats2d]] = chain(tok2vec, lstm)
    model.set_dim("nO", width)
    return model


@spacy.registry.architectures("experiments.PooledBiLSTM.v1")
def PooledBiLSTM(
    tok2vec: Model[List[Doc], List[Floats2d]], width: int, depth: int, dropout: float = 0.1
) -> Model[List[Doc], Floats2d]:
    """The same for whole texts: the mean over the tokens.

    tok2vec, width, depth, dropout: As for BiLSTM.
    RETURNS (Model[List[Doc], Floats2d]): One vector a Doc, shape (n_docs, width).
    """
    lstm = BiLSTM(tok2vec, width, depth, dropout)
    model: Model[List[Doc], Floats2d] = chain(lstm, list2ragged(), reduce_mean())
    model.set_dim("nO", width)
    return model
