"""The masked language model's architecture: a BERT of its own, and the head that it was pretrained with."""

from typing import List

from spacy.tokens import Doc
from thinc.api import Model, chain

from ..encoder.config import BertConfig
from ..layers.mask_windows import mask_windows
from ..layers.masked_lm import MaskPredictions, masked_lm
from .encoder import check_positions


def BertMaskedLM(
    *,
    vocab_size: int = 30522,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    intermediate_width: int = 3072,
    max_positions: int = 512,
    type_vocab_size: int = 2,
    layer_norm_eps: float = 1e-12,
    activation: str = "gelu",
    window: int = 512,
    stride: int = 448,
    batch_pieces: int = 4096,
) -> Model[List[Doc], List[MaskPredictions]]:
    """BERT with its masked-LM head over the masks of Docs, the model of the `fill_mask` component
    (`spacy-bert.BertMaskedLM.v1`). It predicts and is not trained; hence no dropout to set.

    vocab_size ... activation: The sizes of the network, see BertConfig; a checkpoint has to agree with them.
    window (int): Longest window in pieces, [CLS] and [SEP] included; at most `max_positions`.
    stride (int): Pieces from the start of one window of a long Doc to the start of the next.
    batch_pieces (int): Pieces of windows that are computed together, about; more needs more memory.
    RETURNS (Model[List[Doc], List[MaskPredictions]]): The model, without weights until a checkpoint
        is loaded. The attribute "top_k" of its layer "doc-encoder" is how many pieces it names.
    RAISES: ValueError for sizes that do not fit together; the message names the key.
    """
    config = BertConfig(
        vocab_size=vocab_size,
        width=width,
        depth=depth,
        heads=heads,
        intermediate_width=intermediate_width,
        max_positions=max_positions,
        type_vocab_size=type_vocab_size,
        layer_norm_eps=layer_norm_eps,
        activation=activation,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    check_positions(window, max_positions)
    return chain(
        mask_windows(window=window, stride=stride, batch_pieces=batch_pieces),
        masked_lm(config, top_k=5),
    )
