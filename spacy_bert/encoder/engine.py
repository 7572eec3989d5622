"""How a trained encoder executes at inference: in 32 bits, in bfloat16, or in 8-bit integers.

An engine holds the weights of an encoder in the form in which its kernels read them fastest. It
computes what `BertEncoder.forward` does, without dropout and without gradients, in the same order.

Legend: R rows (pieces) of the batch, W width, F width of the feed-forward layer.
"""

import os
import threading
import time
import warnings
from itertools import repeat
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Tuple,
    cast,
)

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from .activations import ACTIVATIONS
from .attention import self_attention
from .bert import Attention, BertEncoder, Embeddings, Layer
from .centring import Centres, find_centres, raised, random_pieces
from .packing import PackedPieces, length_groups
from .precision import multiplies_bf16
from .products import (
    FEW_INT8_ROWS,
    FEW_ROWS,
    INT8,
    INT8_IN_16_BITS,
    Affine,
    Biased,
    Int8Product,
    PackedForFew,
    PackedProduct,
    PlainProduct,
    Product,
)
from .side_by_side import CPU_ROWS

INFERENCE = ("fp32", "bf16", "int8", "auto")
# "auto" takes a faster precision only if the vectors keep this cosine with those of 32 bits, on
# average, and it is faster by this factor.
LIKENESS, GAIN = 0.99, 1.1
# With few rows, starting kernels takes longest, and a GPU would be misjudged.
GPU_ROWS = 16384

Norm = Callable[[Tensor], Tensor]  # (R, W) -> (R, W)
ProductMaker = Callable[[Affine, Optional[str], Optional[float]], Product]


def check_inference(inference: str) -> str:
    """inference (str): The name of a precision.
    RETURNS (str): The same.
    RAISES: ValueError if there is none of this name."""
    if inference not in INFERENCE:
        raise ValueError(
            f"inference is {inference!r}, but it must be one of {', '.join(INFERENCE)}."
        )
    return inference


class EngineLayer(NamedTuple):
    """The products of a layer, (R, W) -> (R, W), `qkv` and `up` aside, its norms, the number of heads, and
    what was taken away from its rows."""

    heads: int
    qkv: Product  # (R, W) -> (R, 3 * W)
    out: Product
    attention_norm: Norm
    up: Product  # (R, W) -> (R, F), activation included
    down: Product  # (R, F) -> (R, W)
    output_norm: Norm
    centres: Optional[Centres]


class Engine:
    """An encoder, ready to compute. It does not follow later changes of the weights: while
    `identity_of(encoder)` is its `identity`, it is up to date, unless somebody wrote to a weight past
    torch's count of changes (`parameter.data`).

    encoder (BertEncoder): The encoder; its embeddings and norms are used in place.
    precision (str): What it computes in: "fp32", "bf16" or "int8".
    kernels (str): Whose kernels it uses, for people.
    make (ProductMaker): Makes the products.
    centred (bool): Whether the rows are to be near zero; see Centres.
    """

    def __init__(
        self,
        encoder: BertEncoder,
        precision: str,
        kernels: str,
        make: ProductMaker,
        *,
        centred: bool = False,
    ) -> None:
        self.precision, self.kernels = precision, kernels
        self._max_positions = encoder.config.max_positions
        self._causal = encoder.config.causal
        self._embeddings = encoder.embeddings
        self.identity = identity_of(encoder)
        # While these live, no other weights can be where they are.
        self._held = [parameter.detach() for parameter in encoder.parameters()]
        centres = find_centres(encoder) if centred else repeat(None)
        self._layers = [
            _engine_layer(layer, make, around)
            for layer, around in zip(cast(Iterable[Layer], encoder.layers), centres)
        ]

    def __str__(self) -> str:
        return f"{self.precision}, {self.kernels}"

    def __call__(
        self, pieces: PackedPieces, *, hidden_states: Optional[List[Tensor]] = None
    ) -> Tensor:
        """Encode a batch.

        pieces (PackedPieces): The sequences, [CLS] and [SEP] included.
        hidden_states (Optional[List[Tensor]]): Is given the output of the embeddings and of each
            layer, if a list.
        RETURNS (Tensor): The last layer's vectors, shape (R, W), float32.
        RAISES: ValueError if a sequence is longer than the position table.
        """
        if pieces.max_seqlen > self._max_positions:
            raise ValueError(
                f"A sequence of {pieces.max_seqlen} pieces is longer than the encoder's "
                f"{self._max_positions} positions. Use shorter windows."
            )
        groups = length_groups(pieces.lengths)
        rows = self._embeddings(pieces)  # (R, W)
        if hidden_states is not None:
            hidden_states.append(rows)
        if self._layers and self._layers[0].centres is not None:
            rows = rows - self._layers[0].centres.before
        for layer in self._layers:
            attended = self_attention(
                layer.qkv(rows),
                groups,
                heads=layer.heads,
                causal=self._causal,
                cu_seqlens=pieces.cu_seqlens,
            )
            rows = layer.attention_norm(rows + layer.out(attended))
            rows = layer.output_norm(rows + layer.down(layer.up(rows)))
            if hidden_states is not None:
                taken = None if layer.centres is None else layer.centres.after
                hidden_states.append(rows if taken is None else rows + taken)
        return rows


def _engine_layer(layer: Layer, make: ProductMaker, centres: Optional[Centres]) -> EngineLayer:
    qkv, out, up, down = layer.attention.qkv, layer.attention.out, layer.up, layer.down
    before, middle, after = centres or (None, None, None)
    return EngineLayer(
        heads=layer.attention.heads,
        qkv=make(raised(qkv, before, as_input=True), None, None),
        # To its result the rows that were read are added.
        out=make(raised(out, before), None, None),
        attention_norm=_norm(layer.attention_norm, middle),
        up=make(raised(up, middle, as_input=True), layer.activation, None),
        down=make(raised(down, middle), None, ACTIVATIONS[layer.activation].floor),
        output_norm=_norm(layer.output_norm, after),
        centres=centres,
    )


def _norm(norm: nn.LayerNorm, centre: Optional[Tensor]) -> Norm:
    # Of a short text, calling a module takes as long as the norm itself.
    shape, weight, bias, eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    lowered = bias if centre is None else bias.detach() - centre
    return lambda rows: torch.layer_norm(rows, shape, weight, lowered, eps)


# What an encoder is made of -> a setting of it that an engine depends on.
PARTS: Dict[type, str] = {
    BertEncoder: "",
    Embeddings: "",
    Layer: "activation",
    Attention: "heads",
    nn.ModuleList: "",
    nn.Linear: "",
    nn.LayerNorm: "eps",
    nn.Embedding: "",
}


def identity_of(encoder: BertEncoder) -> Optional[Tuple[Any, ...]]:
    """encoder (BertEncoder): An encoder.
    RETURNS (Optional[Tuple[Any, ...]]): Where each of its weights is, how often torch has changed it in
        place, and the settings of its layers; None if these are not what they are called, or somebody
        watches them: adapters and hooks have to run, which an engine would not do."""
    if _global_forward_hooks or _global_forward_pre_hooks:
        return None
    # Asked before every prediction: torch's own walk over the parameters takes ten times as long.
    found: List[Any] = []
    parts: List[nn.Module] = [encoder]
    for part in parts:  # it grows meanwhile
        inside = part.__dict__
        watched = inside["_forward_hooks"] or inside["_forward_pre_hooks"] or "forward" in inside
        # Attention may be given another kernel; an engine has its own.
        own_kernel = inside.get("attend", self_attention) is not self_attention
        setting = PARTS.get(type(part))
        if watched or own_kernel or setting is None:
            return None
        if setting:
            found.append(inside[setting])
        for weight in inside["_parameters"].values():
            if weight is None:
                return None
            found.append(weight.data_ptr())
            # Tensors made in inference mode have no version.
            found.append(-1 if weight.is_inference() else weight._version)
        parts += inside["_modules"].values()
    return tuple(found)


def _plain(dtype: torch.dtype) -> ProductMaker:
    return lambda layer, activation, floor: PlainProduct(layer, activation, dtype)


def _packed(dtype: torch.dtype) -> ProductMaker:
    return lambda layer, activation, floor: PackedProduct(layer, activation, dtype)


def _packed_for_few(layer: Affine, activation: Optional[str], floor: Optional[float]) -> Product:
    return PackedForFew(layer, activation)


def _int8(largest: int, *, few: bool) -> ProductMaker:
    return lambda layer, activation, floor: Int8Product(
        layer, activation, floor=floor, largest=largest, few=few
    )


class Way(NamedTuple):
    """How to compute products.

    kernels (str): Whose kernels these are, for people.
    make (ProductMaker): Makes the products.
    tolerance (float): How far the product of the probe may be from torch's own.
    centred (bool): Whether the rows are to be near zero; see Centres.
    """

    kernels: str
    make: ProductMaker
    tolerance: float
    centred: bool = False


# Which of two ways is faster for many rows was measured; it is not measured anew each time, so that
# the same batch comes out the same, to the last bit, in every process with as many threads.
MKL_IS_FASTER = torch.backends.mkl.is_available() and (
    torch.backends.cpu.get_cpu_capability() == "AVX2"
)

# precision -> ways to compute it on a processor, best first
WAYS: Dict[str, List[Way]] = {
    "fp32": [
        *([Way("oneDNN and MKL", _packed_for_few, 1e-4)] if MKL_IS_FASTER else []),
        Way("oneDNN", _packed(torch.float32), 1e-4),
        Way("torch", _plain(torch.float32), 1e-4),
    ],
    "bf16": [
        Way("oneDNN", _packed(torch.bfloat16), 0.1),
        Way("torch", _plain(torch.bfloat16), 0.1),
    ],
    "int8": [
        Way(f"{kernels}{bits}", _int8(largest, few=few), 0.1, centred=True)
        for largest, bits in ((INT8, ""), (INT8_IN_16_BITS, ", 7 bits a weight"))
        for few, kernels in ((True, "oneDNN and FBGEMM"), (False, "oneDNN"))
    ],
}


def ways_here(inference: str, device: torch.device) -> List[Way]:
    """inference (str): "fp32", "bf16" or "int8".
    device (torch.device): Where to compute.
    RETURNS (List[Way]): Ways to compute it there, best first. The last is torch's own in 32 bits, and
        all there is where the device would be slower in what was asked for."""
    in_32_bits = WAYS["fp32"] if device.type == "cpu" else WAYS["fp32"][-1:]
    if inference == "fp32":
        return in_32_bits
    if device.type != "cpu":
        own = WAYS["bf16"][-1:] if inference == "bf16" else []
    else:
        own = WAYS[inference]
    if inference == "bf16" and not multiplies_bf16(device):
        own = []
    return [*own, *(way._replace(kernels=f"{way.kernels}, 32 bits") for way in in_32_bits)]


def make_engine(encoder: BertEncoder, inference: str) -> Engine:
    """Make an engine of an encoder.

    encoder (BertEncoder): The encoder, with weights.
    inference (str): "fp32", "bf16", "int8", or "auto" for the fastest of them here; see `choose`.
    RETURNS (Engine): The engine. Where this torch, or the device, lacks the kernels for it, it uses
        others, in 32 bits at the last; `kernels` says which.
    """
    device = next(encoder.parameters()).device
    # A caller's autocast would change what the products are, and what they are compared with.
    with torch.autocast(device.type, enabled=False), torch.autocast("cpu", enabled=False):
        if check_inference(inference) == "auto":
            return choose(encoder)
        ways = ways_here(inference, device)
        way = next((way for way in ways[:-1] if _works(way)), ways[-1])
        return Engine(encoder, inference, way.kernels, way.make, centred=way.centred)


_lock = threading.RLock()


def making_engines() -> ContextManager:
    """RETURNS (ContextManager): Held while an engine is made: threads that predict at the same time
    make one between them."""
    return _lock


def _begin_anew() -> None:
    """In a forked child nobody will release what another thread of its parent held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

_probed: Dict[ProductMaker, bool] = {}


def _works(way: Way) -> bool:
    """Whether a small product comes out right: the operators are no public part of torch, and the
    processor may lack what they need."""
    with making_engines():
        if way.make not in _probed:
            _probed[way.make] = _probe(way)
        return _probed[way.make]


def _probe(way: Way) -> bool:
    # Not from torch's generator, which may be in the middle of a training run.
    numbers = np.random.default_rng(0)
    rows, weight, bias = (
        torch.from_numpy(numbers.uniform(-limit, limit, shape).astype("f4"))
        for limit, shape in ((3.0, (FEW_INT8_ROWS + 1, 32)), (0.2, (48, 32)), (0.2, 48))
    )
    layer = Biased(weight, bias)
    with torch.inference_mode(), warnings.catch_warnings():
        # Tensors of 8 bits are to go; where they are gone, oneDNN multiplies few rows, too. It is said
        # once in a process, so it need not be kept from saying it anywhere else.
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
        for activation in (None, "gelu"):
            expected = PlainProduct(layer, activation, torch.float32)(rows)
            for some in (rows[:FEW_ROWS], rows):
                try:
                    found = way.make(layer, activation, None)(some).float()
                    error = (found - expected[: len(some)]).abs().max()
                except (AttributeError, RuntimeError, NotImplementedError, TypeError):
                    return False
                if not error <= way.tolerance:  # nor if it is no number
                    return False
    return True


def choose(encoder: BertEncoder) -> Engine:
    """Measure, on a batch of random pieces, which precision is fastest here.

    encoder (BertEncoder): The encoder, with weights.
    RETURNS (Engine): The fastest whose vectors keep their direction; 32 bits unless another one is
        clearly faster.
    """
    device = next(encoder.parameters()).device
    n_rows = CPU_ROWS if device.type == "cpu" else GPU_ROWS
    batch = random_pieces(encoder.config, n_rows, longest=128).to(device)
    candidates = [make_engine(encoder, "fp32")]
    if multiplies_bf16(device):
        candidates.append(make_engine(encoder, "bf16"))
    if device.type == "cpu":
        candidates.append(make_engine(encoder, "int8"))
    with torch.inference_mode():
        expected = candidates[0](batch)
        best, best_time = candidates[0], _time(candidates[0], batch) / GAIN
        for engine in candidates[1:]:
            likeness = torch.cosine_similarity(engine(batch), expected).mean()
            if likeness >= LIKENESS and (seconds := _time(engine, batch)) < best_time:
                best, best_time = engine, seconds
    return best


def _time(engine: Engine, batch: PackedPieces, *, repeats: int = 2) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        engine(batch)
        if batch.ids.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
