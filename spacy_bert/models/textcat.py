"""BERT's text classifier: one linear layer on the vector of the whole text (paper, section 4.1)."""

from functools import partial
from typing import List, Optional

from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Logistic, Model, Softmax, chain, resizable
from thinc.layers.resizable import resize_linear_weighted
from thinc.types import Floats2d

from ..layers.piece_rows import gives_tokens
from .token_classifier import initial_weights, resize_output

# The bias of a label that is added later: it starts as "no". spaCy's own, -5000, is out of reach of
# any number of steps.
NEW_LABEL = -10.0


def BertTextCat(
    tok2vec: Model[List[Doc], Floats2d],
    exclusive_classes: bool,
    dropout: float = 0.1,
    nO: Optional[int] = None,
) -> Model[List[Doc], Floats2d]:
    """Pooled vector -> dropout -> linear, for spaCy's `textcat` and `textcat_multilabel` (`spacy-bert.BertTextCat.v1`).

    tok2vec (Model[List[Doc], Floats2d]): One vector a Doc: a BertPooledListener or BertPooled.
        (spaCy's `replace_listeners` looks for it under this name.)
    exclusive_classes (bool): One label a text (softmax) or any number (logistic).
    dropout (float): Dropout on the pooled vector; `[training] dropout` takes its place in training.
    nO (Optional[int]): Number of labels; inferred from the data if not given.
    RETURNS (Model[List[Doc], Floats2d]): Label probabilities, shape (n_docs, n_labels). Labels can be added later.
    RAISES: ValueError if `tok2vec` gives a vector for each token or piece.
    """
    check_pooled("BertTextCat", tok2vec)
    width = tok2vec.get_dim("nO")
    layer = Softmax if exclusive_classes else Linear
    # Thinc's Softmax begins at zero, which sends the encoder no gradient until it has moved.
    output_layer = layer(nO, width, init_W=initial_weights)
    new_label = {"W": 0.0, "b": NEW_LABEL if exclusive_classes else 0.0}
    resizable_layer: Model[Floats2d, Floats2d] = resizable(
        output_layer, resize_layer=partial(resize_linear_weighted, fill_defaults=new_label)
    )
    with Model.define_operators({">>": chain}):
        model = tok2vec >> Dropout(dropout) >> resizable_layer
        if not exclusive_classes:
            model = model >> Logistic()
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    if nO is not None:
        model.set_dim("nO", nO)
    model.attrs["multi_label"] = not exclusive_classes
    model.attrs["resize_output"] = resize_output
    return model


def check_pooled(architecture: str, tok2vec: Model) -> None:
    """architecture (str): Who needs one vector a Doc.
    tok2vec (Model): What it was given.
    RAISES: ValueError if that gives a vector for each token or piece."""
    if gives_tokens(tok2vec):
        raise ValueError(
            f"The tok2vec of {architecture} is {tok2vec.name!r}, which gives vectors of tokens or pieces, "
            f"but one vector a Doc is needed. Use spacy-bert.BertPooledListener.v1 or BertPooled.v1."
        )
