"""Engines compute what the encoder computes, in each precision."""

from typing import Optional

import numpy as np
import pytest
import torch

from spacy_bert.encoder import BertConfig, BertEncoder, initialize_weights, pack
from spacy_bert.encoder import engine as engine_module
from spacy_bert.encoder.activations import ACTIVATIONS, GELU_FLOOR
from spacy_bert.encoder.centring import find_centres
from spacy_bert.encoder.engine import Engine, Way, identity_of, make_engine
from spacy_bert.encoder.precision import multiplies_bf16
from spacy_bert.encoder.products import (
    FEW_INT8_ROWS,
    FEW_ROWS,
    INT8_IN_16_BITS,
    Int8Product,
    PackedForFew,
    PackedProduct,
    PlainProduct,
)

# Cosine of each vector with that of 32 bits, at least.
HAS_FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines
NEEDS_FBGEMM = pytest.mark.skipif(not HAS_FBGEMM, reason="this torch is built without FBGEMM")
LIKENESS = {"fp32": 1 - 1e-6, "bf16": 0.999, "int8": 0.995}


def make_encoder(activation: str = "gelu", seed: int = 0, causal: bool = False) -> BertEncoder:
    config = BertConfig(
        vocab_size=200, width=64, depth=3, heads=4, intermediate_width=256, max_positions=64,
        activation=activation, causal=causal,
    )  # fmt: skip
    torch.manual_seed(seed)
    encoder = BertEncoder(config)
    initialize_weights(encoder, std=0.1)
    for parameter in encoder.parameters():  # biases and norms that do nothing would hide mistakes
        parameter.data += 0.05 * torch.randn_like(parameter)
    return encoder.eval()


def make_batch(lengths=(3, 3, 7, 12, 12, 40, 64), seed: int = 0):
    numbers = np.random.default_rng(seed)
    return pack([numbers.integers(0, 200, n) for n in lengths])


def expected(encoder, batch):
    with torch.inference_mode():
        return encoder(batch)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_like_encoder(precision: str, activation: str) -> None:
    """Catches a forgotten bias, norm, residual or activation, and a precision that is too coarse."""
    encoder, batch = make_encoder(activation), make_batch()
    engine = make_engine(encoder, precision)
    with torch.inference_mode():
        found = engine(batch)
    reference = expected(encoder, batch)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, reference).min() > LIKENESS[precision]
    if precision == "fp32" or engine.kernels.endswith("32 bits"):
        assert torch.allclose(found, reference, atol=1e-5)
    else:
        assert not torch.equal(found, reference)  # that precision was taken


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_causal_and_layers_like_encoder(precision: str) -> None:
    """Catches an engine that looks ahead where its encoder does not, and layers that are counted
    otherwise, or left out."""
    encoder, batch = make_encoder(causal=True), make_batch()
    found, reference = [], []
    with torch.inference_mode():
        last = make_engine(encoder, precision)(batch, hidden_states=found)
        encoder(batch, hidden_states=reference)
        both_ways = encoder(batch, causal=False)
    assert torch.equal(last, found[-1]) and len(found) == len(reference) == 4
    for ours, theirs in zip(found, reference):
        assert torch.cosine_similarity(ours.float(), theirs).min() > LIKENESS[precision]
    assert torch.cosine_similarity(both_ways, last).min() < 0.9


def test_centring_changes_nothing() -> None:
    """Catches a centre that is taken away and not given back: behind the embeddings, in a residual sum,
    or in one of the layers asked for."""
    encoder, batch = make_encoder(), make_batch()
    way = engine_module.WAYS["fp32"][-1]
    found, reference = [], []
    with torch.inference_mode():
        last = Engine(encoder, "fp32", "torch", way.make, centred=True)(batch, hidden_states=found)
        encoder(batch, hidden_states=reference)
    assert torch.equal(last, found[-1])
    for ours, theirs in zip(found, reference, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    centres = find_centres(encoder)
    assert len(centres) == 3 and all(
        c.before.abs().max() > 0.1 for c in centres
    )  # there was something


def test_inputs_far_from_zero() -> None:
    """Catches 8 bits spent on what is the same in every row."""
    encoder, batch = make_encoder(), make_batch()
    with torch.no_grad():
        encoder.embeddings.norm.bias[5] += 20.0
        for layer in encoder.layers:
            layer.attention_norm.bias[7] -= 20.0
            layer.output_norm.bias[9] += 20.0
    reference = expected(encoder, batch)
    way = engine_module.WAYS["int8"][-1]
    with torch.inference_mode():
        errors = [
            (Engine(encoder, "int8", "", way.make, centred=centred)(batch) - reference).norm()
            for centred in (True, False)
        ]
    assert errors[0] < 0.7 * errors[1]
    assert make_engine(encoder, "int8")._layers[0].centres is not None


def test_fast_kernels_here() -> None:
    """Catches operators of oneDNN that this torch no longer has: all would fall back, unnoticed."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    encoder = make_encoder()
    has_bf16 = multiplies_bf16(torch.device("cpu"))
    in_32_bits = "oneDNN and MKL" if engine_module.MKL_IS_FASTER else "oneDNN"
    assert make_engine(encoder, "fp32").kernels == in_32_bits
    assert make_engine(encoder, "bf16").kernels == (
        "oneDNN" if has_bf16 else f"{in_32_bits}, 32 bits"
    )
    int8 = make_engine(encoder, "int8").kernels
    assert int8.partition(",")[0] == ("oneDNN and FBGEMM" if HAS_FBGEMM else "oneDNN")


def test_bf16_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches bfloat16 on a processor that has to emulate it: five times slower than 32 bits."""
    encoder, batch = make_encoder(), make_batch()
    monkeypatch.setattr(engine_module, "multiplies_bf16", lambda device: False)
    engine = make_engine(encoder, "bf16")
    assert str(engine).startswith("bf16, ") and str(engine).endswith(", 32 bits")
    with torch.inference_mode():
        assert torch.equal(engine(batch), make_engine(encoder, "fp32")(batch))
    monkeypatch.setattr(engine_module, "multiplies_bf16", lambda device: True)
    assert "32 bits" not in make_engine(encoder, "bf16").kernels


def test_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a torch without the operators ending in an error."""
    encoder, batch = make_encoder(), make_batch()

    def lacking(layer, activation, floor):
        raise AttributeError("no such operator")

    for precision, ways in engine_module.WAYS.items():
        without = [way._replace(make=lacking) if "oneDNN" in way.kernels else way for way in ways]
        monkeypatch.setitem(engine_module.WAYS, precision, without)
    for precision in ("fp32", "bf16", "int8"):
        engine = make_engine(encoder, precision)
        assert engine.kernels.startswith("torch") and precision in str(engine)
        assert torch.cosine_similarity(engine(batch), expected(encoder, batch)).min() > 0.999


def test_wrong_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a kernel that answers, but wrongly, being trusted."""

    def wrong(layer, activation, floor):
        product = PlainProduct(layer, activation, torch.float32)
        return lambda rows: product(rows) + 1.0

    def of_other_shape(layer, activation, floor):
        product = PlainProduct(layer, activation, torch.float32)
        return lambda rows: product(rows)[:-3, :-1]

    ways = [Way("oneDNN", make, 1e-4) for make in (wrong, of_other_shape)]
    way = engine_module.WAYS["fp32"][-1]
    monkeypatch.setitem(engine_module.WAYS, "fp32", [*ways, way])
    assert make_engine(make_encoder(), "fp32").kernels == "torch"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_batch_does_not_matter(precision: str) -> None:
    """Catches scales that are shared between rows, and kernels that disagree: a text would come out
    differently in company."""
    encoder = make_encoder()
    engine = make_engine(encoder, precision)
    numbers = np.random.default_rng(1)
    sequences = [numbers.integers(0, 200, n) for n in (5, 9, 9, 33, 49, 49)]
    assert sum(map(len, sequences)) > FEW_INT8_ROWS
    with torch.inference_mode():
        together = engine(pack(sequences)).split([len(s) for s in sequences])
        for sequence, rows in zip(sequences, together):
            alone = engine(pack([sequence]))
            assert torch.allclose(alone, rows, rtol=1e-5, atol=1e-5)
            # A last bit that differs is enough to round an activation to another byte.
            assert precision != "int8" or torch.equal(alone, rows)


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_new", "relu"])
def test_packed_for_few(activation: Optional[str]) -> None:
    """Catches an activation that is left out, or applied twice, on one side of the border."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    rows = torch.randn(FEW_ROWS + 1, 64)
    product = PackedForFew(layer, activation)
    expected = layer(rows) if activation is None else ACTIVATIONS[activation].function(layer(rows))
    for n_rows in (1, FEW_ROWS, FEW_ROWS + 1):
        assert torch.allclose(product(rows[:n_rows]), expected[:n_rows], atol=1e-5)
    del product.few
    product(rows)
    with pytest.raises(AttributeError, match="few"):
        product(rows[:FEW_ROWS])


def test_int8_floor() -> None:
    """Catches an offset of activations that is not taken out again."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    rows = torch.nn.functional.gelu(torch.randn(50, 64) * 2)
    exact = layer(rows).detach()
    errors = {}
    for floor in (None, GELU_FLOOR):
        product = Int8Product(layer, None, floor=floor, largest=INT8_IN_16_BITS)
        errors[floor] = (product(rows) - exact).abs().mean()
    assert errors[GELU_FLOOR] < errors[None] < 0.02
    assert torch.nn.functional.gelu(torch.linspace(-3, 3, 10_001)).min() >= GELU_FLOOR


@NEEDS_FBGEMM
@pytest.mark.parametrize("floor", [None, GELU_FLOOR])
def test_few_rows_as_many(floor: Optional[float]) -> None:
    """Catches two kernels that round otherwise, or take another zero; and one that is never asked."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    rows = torch.nn.functional.gelu(torch.randn(FEW_INT8_ROWS + 1, 64) * 2)
    # Just below halfway between two steps: what is rounded after 128 was added falls on the other side.
    rows[:, 0], rows[:, 1] = 127.0, torch.arange(FEW_INT8_ROWS + 1) % 126 + 0.499997
    engine = torch.backends.quantized.engine
    product = Int8Product(layer, None, floor=floor, largest=INT8_IN_16_BITS, few=True)
    many = product(rows)
    assert torch.equal(many[:FEW_INT8_ROWS], product(rows[:FEW_INT8_ROWS]))
    assert torch.equal(many[-1:], product(rows[-1:]))
    assert torch.backends.quantized.engine == engine
    del product.packed
    product(rows[:FEW_INT8_ROWS])
    with pytest.raises(AttributeError, match="packed"):
        product(rows)


@pytest.mark.parametrize("few", [False, pytest.param(True, marks=NEEDS_FBGEMM)])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e20])
def test_int8_extremes(scale: float, few: bool) -> None:
    """Catches a division by zero or an overflow in rows of zeros and of very large numbers."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    rows = scale * torch.randn(4, 64)
    product = Int8Product(layer, None, largest=INT8_IN_16_BITS, few=few)
    found, exact = product(rows), layer(rows).detach()
    assert torch.isfinite(found).all()
    assert (found - exact).abs().max() <= 0.05 * exact.abs().max()


def test_products_copy_nothing_they_need_not() -> None:
    """Catches a second copy of 32-bit weights where torch's own kernels read them in place."""
    layer = torch.nn.Linear(8, 8)
    assert PlainProduct(layer, None, torch.float32).weight.data_ptr() == layer.weight.data_ptr()
    assert PackedProduct(layer, None, torch.float32).packed.is_mkldnn


def test_knows_its_weights() -> None:
    """Catches an engine that goes on with old weights after a step or a load."""
    encoder = make_encoder()
    engine = make_engine(encoder, "fp32")
    assert engine.identity == identity_of(encoder)
    with torch.no_grad():
        encoder.layers[1].up.weight += 0.1
    assert engine.identity != identity_of(encoder)
    engine = make_engine(encoder, "fp32")
    encoder.load_state_dict({k: v.clone() for k, v in encoder.state_dict().items()}, assign=True)
    assert engine.identity != identity_of(encoder)
    engine = make_engine(encoder, "fp32")
    up = encoder.layers[1].up
    for _ in range(50):  # new ones may well get the memory that others have left
        up.weight = torch.nn.Parameter(up.weight.detach() * 1.01)
        assert engine.identity != identity_of(encoder)


def test_knows_its_settings() -> None:
    """Catches an engine that goes on with other heads, another activation or another epsilon, or
    is made anew with those of the config."""
    encoder = make_encoder()
    layer = encoder.layers[1]
    for module, name, value in (
        (layer.attention, "heads", 2),
        (layer, "activation", "relu"),
        (layer.output_norm, "eps", 0.5),
    ):
        before = identity_of(encoder)
        setattr(module, name, value)
        assert before != identity_of(encoder) is not None
        with torch.inference_mode():
            found = make_engine(encoder, "fp32")(make_batch())
        torch.testing.assert_close(found, expected(encoder, make_batch()), atol=1e-5, rtol=0)


def test_auto_keeps_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches speed being taken at any price: what turns vectors around is left out."""
    encoder = make_encoder()
    chosen = make_engine(encoder, "auto")
    assert isinstance(chosen, Engine) and chosen.precision in ("fp32", "bf16", "int8")
    monkeypatch.setattr(engine_module, "LIKENESS", 1.1)
    assert make_engine(encoder, "auto").precision == "fp32"
    monkeypatch.setattr(engine_module, "LIKENESS", -1.0)
    monkeypatch.setattr(engine_module, "GAIN", 1e-6)
    assert make_engine(encoder, "auto").precision != "fp32"


def test_unknown_precision() -> None:
    """Catches a misspelt precision being taken for the default."""
    with pytest.raises(ValueError, match="'fp16', but it must be one of fp32, bf16, int8, auto"):
        make_engine(make_encoder(), "fp16")


def test_too_long() -> None:
    """Catches positions beyond the table being read."""
    with pytest.raises(ValueError, match="65 pieces is longer than the encoder's 64 positions"):
        make_engine(make_encoder(), "fp32")(make_batch([65]))


def test_leaves_the_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a probe that draws random numbers: a training run would go on with others, and end
    with other weights, because something was predicted in between."""
    monkeypatch.setattr(engine_module, "_probed", {})
    encoder = make_encoder()
    before = torch.get_rng_state()
    for precision in ("fp32", "bf16", "int8", "auto"):
        make_engine(encoder, precision)
    assert torch.equal(torch.get_rng_state(), before)


def test_sees_what_was_added() -> None:
    """Catches an engine that computes past an adapter, a hook, or a replaced forward."""
    encoder = make_encoder()
    up = encoder.layers[0].up
    assert identity_of(encoder) is not None
    handle = up.register_forward_hook(lambda module, inputs, output: output)
    assert identity_of(encoder) is None
    handle.remove()
    assert identity_of(encoder) is not None
    up.forward = lambda rows: rows
    assert identity_of(encoder) is None
    del up.forward
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *args: None)
    assert identity_of(encoder) is None
    handle.remove()
    attention = encoder.layers[0].attention
    attend, attention.attend = attention.attend, lambda *args, **kwargs: args[0]
    assert identity_of(encoder) is None
    attention.attend, bias = attend, up.bias
    up.bias = None
    assert identity_of(encoder) is None
    up.bias = bias
    assert identity_of(encoder) is not None
    encoder.layers[0].up = torch.nn.Sequential(up)
    assert identity_of(encoder) is None
