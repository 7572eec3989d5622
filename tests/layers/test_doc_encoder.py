"""Docs -> vectors and back, against a slow reference and finite differences."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import torch
from spacy.tokens import Doc

import spacy_bert
from spacy_bert.encoder import BertConfig, load_checkpoint
from spacy_bert.layers import doc_windows
from spacy_bert.layers import shim as shim_module
from spacy_bert.layers.doc_encoder import (
    POOLINGS,
    DocGradients,
    DocVectors,
    doc_encoder,
    find_part,
)
from spacy_bert.models.encoder import Bert

from .reference import build, network_of, slow_vectors

OUTPUTS = ("tokens", *POOLINGS)
LONG = "Alice lives in Paris, and Bob doesn't: he works (or worked) in 42 London cafés! " * 2


@pytest.fixture
def nlp(tiny_checkpoint: Path) -> Any:
    """Windows so short that most Docs need several, micro-batches of about two of them."""
    settings = {"window": 12, "stride": 7, "batch_pieces": 25}
    return spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": settings})


@pytest.fixture
def model(nlp: Any) -> Any:
    model = nlp.get_pipe("bert").model
    find_part(model, "doc-encoder").attrs["poolings"] = list(POOLINGS)
    return model


@pytest.fixture
def docs(nlp: Any) -> List[Doc]:
    """Every kind of Doc, those without pieces between others."""
    plain = [LONG, "Bob.", "", "don't", " \n ", LONG[:90], "\u200d x", "\u200d"]
    pairs = [("Bob works?", LONG), ("was it", "Bob"), (LONG, "Alice lives. " * 4), ("", "a b")]
    made = [nlp.make_doc(text) for text in plain]
    made[3:3] = [spacy_bert.make_pair(nlp, a, b) for a, b in pairs]
    return made


def flat(vectors: DocVectors) -> Dict[str, np.ndarray]:
    return {"tokens": np.concatenate(vectors.tokens), **vectors.pooled}


def random_like(arrays: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=a.shape).astype(np.float32) for n, a in arrays.items()}


def gradients_of(output: str, docs: List[Doc], gradient: np.ndarray) -> DocGradients:
    if output != "tokens":
        return DocGradients(tokens=None, pooled={output: gradient})
    ends = np.cumsum([len(doc) for doc in docs])
    return DocGradients(tokens=np.split(gradient, ends[:-1]), pooled={})


def weight_gradients(model: Any) -> Dict[str, torch.Tensor]:
    parameters = network_of(model).named_parameters()
    found = {n: p.grad.to_dense() for n, p in parameters if p.grad is not None}
    network_of(model).zero_grad(set_to_none=True)
    return found


@pytest.mark.fp32
def test_vectors(model: Any, docs: List[Doc]) -> None:
    """A piece that goes to the wrong token, is counted twice, or is read from the wrong window; a
    pooling over the wrong rows; a wrong segment type; a Doc without pieces that shifts the others."""
    vectors = model.predict(docs)
    assert len(find_part(model, "doc-windows").predict(docs).micro_batches) > 5
    assert max(len(pieces.windows) for pieces in vectors.pieces) > 3
    assert [len(tokens) for tokens in vectors.tokens] == [len(doc) for doc in docs]
    found, expected = flat(vectors), slow_vectors(model, docs)
    assert sorted(found) == sorted(OUTPUTS)
    for name in OUTPUTS:
        torch.testing.assert_close(
            torch.from_numpy(found[name]), expected[name].detach(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("batch_pieces", [1, 13, 10_000])
def test_batch_independence(model: Any, docs: List[Doc], batch_pieces: int) -> None:
    """A vector that depends on the Docs beside it, or on how the work was cut up."""
    find_part(model, "doc-windows").attrs["batch_pieces"] = batch_pieces
    together = flat(model.predict(docs))
    find_part(model, "doc-windows").attrs["batch_pieces"] = 25
    alone = [flat(model.predict([doc])) for doc in docs]
    for name in OUTPUTS:
        singly = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(together[name], singly, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("output", OUTPUTS)
def test_gradient_of_reference(model: Any, docs: List[Doc], output: str) -> None:
    """A gradient that is lost or doubled on its way through micro-batches, windows or pooling."""
    vectors, backprop = model.begin_update(docs)
    gradient = random_like(flat(vectors))[output]
    backprop(gradients_of(output, docs, gradient))
    found = weight_gradients(model)

    slow_vectors(model, docs)[output].backward(torch.from_numpy(gradient))
    expected = weight_gradients(model)
    assert found.keys() == expected.keys()
    assert ("pooler.dense.weight" in found) == (output == "pooler")
    for name in expected:
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4 * scale + 1e-6)


@pytest.mark.fp32
@pytest.mark.parametrize("output", OUTPUTS)
def test_finite_differences(model: Any, docs: List[Doc], output: str) -> None:
    """A backward pass that is not that of the forward pass."""
    vectors, backprop = model.begin_update(docs)
    gradient = random_like(flat(vectors))[output]
    backprop(gradients_of(output, docs, gradient))
    slopes = weight_gradients(model)
    weights = dict(network_of(model).named_parameters())

    def loss_at(step: float) -> float:
        with torch.no_grad():
            for name in slopes:
                weights[name] += step * directions[name]
        value = float((flat(model.predict(docs))[output].astype(np.float64) * gradient).sum())
        with torch.no_grad():
            for name in slopes:
                weights[name] -= step * directions[name]
        return value

    # Along the gradient itself, where the slope stands out from fp32's rounding.
    length = float(sum((slope.double() ** 2).sum() for slope in slopes.values())) ** 0.5
    directions = {name: slope / length for name, slope in slopes.items()}
    found = (loss_at(2e-3) - loss_at(-2e-3)) / 4e-3
    assert found == pytest.approx(length, rel=0.02)


@pytest.mark.fp32
@pytest.mark.parametrize("layers", [[0], [-2], [-1, 1], [-3, -2, -1]])
def test_layers(tiny_checkpoint: Path, docs: List[Doc], layers: List[int]) -> None:
    """Vectors of other layers than those asked for, or in another order; a prediction (engine) and
    a training pass that disagree; a gradient that reaches the last layer only."""
    model = build(tiny_checkpoint, layers=layers)
    poolings = [name for name in POOLINGS if name != "pooler"]
    find_part(model, "doc-encoder").attrs["poolings"] = poolings
    assert model.get_dim("nO") == 32 * len(layers)
    expected, trained = slow_vectors(model, docs), model.begin_update(docs)[0]
    for found in (flat(model.predict(docs)), flat(trained)):
        assert sorted(found) == sorted(["tokens", *poolings])
        for name, value in found.items():
            torch.testing.assert_close(
                torch.from_numpy(value), expected[name].detach(), rtol=1e-4, atol=1e-5
            )
    usual = flat(build(tiny_checkpoint).predict(docs))["tokens"]
    for i, layer in enumerate(layers):
        part = flat(trained)["tokens"][:, 32 * i : 32 * (i + 1)]
        assert np.allclose(part, usual, atol=1e-5) == (layer == -1)
    found_slopes = run(model, docs)
    gradient = random_like({"tokens": flat(trained)["tokens"]})["tokens"]
    slow_vectors(model, docs)["tokens"].backward(torch.from_numpy(gradient))
    slopes = weight_gradients(model)
    assert found_slopes.keys() == slopes.keys()
    for name in slopes:
        torch.testing.assert_close(found_slopes[name], slopes[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layers", [[], [3], [-4], [-1, 2]])
def test_layers_that_are_not_there(layers: List[int]) -> None:
    """A layer that is taken from the other end, or one that counts twice."""
    with pytest.raises(
        ValueError, match="layers is .*, but it must list different ones .* 2 layers"
    ):
        doc_encoder(BertConfig.from_size("tiny"), layers=layers)


def test_pooler_of_other_layers(tiny_checkpoint: Path, docs: List[Doc]) -> None:
    """A pooler that reads what it was not pretrained on."""
    model = build(tiny_checkpoint, layers=[-2])
    find_part(model, "doc-encoder").attrs["poolings"] = ["pooler"]
    for attempt in (model.predict, model.begin_update):
        with pytest.raises(ValueError, match="pooler reads the last layer, but layers is"):
            attempt(docs)


@pytest.mark.fp32
def test_left_to_right(make_checkpoint: Callable[..., Path], docs: List[Doc]) -> None:
    """A checkpoint that was pretrained left to right and is read both ways, in prediction or in
    training; one that is loaded into an encoder of the other kind."""
    checkpoint = make_checkpoint(causal=True)
    assert load_checkpoint(checkpoint).config.causal
    model = build(checkpoint, window=64, stride=32)
    find_part(model, "doc-encoder").attrs["poolings"] = []
    nlp = spacy_bert.from_checkpoint(checkpoint)
    text = "Alice lives in Paris , and Bob"
    for whole, start in (
        (model.predict, model.predict),
        (lambda d: model.begin_update(d)[0], model.predict),
        (lambda d: nlp.get_pipe("bert").predict(d), model.predict),
    ):
        long, short = nlp.make_doc(f"{text} works in London."), nlp.make_doc(text)
        found, expected = whole([long]).tokens[0], start([short]).tokens[0]
        np.testing.assert_allclose(found[: len(short)], expected, atol=1e-5)
    with pytest.raises(ValueError, match="causal = False where the checkpoint has True"):
        build(checkpoint, causal=False)


def test_gradients_add_up(model: Any, docs: List[Doc]) -> None:
    """A gradient that replaces another: of two outputs, or of two batches before one step."""
    vectors, _ = model.begin_update(docs)
    gradient = random_like(flat(vectors))
    both = gradients_of("tokens", docs, gradient["tokens"])
    both.pooled["cls"] = gradient["cls"]
    model.begin_update(docs)[1](both)
    together = weight_gradients(model)
    for output in ("tokens", "cls"):
        model.begin_update(docs)[1](gradients_of(output, docs, gradient[output]))
    one_by_one = weight_gradients(model)
    assert together.keys() == one_by_one.keys()
    for name in together:
        torch.testing.assert_close(together[name], one_by_one[name], rtol=1e-3, atol=1e-3)


def run(model: Any, docs: List[Doc]) -> Dict[str, torch.Tensor]:
    vectors, backprop = model.begin_update(docs)
    gradient = random_like({"tokens": flat(vectors)["tokens"]})["tokens"]
    backprop(gradients_of("tokens", docs, gradient))
    return weight_gradients(model)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing(
    make_checkpoint: Callable[..., Path],
    docs: List[Doc],
    monkeypatch: pytest.MonkeyPatch,
    dropout: float,
) -> None:
    """A setting that never reaches the encoder; activations recomputed in another mode or with
    other dropout masks than the first time."""
    from spacy_bert.encoder import bert

    checkpoint = make_checkpoint(hidden_dropout=dropout, attention_dropout=dropout)
    recomputed = []
    original = bert.checkpoint
    monkeypatch.setattr(
        bert, "checkpoint", lambda *args, **kw: recomputed.append(1) or original(*args, **kw)
    )
    torch.manual_seed(0)
    expected = run(build(checkpoint), docs)
    assert not recomputed
    model = build(checkpoint, gradient_checkpointing=True)
    model.predict(docs)
    assert not recomputed
    torch.manual_seed(0)
    found = run(model, docs)
    assert len(recomputed) >= 2 * 5  # layers x micro-batches
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-3)


def test_mixed_precision(tiny_checkpoint: Path, docs: List[Doc]) -> None:
    """A setting that never reaches the encoder; bfloat16 where it was not asked for, as in
    prediction; results or gradients that leave the layer as anything but float32."""
    model, exact = build(tiny_checkpoint, mixed_precision=True), build(tiny_checkpoint)
    dtypes: List[torch.dtype] = []
    network_of(model).encoder.layers[0].up.register_forward_hook(
        lambda module, inputs, output: dtypes.append(output.dtype)
    )
    model.predict(docs)
    assert set(dtypes) == {torch.float32}
    dtypes.clear()
    vectors, _ = model.begin_update(docs)
    assert set(dtypes) == {torch.bfloat16}
    assert flat(vectors)["tokens"].dtype == np.float32
    found, expected = run(model, docs), run(exact, docs)
    for name in expected:
        assert found[name].dtype == torch.float32
        assert torch.isfinite(found[name]).all()
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(found[name], expected[name], rtol=0.2, atol=0.1 * scale)
    name = "encoder.layers.0.up.weight"
    assert not torch.equal(found[name], expected[name])


@pytest.mark.parametrize("has_instructions", [True, False])
def test_auto_precision(
    tiny_checkpoint: Path, docs: List[Doc], monkeypatch: pytest.MonkeyPatch, has_instructions: bool
) -> None:
    """ "auto" that does not ask the hardware, or does not listen to the answer."""
    monkeypatch.setattr(shim_module, "multiplies_bf16", lambda device: has_instructions)
    model = build(tiny_checkpoint, mixed_precision="auto")
    dtypes: List[torch.dtype] = []
    network_of(model).encoder.layers[0].up.register_forward_hook(
        lambda module, inputs, output: dtypes.append(output.dtype)
    )
    model.begin_update(docs)
    assert set(dtypes) == {torch.bfloat16 if has_instructions else torch.float32}


def test_unknown_precision(tiny_checkpoint: Path) -> None:
    """A misspelt precision that trains in another one without a word."""
    with pytest.raises(ValueError, match="mixed_precision is 'fp8'"):
        doc_encoder(BertConfig.from_size("tiny"), mixed_precision="fp8")


def test_no_docs(model: Any) -> None:
    """A batch without Docs that fails, forward or backward."""
    vectors, backprop = model.begin_update([])
    assert vectors.tokens == [] and vectors.pooled["mean"].shape == (0, 32)
    backprop(DocGradients(tokens=[], pooled={}))
    assert weight_gradients(model) == {}


def test_micro_batches(model: Any, docs: List[Doc]) -> None:
    """Micro-batches above the budget; windows not sorted by length; rows that no window has; [CLS]
    or [SEP] anywhere else than at the ends of segments."""
    batch = find_part(model, "doc-windows").predict(docs)
    tokenizer = find_part(model, "doc-windows").attrs["tokenizer"].get()
    lengths = [length for part in batch.micro_batches for length in part.pieces.lengths]
    assert lengths == sorted(lengths)
    assert len(lengths) == sum(len(pieces.windows) for pieces in batch.docs)
    for part in batch.micro_batches:
        n_rows = sum(part.pieces.lengths)
        assert n_rows <= 25 and n_rows == len(part.pieces.ids)
        assert (part.pieces.ids[part.cls_rows] == tokenizer.cls_id).all()
        assert (part.pieces.ids == tokenizer.cls_id).sum() == len(part.pieces.lengths)
        assert (part.pieces.ids[part.pieces.cu_seqlens[1:] - 1] == tokenizer.sep_id).all()
        for rows in (part.token_rows, part.pool_rows):
            assert rows.size == 0 or (rows.min() >= 0 and rows.max() < n_rows)
    assert find_part(model, "doc-windows").attrs["batch_pieces"] == 25
    find_part(model, "doc-windows").attrs["batch_pieces"] = 3
    parts = find_part(model, "doc-windows").predict(docs).micro_batches
    # A window that is longer than the budget is computed all the same, alone.
    assert all(len(part.pieces.lengths) == 1 or sum(part.pieces.lengths) <= 3 for part in parts)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"batch_pieces": 0}, "batch_pieces"),
        ({"window": 7, "stride": 2}, "window"),
        ({"window": 12, "stride": 11}, "stride"),
    ],
)
def test_bad_settings(settings: Dict[str, int], named: str) -> None:
    """A setting that fails in the middle of training, or with an error that does not name it."""
    with pytest.raises(ValueError, match=named):
        doc_windows.doc_windows(**{"window": 12, "stride": 7, "batch_pieces": 25, **settings})


def test_not_loaded(nlp: Any) -> None:
    """An encoder without weights that gives anything but advice."""
    sizes = dict(width=32, depth=2, heads=4, intermediate_width=64, max_positions=64)
    model = Bert(vocab_size=99, window=12, stride=7, **sizes)
    doc = nlp.make_doc("Bob")
    for attempt in (model.predict, model.begin_update, lambda docs: model.initialize(X=docs)):
        with pytest.raises(ValueError, match="neither weights nor vocabulary"):
            attempt([doc])
