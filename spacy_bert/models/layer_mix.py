"""The architecture of a learnt weighted sum of an encoder's layers (paper, section 5.3)."""

from typing import List

from spacy.tokens import Doc
from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from ..layers.layer_mix import layer_mix


def BertLayerMix(
    tok2vec: Model[List[Doc], List[Floats2d]], layers: int
) -> Model[List[Doc], List[Floats2d]]:
    """Weighted sum of the layers that an encoder gives side by side (`spacy-bert.BertLayerMix.v1`).
    The weights belong to the head, so they are learnt though the encoder is frozen.

    tok2vec (Model[List[Doc], List[Floats2d]]): Token vectors of an encoder with `layers` set, such as
        a BertListener; shape (n_tokens, layers * width) for each Doc.
    layers (int): How many layers that are.
    RETURNS (Model[List[Doc], List[Floats2d]]): Token vectors, shape (n_tokens, width) for each Doc.
    RAISES: ValueError if the width of `tok2vec` cannot be that of so many layers.
    """
    mix = layer_mix(layers, tok2vec.get_dim("nO"))
    model: Model[List[Doc], List[Floats2d]] = chain(tok2vec, with_array(mix))
    model.set_dim("nO", mix.get_dim("nO"))
    return model
