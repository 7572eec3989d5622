"""Listeners read what their encoder left on a Doc, or say that it left nothing."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import spacy
from spacy.training.initialize import init_nlp

from spacy_bert.encoder import load_checkpoint
from spacy_bert.layers.optimizer import AdamW

from .conftest import examples_of, head_weights, is_same, listener_config, weights_of
from .reference import slow_vectors

OURS = ["tokens", "pooled"]
LINEAR: Dict[str, Any] = {"@architectures": "toy.Linear.v1", "tok2vec": listener_config("tokens")}


def linear(kind: str) -> Dict[str, Any]:
    return {**LINEAR, "tok2vec": listener_config(kind)}


@pytest.mark.fp32
@pytest.mark.parametrize("kind", ["tokens", "pooled", "stock"])
def test_prediction(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """A listener that gives another Doc's vectors, or another vector of the same."""
    nlp = make_nlp(head=kind)
    docs = list(nlp.pipe(texts))
    outputs = nlp.get_pipe("head").model.predict(docs)
    for doc, output in zip(docs, outputs):
        vectors = slow_vectors(nlp.get_pipe("bert").model, [doc])
        expected = vectors["mean"][0] if kind == "pooled" else vectors["tokens"]
        np.testing.assert_allclose(output, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.fp32
@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
def test_poolings(make_nlp: Callable, texts: List[str], pooling: str) -> None:
    """A pooling that the encoder does not make because nobody told it, in prediction or training."""
    nlp = make_nlp(head=listener_config("pooled", pooling=pooling))
    listener = nlp.get_pipe("head").model
    expected = slow_vectors(nlp.get_pipe("bert").model, [nlp.make_doc(text) for text in texts])
    predicted = listener.predict(list(nlp.pipe(texts)))
    np.testing.assert_allclose(predicted, expected[pooling].detach(), rtol=1e-4, atol=1e-5)
    examples = examples_of(nlp, texts)
    nlp.get_pipe("bert").update(examples)
    trained, _ = listener.begin_update([example.predicted for example in examples])
    np.testing.assert_allclose(trained, predicted, rtol=1e-4, atol=1e-5)


def test_unknown_pooling(make_nlp: Callable) -> None:
    """A misspelt pooling that is found when the first text comes."""
    with pytest.raises(ValueError, match="pooling is 'CLS', .* cls, pooler, mean, max"):
        make_nlp(head=listener_config("pooled", pooling="CLS"))


@pytest.mark.parametrize("kind", OURS)
def test_encoder_that_did_not_predict(make_nlp: Callable, kind: str) -> None:
    """Zeros in the place of vectors: predictions that look like some."""
    nlp = make_nlp(head=kind)
    message = r"E203.*'Bob works' has no .*encoder 'bert'"
    with nlp.select_pipes(disable="bert"), pytest.raises(ValueError, match=message):
        nlp("Bob works")
    # One Doc of several, in the middle.
    docs = [nlp("Alice"), nlp.make_doc("Bob works"), nlp("Carol")]
    with pytest.raises(ValueError, match="'Bob works' has no"):
        nlp.get_pipe("head").model.predict(docs)


@pytest.mark.parametrize("kind", OURS)
def test_encoder_after_its_listener(make_nlp: Callable, kind: str) -> None:
    """A pipeline in the wrong order that works on zeros."""
    nlp = make_nlp(head=kind)
    nlp.add_pipe("toy_head", name="early", first=True, config={"model": listener_config(kind)})
    with pytest.raises(ValueError, match="E203"):
        nlp("Bob works")


@pytest.mark.parametrize("kind", [*OURS, "stock"])
def test_encoder_that_was_not_updated(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """Training on nothing where the encoder is frozen and does not annotate."""
    nlp = make_nlp(head=kind)
    with pytest.raises(ValueError, match="E203"):
        nlp.update(examples_of(nlp, texts), exclude=["bert"], sgd=AdamW(0.01))


def test_head_for_another_device(make_nlp: Callable, texts: List[str]) -> None:
    """Catches `spacy.require_gpu()` between an encoder and its heads ending in a TypeError out of Thinc."""
    nlp = make_nlp(head="tokens")
    (listener,) = nlp.get_pipe("bert").listeners
    listener.ops = SimpleNamespace(device_type="gpu")
    with pytest.raises(ValueError, match=r"'bert' was made for the CPU.* the GPU.*require_gpu"):
        nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))


@pytest.mark.filterwarnings("ignore:A head that listens to")
@pytest.mark.parametrize("kind", OURS)
def test_docs_of_no_batch(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """Docs that are not those the encoder was updated with (a component in between made others),
    answered from the batch all the same."""
    nlp = make_nlp(head=kind)
    listener = nlp.get_pipe("head").model
    nlp.get_pipe("bert").update(examples_of(nlp, texts))
    with pytest.raises(ValueError, match="E203.*'Bob' has no"):
        listener.begin_update([nlp.make_doc("Bob")])
    # Annotated ones are read as in prediction, and nothing flows back.
    output, backprop = listener.begin_update([nlp("Bob")])
    np.testing.assert_array_equal(output, listener.predict([nlp("Bob")]))
    backprop(output)
    assert nlp.get_pipe("bert")._batch.reported == set()


@pytest.mark.fp32
@pytest.mark.parametrize("kind", [*OURS, "stock"])
def test_frozen_encoder(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """A frozen and annotating encoder that learns, or whose listeners learn nothing or from other
    vectors than a trained one's."""
    config = linear(kind) if kind != "pooled" else listener_config("pooled")
    nlp, free = make_nlp(head=config), make_nlp(head=config)
    before, head = weights_of(nlp), head_weights(nlp, "head")
    nlp.update(examples_of(nlp, texts), exclude=["bert"], annotates=["bert"], sgd=AdamW(0.01))
    free.update(examples_of(free, texts), sgd=AdamW(0.01))
    assert is_same(before, weights_of(nlp))
    if kind != "pooled":
        assert not np.array_equal(head[0], head_weights(nlp, "head")[0])
        for a, b in zip(head_weights(nlp, "head"), head_weights(free, "head")):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    # And it can be trained again afterwards.
    nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))
    assert not is_same(before, weights_of(nlp))


@pytest.mark.parametrize("kind", OURS)
def test_frozen_encoder_and_broken_loss(make_nlp: Callable, kind: str) -> None:
    """A head that is stepped with NaN because its encoder is frozen and nobody looks."""
    nlp = make_nlp(head=linear("tokens") if kind == "tokens" else listener_config("pooled"))
    head = head_weights(nlp, "head")
    with pytest.raises(FloatingPointError, match="batch of 1 Docs that starts with 'poison'"):
        nlp.update(examples_of(nlp, ["poison"]), exclude=["bert"], annotates=["bert"])
    for a, b in zip(head, head_weights(nlp, "head")):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", OURS)
def test_initialization(make_nlp: Callable, kind: str) -> None:
    """Thinc predicts on Docs that no encoder has seen, to find out shapes. A listener that fails
    there, or one that goes on answering zeros for those Docs when initialisation is over."""
    nlp = make_nlp()
    config = listener_config("pooled") if kind == "pooled" else LINEAR
    head = nlp.add_pipe("toy_head", config={"model": config})
    examples = examples_of(nlp, ["Bob works", "Alice", ""])
    nlp.initialize(lambda: examples)
    assert head.shapes == ([(32,)] * 3 if kind == "pooled" else [(2, 3), (1, 3), (0, 3)])
    docs = [example.x for example in examples]
    with pytest.raises(ValueError, match="'Bob works' has no"):
        head.model.predict(docs)


def test_initialization_without_encoder(make_nlp: Callable) -> None:
    """With a frozen encoder, spaCy initialises the heads alone and links nothing afterwards: the
    exemption has to end by itself."""
    nlp = make_nlp()
    head = nlp.add_pipe("toy_head", config={"model": LINEAR})
    examples = examples_of(nlp, ["Bob works", "Alice"])
    with nlp.select_pipes(disable="bert"):
        nlp.initialize(lambda: examples)
    head.model.predict([nlp("Carol")])
    with pytest.raises(ValueError, match="'Bob works' has no"):
        head.model.predict([example.x for example in examples])


@pytest.mark.parametrize("kind", [*OURS, "stock"])
def test_width(make_nlp: Callable, kind: str) -> None:
    """A width that is not the encoder's, found by a matrix product in training, if at all."""
    with pytest.raises(ValueError, match="declares width = 48, .*'bert' makes .* Set width = 32"):
        make_nlp(head=listener_config(kind, width=48, upstream="bert"))


def test_width_of_the_nearest(make_nlp: Callable, make_checkpoint: Callable[..., Path]) -> None:
    """A listener to "*" that is refused because of the width of an encoder that is not its own."""
    other = make_checkpoint(width=16, heads=2)
    nlp = make_nlp()
    model = {**nlp.get_pipe_config("bert")["model"], "width": 16, "heads": 2}
    nlp.add_pipe("bert", name="small", config={"model": model})
    nlp.get_pipe("small").load_checkpoint(load_checkpoint(other))
    nlp.add_pipe("toy_head", config={"model": listener_config("tokens", width=16)})
    assert nlp.get_pipe("small").listening_components == ["toy_head"]
    doc = nlp("Bob works")
    assert nlp.get_pipe("toy_head").model.predict([doc])[0].shape == (2, 16)


def test_tensor_of_somebody_else(make_nlp: Callable) -> None:
    """A listener that reads whatever is in doc.tensor: another component's, of another shape, or
    cleared."""
    nlp = make_nlp(head="tokens")
    doc = nlp("Bob works")
    doc.tensor = np.zeros((2, 5), dtype="f")
    with pytest.raises(ValueError, match="has no token vectors"):
        nlp.get_pipe("head").model.predict([doc])


def test_empty_docs(make_nlp: Callable, texts: List[str]) -> None:
    """A batch with Docs that have no tokens, or nothing else, in prediction and training."""
    for kind in OURS:
        nlp = make_nlp(head=kind)
        for batch in (["", *texts, " "], [""], ["", ""]):
            docs = list(nlp.pipe(batch))
            assert len(nlp.get_pipe("head").model.predict(docs)) == len(batch)
            nlp.update(examples_of(nlp, batch), sgd=AdamW(0.01))


@pytest.mark.parametrize("kind", OURS)
def test_copies_are_trained_on(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """A head that makes copies of its Docs, and whose encoder silently does not learn."""
    nlp = make_nlp(head=kind)
    examples = examples_of(nlp, texts)
    for doc in nlp.pipe([example.predicted for example in examples]):
        assert doc._.bert is not None
    nlp.get_pipe("bert").update(examples)
    model = nlp.get_pipe("head").model
    model.begin_update([example.predicted for example in examples])
    with pytest.warns(UserWarning, match="other Docs than those that 'bert' has just encoded"):
        model.begin_update([example.predicted.copy() for example in examples])


@pytest.mark.parametrize("kind", OURS)
def test_sourced_encoder(make_nlp: Callable, tmp_path: Path, texts: List[str], kind: str) -> None:
    """A trained encoder that is sourced into a new pipeline (spaCy disables it while the rest is
    initialised): weights that are lost, or heads that are not linked to it."""
    source = make_nlp(head=kind)
    source.update(examples_of(source, texts), sgd=AdamW(0.01))
    source.to_disk(tmp_path / "source")
    base = spacy.blank("en").config.copy()
    config = base.merge(
        {
            "nlp": {"pipeline": ["bert", "toy_head"]},
            "components": {
                "bert": {"source": str(tmp_path / "source")},
                "toy_head": {"factory": "toy_head", "model": listener_config(kind)},
            },
            "corpora": {name: {"@readers": "toy.Corpus.v1"} for name in ("train", "dev")},
            "training": {"seed": 0},
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nlp = init_nlp(config)
    assert is_same(weights_of(source), weights_of(nlp))
    assert nlp.get_pipe("bert").listening_components == ["toy_head"]
    nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))
    assert not is_same(weights_of(source), weights_of(nlp))
