"""BERT's token classifier: one linear layer on the vector of each token (paper, section 5.3)."""

from functools import partial
from typing import Any, List, Optional, Tuple, cast

import numpy as np
from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Model, Ops, chain, resizable, with_array
from thinc.layers.resizable import resize_linear_weighted, resize_model
from thinc.types import Floats2d

from ..layers.piece_rows import gives_rows, last_layer, take_first_pieces

# The bias of tags that are added later: they start as out of the question.
NEW_LABEL = -10.0
# Layers that give one vector a Doc.
TEXT_LAYERS = ("bert-pooled-listener", "take-pooled")


def BertTokenClassifier(
    tok2vec: Model[List[Doc], Any],
    dropout: float = 0.1,
    nO: Optional[int] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """Token vector -> dropout -> linear, for `bert_ner` (`spacy-bert.BertTokenClassifier.v1`).

    tok2vec (Model[List[Doc], Any]): Where token vectors come from. BertListener, BertTok2Vec and
        spaCy's own listener give the mean of a token's pieces; BertPieceListener and BertPieces
        stand for its first piece, as in the paper. (spaCy's `replace_listeners` looks for it under
        this name.)
    dropout (float): Dropout on the token vectors; `[training] dropout` takes its place in training.
    nO (Optional[int]): Number of tags; inferred from the labels if not given.
    RETURNS (Model[List[Doc], List[Floats2d]]): Scores of tags (logits), shape (n_tokens, n_tags)
        for each Doc. Tags can be added later.
    RAISES: ValueError if `tok2vec` gives one vector a Doc.
    """
    if last_layer(tok2vec).name in TEXT_LAYERS:
        raise ValueError(
            f"The tok2vec of BertTokenClassifier is {tok2vec.name!r}, which gives one vector a Doc, "
            f"but a vector for each token is needed. Use spacy-bert.BertListener.v1 or BertTok2Vec.v1 "
            f"(the mean of a token's pieces), or BertPieceListener.v1 or BertPieces.v1 (its first)."
        )
    width = tok2vec.get_dim("nO")
    output_layer = Linear(nO, width, init_W=initial_weights)
    resizable_layer: Model[Floats2d, Floats2d] = resizable(
        output_layer,
        resize_layer=partial(resize_linear_weighted, fill_defaults={"W": 0.0, "b": NEW_LABEL}),
    )
    with Model.define_operators({">>": chain}):
        vectors = tok2vec >> take_first_pieces(width) if gives_rows(tok2vec) else tok2vec
        model = vectors >> with_array(Dropout(dropout) >> resizable_layer)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    if nO is not None:
        model.set_dim("nO", nO)
    model.attrs["resize_output"] = resize_output
    return model


def initial_weights(ops: Ops, shape: Tuple[int, ...]) -> Floats2d:
    """ops (Ops): Where the array is to be.
    shape (Tuple[int, ...]): Its shape.
    RETURNS (Floats2d): Weights as BERT's own begin: normal, with a deviation of 0.02."""
    return ops.asarray2f(cast(Floats2d, np.random.normal(0.0, 0.02, shape).astype("f")))


def resize_output(model: Model, nO: int) -> Model:
    """Make room for more labels. In place.

    model (Model): A BertTokenClassifier or BertTextCat.
    nO (int): How many labels, or tags, there are from now on.
    RETURNS (Model): The same. What it says of those that it had stays as it was.
    """
    # Found in the tree, not kept in an attribute: a copy of the model has to find its own.
    layer = next(node for node in model.walk() if "resize_layer" in node.attrs)
    resize_model(layer, nO)
    model.set_ref("output_layer", layer.layers[0])
    for node in model.walk():
        if any(inner is layer for inner in node.walk()):
            node.set_dim("nO", nO, force=True)
    return model
