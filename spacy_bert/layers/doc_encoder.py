"""The encoder over windows of Docs: one torch module that encodes, gathers and pools, and its Thinc layer.

Legend: R rows (pieces) of a batch, W width of a vector: that of the encoder, times the layers asked for.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
    cast,
)

import numpy as np
import torch
from thinc.api import Model, xp2torch
from thinc.types import ArgsKwargs, Floats2d
from thinc.util import torch2xp
from torch import Tensor, nn

from ..encoder import BertConfig, BertEncoder, Pooler
from ..encoder.engine import Engine
from ..encoder.packing import ENGINE_ROWS, TRAINING_ROWS, PackedPieces, fill, move
from ..encoder.shapes import without_memory
from ..encoder.side_by_side import encode_all
from .config_attr import ConfigDict, ConfigList
from .doc_windows import DocPieces, MicroBatch, WindowBatch
from .finite import check_finite
from .shim import BertShim
from .tokenizer_attr import NOT_LOADED

POOLINGS = ("cls", "pooler", "mean", "max")
# Not a pooling: every row of every window, for heads that read pieces.
ROWS = "rows"
CHOOSE_DEVICE_FIRST = (
    "Call spacy.require_gpu(), or spacy.require_cpu(), before the pipeline is made or loaded."
)


def check_pooling(pooling: str) -> str:
    """pooling (str): The name of a pooling.
    RETURNS (str): The same.
    RAISES: ValueError if there is none of this name."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}, but it must be one of {', '.join(POOLINGS)}.")
    return pooling


def check_layers(layers: Sequence[int], depth: int) -> List[int]:
    """layers (Sequence[int]): Layers of an encoder: 0 is the embeddings, `depth` or -1 the last.
    depth (int): How many layers there are.
    RETURNS (List[int]): The same.
    RAISES: ValueError if there are none of these, or one of them twice."""
    places = [layer + depth + 1 if layer < 0 else layer for layer in layers]
    if not places or len(set(places)) < len(places) or not set(places) <= set(range(depth + 1)):
        raise ValueError(
            f"layers is {list(layers)}, but it must list different ones of the encoder's {depth} "
            f"layers: 0 (the embeddings) to {depth}, or {-depth - 1} to -1 (the last)."
        )
    return list(layers)


class DocEncoder(nn.Module):
    """BERT with its pooler, from windows to the vectors of tokens and of whole Docs.

    config (BertConfig): Its sizes.
    layers (Sequence[int]): The layers whose vectors to give, side by side; -1 is the last, 0 the embeddings.
    """

    def __init__(self, config: BertConfig, layers: Sequence[int] = (-1,)) -> None:
        super().__init__()
        self.encoder = BertEncoder(config)
        self.pooler = Pooler(config)
        self.layers = [layer % (config.depth + 1) for layer in check_layers(layers, config.depth)]
        self.is_last = self.layers == [config.depth]
        self.width = len(self.layers) * config.width

    def forward(
        self,
        batch: WindowBatch,
        poolings: Sequence[str],
        *,
        bf16: bool = False,
        engine: Optional[Engine] = None,
    ) -> Dict[str, Tensor]:
        """batch (WindowBatch): The windows.
        poolings (Sequence[str]): Which vectors of whole Docs to make; ROWS for those of windows.
        bf16 (bool): Whether matrix products run in bfloat16.
        engine (Optional[Engine]): What encodes, if not the encoder itself.
        RETURNS (Dict[str, Tensor]): "tokens", shape (n_tokens, W), and each pooling, shape (n_docs, W);
            if "rows" is among them, all rows in the order of the Docs, shape (n_rows, W).
        RAISES: ValueError if the pooler is to read other layers than the last one."""
        device = self.pooler.dense.weight.device
        n_docs, width = len(batch.docs), self.width
        sizes = {"tokens": sum(batch.token_lengths)}
        if "cls" in poolings or "pooler" in poolings:
            sizes["cls"] = n_docs
        sizes.update({pooling: n_docs for pooling in ("mean", "max") if pooling in poolings})
        if ROWS in poolings:
            sizes[ROWS] = sum(len(part.places) for part in batch.micro_batches)
        # The type and device that others have set as torch's defaults are not ours.
        results = {
            name: torch.zeros(n, width, dtype=torch.float32, device=device)
            for name, n in sizes.items()
        }
        if "max" in results:
            results["max"].fill_(-torch.inf)
        if "pooler" in poolings and not self.is_last:
            raise ValueError(
                f"The pooler reads the last layer, but layers is {self.layers}. Use another pooling "
                f'("cls", "mean" or "max"), or set layers = [-1] in the section of the encoder\'s model.'
            )
        parts = batch.micro_batches
        multiple = TRAINING_ROWS if engine is None else ENGINE_ROWS
        batches = [fill(part.pieces.to(device), multiple) for part in parts]
        # Before anything is computed: on a GPU, each copy would wait for it.
        goals = [_goals(part, results, device) for part in parts]
        if engine is not None:
            encode = partial(self._layers_of, engine)
            encode_all(encode, batches, lambda i, rows: _scatter(rows, goals[i], results))
        else:
            for goal, pieces in zip(goals, batches):
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    rows = self._layers_of(self.encoder, pieces).float()  # (R, W)
                _scatter(rows, goal, results)
        if "pooler" in poolings:
            results["pooler"] = self.pooler(results["cls"])
        return results

    def _layers_of(self, encode: Callable[..., Tensor], pieces: PackedPieces) -> Tensor:
        """The rows that an encoder, or its engine, makes of a batch, shape (R, W)."""
        if self.is_last:
            return encode(pieces)
        states: List[Tensor] = []
        encode(pieces, hidden_states=states)
        return torch.cat([states[layer].float() for layer in self.layers], dim=1)


class Goal(NamedTuple):
    """Where rows of a micro-batch go.

    rows (Optional[Tensor]): Which rows, shape (n,); None for the first n.
    places (Tensor): The token, Doc or row of the result that each is part of, shape (n,).
    weights (Optional[Tensor]): How much of it each is, shape (n, 1); None for all.
    """

    rows: Optional[Tensor]
    places: Tensor
    weights: Optional[Tensor] = None


def _goals(part: MicroBatch, wanted: Iterable[str], device: torch.device) -> Dict[str, Goal]:
    """Where the rows of a micro-batch go, for each of the vectors that are wanted."""
    sums = {
        "tokens": (part.token_rows, part.token_ids, part.token_weights),
        "cls": (part.cls_rows, part.cls_docs, part.cls_weights),
        "mean": (part.pool_rows, part.pool_docs, part.pool_weights),
    }
    goals = {}
    for name in wanted:
        if name == ROWS:
            goals[name] = Goal(None, _to(part.places, device))
        elif name == "max":
            goals[name] = Goal(_to(part.pool_rows, device), _to(part.pool_docs, device))
        else:
            rows, places, weights = sums[name]
            is_part = weights.size and weights.min() < 1.0
            shares = _to(weights, device)[:, None] if is_part else None
            goals[name] = Goal(_to(rows, device), _to(places, device), shares)
    return goals


def _scatter(rows: Tensor, goals: Dict[str, Goal], results: Dict[str, Tensor]) -> None:
    """Add the rows of a micro-batch, and perhaps of what filled it, to the vectors they are part of.
    A token or Doc may have rows in several micro-batches, hence sums of weighted rows."""
    for name, goal in goals.items():
        chosen = rows[: len(goal.places)] if goal.rows is None else rows[goal.rows]
        if goal.weights is not None:
            chosen = chosen * goal.weights
        if name == ROWS:
            results[name] = results[name].index_copy_(0, goal.places, chosen)
        elif name == "max":
            places = goal.places[:, None].expand_as(chosen)
            results[name] = results[name].scatter_reduce(0, places, chosen, "amax")
        else:
            results[name] = results[name].index_add_(0, goal.places, chosen)


def _to(array: np.ndarray, device: torch.device) -> Tensor:
    return move(torch.from_numpy(array), device)


@dataclass
class DocVectors:
    """What the encoder makes of a batch of Docs.

    pieces (List[DocPieces]): The pieces of each Doc.
    tokens (List[Floats2d]): Token vectors of each Doc, shape (n_tokens, W).
    pooled (Dict[str, Floats2d]): Vectors of whole Docs by pooling, shape (n_docs, W).
    rows (Optional[List[Floats2d]]): If asked for, the rows of each Doc's windows behind one another,
        [CLS] and [SEP] included, shape (n_rows, W).
    """

    pieces: List[DocPieces]
    tokens: List[Floats2d]
    pooled: Dict[str, Floats2d]
    rows: Optional[List[Floats2d]] = None


@dataclass
class DocGradients:
    """The gradient with respect to DocVectors; what nobody used is left out.

    tokens (Optional[List[Floats2d]]): As DocVectors.tokens.
    pooled (Dict[str, Floats2d]): As DocVectors.pooled.
    rows (Optional[List[Floats2d]]): As DocVectors.rows.
    """

    tokens: Optional[List[Floats2d]] = None
    pooled: Dict[str, Floats2d] = field(default_factory=dict)
    rows: Optional[List[Floats2d]] = None


def doc_encoder(
    config: BertConfig,
    *,
    layers: Sequence[int] = (-1,),
    poolings: Sequence[str] = (),
    mixed_precision: Union[bool, str] = False,
    gradient_checkpointing: bool = False,
) -> Model[WindowBatch, DocVectors]:
    """The encoder as a Thinc layer.

    config (BertConfig): Its sizes.
    layers (Sequence[int]): The layers whose vectors it gives, side by side; see check_layers.
    poolings (Sequence[str]): Vectors of whole Docs to make besides the token vectors; its attribute
        of this name may list ROWS, too.
    mixed_precision (Union[bool, str]): Train with bfloat16 matrix products; "auto" where the hardware has them.
    gradient_checkpointing (bool): Keep no activations within layers in training; recompute them.
    RETURNS (Model[WindowBatch, DocVectors]): The layer, without weights until they are loaded.
    """
    with without_memory():
        network = DocEncoder(config, layers).float()  # whatever torch's default is
    network.encoder.gradient_checkpointing = gradient_checkpointing
    return Model(
        "doc-encoder",
        forward,
        init=init,
        dims={"nO": network.width},
        attrs={
            "poolings": ConfigList(map(check_pooling, poolings)),
            "sizes": ConfigDict(config.to_dict()),
        },
        shims=[BertShim(network.eval(), mixed_precision=mixed_precision)],
    )


def init(
    model: Model[WindowBatch, DocVectors],
    X: Optional[WindowBatch] = None,
    Y: Optional[DocVectors] = None,
) -> None:
    """RAISES: ValueError if no checkpoint was loaded: there is nothing to initialise from."""
    if not is_loaded(model):
        raise ValueError(NOT_LOADED)


def forward(
    model: Model[WindowBatch, DocVectors], batch: WindowBatch, is_train: bool
) -> Tuple[DocVectors, Callable]:
    """batch (WindowBatch): The windows.
    RETURNS (Tuple[DocVectors, Callable]): The vectors, and a callback that takes DocGradients.
    RAISES: ValueError if the weights went to a GPU that the rest is not made for; FloatingPointError if
        the vectors are not finite, see BertShim.check_results."""
    shim = shim_of(model)
    if shim.is_loaded and (shim.device.type == "cuda") != (model.ops.device_type == "gpu"):
        raise ValueError(
            f"The encoder's weights are on the device {str(shim.device)!r}, but its pipeline was made for "
            f"the {model.ops.device_type.upper()}. {CHOOSE_DEVICE_FIRST}"
        )
    check_pairs(model.attrs["sizes"], batch.docs)
    inputs = ArgsKwargs(args=(batch, tuple(model.attrs["poolings"])), kwargs={})
    results, backprop_torch = shim(inputs, is_train)
    shim.check_results(results, batch.docs)
    xp_results = {n: cast(Floats2d, torch2xp(tensor.detach())) for n, tensor in results.items()}
    rows = xp_results.pop(ROWS, None)
    n_rows = [sum(window.length for window in pieces.windows) for pieces in batch.docs]
    vectors = DocVectors(
        pieces=batch.docs,
        tokens=_split(xp_results.pop("tokens"), batch.token_lengths),
        pooled=xp_results,
        rows=None if rows is None else _split(rows, n_rows),
    )

    def backprop(gradients: DocGradients) -> list:
        if not batch.docs:
            return []
        # A shared encoder's listeners have checked theirs; a head with an encoder of its own has not.
        lists = {"tokens": gradients.tokens or [], ROWS: gradients.rows or []}
        check_finite([*chain(*lists.values()), *gradients.pooled.values()], batch.docs)
        tensors, grads = [], []
        for name, arrays in lists.items():
            if arrays:
                tensors.append(results[name])
                grads.append(xp2torch(model.ops.xp.concatenate(arrays), device=shim.device))
        for name, gradient in gradients.pooled.items():
            tensors.append(results[name])
            grads.append(xp2torch(gradient, device=shim.device))
        backprop_torch(ArgsKwargs(args=(tensors,), kwargs={"grad_tensors": grads}))
        return []

    return vectors, backprop


ONE_SEGMENT_TYPE = (
    "the encoder knows one segment type only (type_vocab_size = 1), and could not tell them apart. Take the "
    "component 'segments' out of the pipeline, or use an encoder with two."
)


def check_pairs(sizes: Mapping[str, Any], docs: Sequence[DocPieces]) -> None:
    """sizes (Mapping[str, Any]): Of the encoder.
    docs (Sequence[DocPieces]): What it is to read.
    RAISES: ValueError for a pair, if it knows one segment type only."""
    if sizes["type_vocab_size"] > 1:
        return
    for pieces in docs:
        if any(window.context_end is not None for window in pieces.windows):
            raise ValueError(f"The Doc {pieces.text!r} is a pair of texts, but {ONE_SEGMENT_TYPE}")


def _split(vectors: Floats2d, lengths: List[int]) -> List[Floats2d]:
    """One view a Doc of vectors that lie behind one another."""
    ends = np.cumsum(lengths)
    return [vectors[end - length : end] for end, length in zip(ends.tolist(), lengths)]


def find_part(model: Model, name: str) -> Model:
    """model (Model): A model with a BERT in it.
    name (str): "doc-windows" or "doc-encoder".
    RETURNS (Model): That layer.
    RAISES: ValueError if there is none."""
    for node in model.walk():
        if node.name == name:
            return node
    raise ValueError(f"The model {model.name!r} holds no BERT encoder (no layer {name!r}).")


def has_encoder(model: Model) -> bool:
    """RETURNS (bool): Whether the model holds a BERT encoder of its own."""
    return any(node.name == "doc-encoder" for node in model.walk())


def shim_of(model: Model) -> BertShim:
    """model (Model): A model with a BERT in it.
    RETURNS (BertShim): What runs its network."""
    return cast(BertShim, find_part(model, "doc-encoder").shims[0])


def is_loaded(model: Model) -> bool:
    """model (Model): A model with a BERT in it.
    RETURNS (bool): Whether it has weights."""
    return shim_of(model).is_loaded
