"""The encoder's architectures: Bert (shared), BertTok2Vec, BertPooled and BertPieces (inlined), and
their listeners."""

from inspect import Signature, signature
from typing import Any, Dict, List, Literal, Union

from spacy.tokens import Doc
from thinc.api import Model, chain
from thinc.types import Floats2d

from ..encoder.config import BertConfig
from ..layers.config_attr import ConfigList
from ..layers.doc_encoder import ROWS, DocVectors, check_pooling, doc_encoder, find_part, shim_of
from ..layers.doc_windows import doc_windows
from ..layers.listeners import PooledListenerModel, token_listener
from ..layers.piece_listener import PieceListenerModel
from ..layers.piece_rows import PieceRows
from ..layers.pooled import take_pieces, take_pooled, take_tokens


def Bert(
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
    hidden_dropout: float = 0.1,
    attention_dropout: float = 0.1,
    causal: bool = False,
    layers: List[int] = [-1],  # noqa: B006 (an argument of a config; never changed)
    window: int = 512,
    stride: int = 448,
    batch_pieces: int = 4096,
    mixed_precision: Union[bool, Literal["auto"]] = False,
    gradient_checkpointing: bool = False,
) -> Model[List[Doc], DocVectors]:
    """BERT over Docs, the model of the `bert` component (`spacy-bert.Bert.v1`).

    vocab_size ... activation: The sizes of the network, see BertConfig; a checkpoint has to agree with them.
    hidden_dropout (float): Dropout after the embeddings and each sublayer, in training.
    attention_dropout (float): Dropout on attention probabilities, in training.
    causal (bool): Whether each piece sees itself and what is left of it only, as an encoder that was
        pretrained left to right does (paper, section 5.1); a checkpoint has to agree.
    layers (List[int]): The layers whose vectors to give, side by side: -1 is the last, -2 the one
        below it, 0 the embeddings (paper, section 5.3). The width of all vectors is then `width`
        times their number, and listeners have to declare that.
    window (int): Longest window in pieces, [CLS] and [SEP] included; at most `max_positions`.
    stride (int): Pieces from the start of one window of a long Doc to the start of the next.
    batch_pieces (int): Pieces of windows that are computed together, about; in prediction,
        more needs more memory.
    mixed_precision (Union[bool, str]): Train with bfloat16 matrix products; "auto" where the
        hardware has instructions for them. The weights stay in 32 bits.
    gradient_checkpointing (bool): Save memory in training by recomputing activations within layers.
    RETURNS (Model[List[Doc], DocVectors]): The model, without weights until a checkpoint is loaded.
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
        hidden_dropout=hidden_dropout,
        attention_dropout=attention_dropout,
        causal=causal,
    )
    check_positions(window, max_positions)
    model: Model[List[Doc], DocVectors] = chain(
        doc_windows(window=window, stride=stride, batch_pieces=batch_pieces),
        doc_encoder(
            config,
            layers=layers,
            mixed_precision=mixed_precision,
            gradient_checkpointing=gradient_checkpointing,
        ),
    )
    model.attrs["replace_listener"] = replace_listener
    model.attrs["replace_listener_cfg"] = replace_listener_config
    return model


def check_positions(window: int, max_positions: int) -> None:
    """window (int): Longest window in pieces.
    max_positions (int): Positions of the encoder.
    RAISES: ValueError if it is too long for the encoder."""
    if window > max_positions:
        raise ValueError(
            f"window is {window} pieces, but the encoder has only {max_positions} positions "
            f"(max_positions). Use a window of {max_positions} or less."
        )


Inference = Literal["fp32", "bf16", "int8", "auto"]


def BertTok2Vec(
    *, inference: Inference = "fp32", **settings: Any
) -> Model[List[Doc], List[Floats2d]]:
    """A BERT of one component's own, giving token vectors (`spacy-bert.BertTok2Vec.v1`).

    inference (str): What predictions are computed in, as for the component `bert`.
    **settings: As for Bert.
    RETURNS (Model[List[Doc], List[Floats2d]]): Token vectors, shape (n_tokens, width) for each Doc.
    """
    return _tokens(_own(inference, settings))


def BertPooled(
    *, pooling: str, inference: Inference = "fp32", **settings: Any
) -> Model[List[Doc], Floats2d]:
    """A BERT of one component's own, giving one vector a Doc (`spacy-bert.BertPooled.v1`).

    pooling (str): "cls", "pooler", "mean" or "max".
    inference (str): What predictions are computed in, as for the component `bert`.
    **settings: As for Bert.
    RETURNS (Model[List[Doc], Floats2d]): Vectors of whole Docs, shape (n_docs, width).
    """
    return _pooled(_own(inference, settings), pooling)


def BertPieces(
    *, inference: Inference = "fp32", **settings: Any
) -> Model[List[Doc], List[PieceRows]]:
    """A BERT of one component's own, giving the rows of windows (`spacy-bert.BertPieces.v1`).

    inference (str): What predictions are computed in, as for the component `bert`.
    **settings: As for Bert.
    RETURNS (Model[List[Doc], List[PieceRows]]): As BertPieceListener.
    """
    return _pieces(_own(inference, settings))


def _own(inference: str, settings: Dict[str, Any]) -> Model[List[Doc], DocVectors]:
    model = Bert(**settings)
    shim_of(model).inference = inference
    return model


def BertListener(
    *, width: int, upstream: str = "*", grad_factor: float = 1.0
) -> Model[List[Doc], List[Floats2d]]:
    """Token vectors of a shared `bert` component (`spacy-bert.BertListener.v1`).

    width (int): Width of the encoder's vectors.
    upstream (str): Name of the encoder's component, or "*".
    grad_factor (float): Factor on the gradient that is sent to it; 0 for none.
    RETURNS (Model[List[Doc], List[Floats2d]]): Token vectors, shape (n_tokens, width) for each Doc.
    """
    return token_listener(upstream=upstream, width=width, grad_factor=grad_factor)


def BertPooledListener(
    *, width: int, pooling: str = "mean", upstream: str = "*", grad_factor: float = 1.0
) -> Model[List[Doc], Floats2d]:
    """Vectors of whole Docs of a shared `bert` component (`spacy-bert.BertPooledListener.v1`).

    width (int): Width of the encoder's vectors.
    pooling (str): "cls" ([CLS] itself), "pooler" ([CLS] through the pretrained pooler), "mean" or
        "max" (both over all pieces, [CLS] and [SEP] included).
    upstream (str): Name of the encoder's component, or "*".
    grad_factor (float): Factor on the gradient that is sent to it; 0 for none.
    RETURNS (Model[List[Doc], Floats2d]): One vector a Doc, shape (n_docs, width).
    """
    return PooledListenerModel(
        pooling=pooling, upstream=upstream, width=width, grad_factor=grad_factor
    )


def BertPieceListener(
    *, width: int, upstream: str = "*", grad_factor: float = 1.0
) -> Model[List[Doc], List[PieceRows]]:
    """Vectors of pieces of a shared `bert` component, window by window (`spacy-bert.BertPieceListener.v1`).

    width (int): Width of the encoder's vectors.
    upstream (str): Name of the encoder's component, or "*".
    grad_factor (float): Factor on the gradient that is sent to it; 0 for none.
    RETURNS (Model[List[Doc], List[PieceRows]]): For each Doc a Ragged with one sequence a window,
        [CLS] and [SEP] included, shape (n_rows, width); its `pieces` say what each row is.
    """
    return PieceListenerModel(upstream=upstream, width=width, grad_factor=grad_factor)


def _pieces(model: Model[List[Doc], DocVectors]) -> Model[List[Doc], List[PieceRows]]:
    find_part(model, "doc-encoder").attrs["poolings"] = ConfigList([ROWS])
    return chain(model, take_pieces(model.get_dim("nO")))


def _pooled(model: Model[List[Doc], DocVectors], pooling: str) -> Model[List[Doc], Floats2d]:
    find_part(model, "doc-encoder").attrs["poolings"] = ConfigList([check_pooling(pooling)])
    return chain(model, take_pooled(pooling, model.get_dim("nO")))


def _tokens(model: Model[List[Doc], DocVectors]) -> Model[List[Doc], List[Floats2d]]:
    find_part(model, "doc-encoder").attrs["poolings"] = ConfigList()
    return chain(model, take_tokens(model.get_dim("nO")))


# Config validation reads signatures: without these, a wrong key of an inlined encoder would only
# be found when it is built.
_settings = list(signature(Bert).parameters.values())
_architectures: List[Any] = [BertTok2Vec, BertPooled, BertPieces]
for _architecture in _architectures:
    _given = signature(_architecture)
    *_own_settings, _others = _given.parameters.values()
    _architecture.__signature__ = Signature(
        [*_own_settings, *_settings], return_annotation=_given.return_annotation
    )


def replace_listener(
    copied: Model[List[Doc], DocVectors], listener: Model, component: Any
) -> Model:
    """What a listener becomes when it gets an encoder of its own (`nlp.replace_listeners`).

    copied (Model[List[Doc], DocVectors]): A copy of the shared encoder.
    listener (Model): The listener.
    component (Any): The shared encoder's component.
    RETURNS (Model): A model that gives what the listener gave.
    """
    if isinstance(listener, PooledListenerModel):
        return _pooled(copied, listener.pooling)
    if isinstance(listener, PieceListenerModel):
        return _pieces(copied)
    return _tokens(copied)


def replace_listener_config(
    encoder_config: Dict[str, Any], listener_config: Dict[str, Any], *, inference: str = "fp32"
) -> Dict[str, Any]:
    """encoder_config (Dict[str, Any]): The shared encoder's model in the config.
    listener_config (Dict[str, Any]): The listener in the config.
    inference (str): What the shared encoder's predictions are computed in.
    RETURNS (Dict[str, Any]): What stands in its place afterwards."""
    own = {k: v for k, v in encoder_config.items() if k != "@architectures"}
    own["inference"] = inference
    if "pooling" in listener_config:
        return {
            "@architectures": "spacy-bert.BertPooled.v1",
            "pooling": listener_config["pooling"],
            **own,
        }
    if listener_config.get("@architectures") == "spacy-bert.BertPieceListener.v1":
        return {"@architectures": "spacy-bert.BertPieces.v1", **own}
    return {"@architectures": "spacy-bert.BertTok2Vec.v1", **own}
