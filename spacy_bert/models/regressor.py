"""One number a text: a linear layer on the vector of the whole text, as the paper does STS-B (Appendix B.1)."""

from typing import List

from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Model, chain
from thinc.types import Floats2d

from .textcat import check_pooled
from .token_classifier import initial_weights


def BertRegressor(
    tok2vec: Model[List[Doc], Floats2d], dropout: float = 0.1
) -> Model[List[Doc], Floats2d]:
    """Pooled vector -> dropout -> linear, for `text_regressor` (`spacy-bert.BertRegressor.v1`).

    tok2vec (Model[List[Doc], Floats2d]): One vector a Doc: a BertPooledListener or BertPooled.
        (spaCy's `replace_listeners` looks for it under this name.)
    dropout (float): Dropout on the pooled vector; `[training] dropout` takes its place in training.
    RETURNS (Model[List[Doc], Floats2d]): Numbers, shape (n_docs, 1), in standard deviations from the mean
        of what was trained on.
    RAISES: ValueError if `tok2vec` gives a vector for each token.
    """
    check_pooled("BertRegressor", tok2vec)
    # The first predictions are near the mean of the targets: none is far off.
    output_layer = Linear(1, tok2vec.get_dim("nO"), init_W=initial_weights)
    model: Model[List[Doc], Floats2d] = chain(tok2vec, Dropout(dropout), output_layer)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    return model
