"""The architecture of a learnt weighted sum of an encoder's layers (paper, section 5.3)."""

from typing import Any, List

from spacy.tokens import Doc
from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from ..layers.doc_encoder import find_part, has_encoder, shim_of
from ..layers.layer_mix import check_mixes, layer_mix
from ..layers.piece_rows import gives_rows, take_first_pieces


def BertLayerMix(tok2vec: Model[List[Doc], Any], layers: int) -> Model[List[Doc], List[Floats2d]]:
    """Weighted sum of the layers that an encoder gives side by side (`spacy-bert.BertLayerMix.v1`).
    The weights belong to the head, so they are learnt though the encoder is frozen.

    tok2vec (Model[List[Doc], Any]): Token vectors of an encoder with `layers` set, such as a
        BertListener; shape (n_tokens, layers * width) for each Doc. BertPieceListener and BertPieces
        stand for the first piece of each token.
    layers (int): How many layers that are.
    RETURNS (Model[List[Doc], List[Floats2d]]): Token vectors, shape (n_tokens, width) for each Doc.
    RAISES: ValueError if the width of `tok2vec` cannot be that of so many layers, or, once it is known,
        the encoder gives another number of them.
    """
    width = tok2vec.get_dim("nO")
    mix = layer_mix(layers, width)
    vectors = chain(tok2vec, take_first_pieces(width)) if gives_rows(tok2vec) else tok2vec
    model: Model[List[Doc], List[Floats2d]] = chain(vectors, with_array(mix))
    model.set_dim("nO", mix.get_dim("nO"))
    if has_encoder(tok2vec):
        encoder = find_part(tok2vec, "doc-encoder")
        check_mixes(model, encoder, len(shim_of(encoder)._model.layers))
    return model
