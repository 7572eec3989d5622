"""The text classifier on a pooled vector, in spaCy's own components."""

from typing import Any, Callable

import numpy as np
import pytest
from spacy import registry
from spacy.training import Example
from thinc.api import fix_random_seed

from spacy_bert.layers.listeners import PooledListenerModel
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.models.textcat import BertTextCat

from .conftest import POOLED, TOKENS, textcat_of


def add_textcat(nlp: Any, *, exclusive: bool, tok2vec: Any = None) -> Any:
    factory = "textcat" if exclusive else "textcat_multilabel"
    model = textcat_of(tok2vec or POOLED, exclusive=exclusive)
    return nlp.add_pipe(factory, config={"model": model})


def scores_of(nlp: Any, texts: Any) -> Any:
    return [nlp(text).cats for text in texts]


@pytest.mark.parametrize("exclusive", [True, False])
def test_scores(tiny_nlp: Any, make_examples: Callable, exclusive: bool) -> None:
    """Scores that are no probabilities, or add up to one where labels do not exclude each other."""
    textcat = add_textcat(tiny_nlp, exclusive=exclusive)
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    layer = textcat.model.get_ref("output_layer")
    assert layer.get_param("W").shape == (2, 32)
    layer.set_param("W", np.random.default_rng(0).normal(size=(2, 32)).astype("f"))
    docs = list(tiny_nlp.pipe(["Alice lives in Paris", "", "Bob works"]))
    scores = textcat.predict(docs[::2])
    assert scores.shape == (2, 2) and (scores > 0).all() and (scores < 1).all()
    assert not np.allclose(scores[0], scores[1])
    vectors = np.stack([doc._.bert.pooled("cls") for doc in docs[::2]])
    logits = vectors @ layer.get_param("W").T + layer.get_param("b")
    if exclusive:
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        expected = 1 / (1 + np.exp(-logits))
        assert not np.allclose(scores.sum(axis=1), 1.0)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert set(docs[0].cats) == {"WORK", "LIFE"}


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
def test_learning(tiny_nlp: Any, make_examples: Callable, exclusive: bool, pooling: str) -> None:
    """A classifier that does not learn, or a model of which only the head does."""
    add_textcat(tiny_nlp, exclusive=exclusive, tok2vec={**POOLED, "pooling": pooling})
    fix_random_seed(0)
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    before = tiny_nlp("Alice").tensor.copy()
    optimizer = AdamW(0.003)
    losses = []
    for _ in range(12):
        step: dict = {}
        tiny_nlp.update(make_examples(tiny_nlp), sgd=optimizer, losses=step)
        losses.append(step["textcat" if exclusive else "textcat_multilabel"])
    assert losses[-1] < 0.1 * losses[0]
    assert tiny_nlp.evaluate(make_examples(tiny_nlp))["cats_score"] == 1.0
    assert not np.allclose(before, tiny_nlp("Alice").tensor)


@pytest.mark.parametrize("exclusive", [True, False])
def test_added_label(tiny_nlp: Any, make_examples: Callable, exclusive: bool) -> None:
    """A label that is added to a trained classifier and changes what it said of the others, or
    that can be trained no more."""
    textcat = add_textcat(tiny_nlp, exclusive=exclusive)
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    optimizer = AdamW(0.01)
    tiny_nlp.update(make_examples(tiny_nlp), sgd=optimizer)
    (before,) = scores_of(tiny_nlp, ["Bob works"])
    textcat.add_label("REST")
    (after,) = scores_of(tiny_nlp, ["Bob works"])
    assert set(after) == {"WORK", "LIFE", "REST"}
    assert after["REST"] < 0.001 if exclusive else after["REST"] == 0.5
    for label in before:
        assert after[label] == pytest.approx(before[label], rel=1e-3)
    assert textcat.model.get_ref("output_layer").get_dim("nO") == 3
    rest = {"WORK": 0.0, "LIFE": 0.0, "REST": 1.0}
    for _ in range(10):
        example = Example.from_dict(tiny_nlp.make_doc("Bob works"), {"cats": rest})
        tiny_nlp.update([example], sgd=optimizer)
    (trained,) = scores_of(tiny_nlp, ["Bob works"])
    assert trained["REST"] > 0.9


def test_dropout(tiny_nlp: Any, make_examples: Callable) -> None:
    """`[training] dropout` that does not reach the head, or that is on in prediction."""
    textcat = add_textcat(tiny_nlp, exclusive=True)
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    (dropout,) = [node for node in textcat.model.walk() if node.name == "dropout"]
    assert dropout.attrs["dropout_rate"] == 0.1
    tiny_nlp.update(make_examples(tiny_nlp), sgd=AdamW(0.01), drop=0.7)
    assert dropout.attrs["dropout_rate"] == 0.7
    assert scores_of(tiny_nlp, ["Bob"]) == scores_of(tiny_nlp, ["Bob"])


@pytest.mark.parametrize("exclusive", [True, False])
def test_bytes(tiny_nlp: Any, make_examples: Callable, exclusive: bool) -> None:
    """A trained classifier, with a label added, that comes back as another."""
    textcat = add_textcat(tiny_nlp, exclusive=exclusive)
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    textcat.add_label("REST")
    tiny_nlp.update(make_examples(tiny_nlp), sgd=AdamW(0.05))
    other = type(tiny_nlp).from_config(tiny_nlp.config).from_bytes(tiny_nlp.to_bytes())
    texts = ["Bob works", "Alice lives in Paris"]
    assert scores_of(other, texts) == scores_of(tiny_nlp, texts)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_copy_takes_more_labels(exclusive: bool) -> None:
    """A copy of a model that enlarges the layer of the original."""
    listener = PooledListenerModel(pooling="cls", upstream="*", width=32, grad_factor=1.0)
    model = BertTextCat(listener, exclusive_classes=exclusive, nO=2)
    model.initialize()
    copied = model.copy()
    copied.attrs["resize_output"](copied, 3)
    assert copied.get_ref("output_layer").get_dim("nO") == copied.get_dim("nO") == 3
    assert model.get_ref("output_layer").get_dim("nO") == 2


def test_number_of_labels() -> None:
    """nO from a config that is not taken over."""
    listener = PooledListenerModel(pooling="cls", upstream="*", width=32, grad_factor=1.0)
    model = BertTextCat(listener, exclusive_classes=True, nO=5)
    assert model.get_dim("nO") == 5 and model.get_ref("output_layer").get_dim("nO") == 5
    assert model.attrs["multi_label"] is False


def test_token_vectors(tiny_nlp: Any) -> None:
    """A listener for tokens in the place of one for texts: an error deep in a matrix product."""
    own = {**tiny_nlp.get_pipe_config("bert")["model"]}
    own["@architectures"] = "spacy-bert.BertTok2Vec.v1"
    stock = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    pieces = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}
    mixes = [
        {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 2, "tok2vec": listener}
        for listener in (TOKENS, pieces)
    ]
    for tok2vec in (TOKENS, own, stock, pieces, *mixes):
        with pytest.raises(ValueError, match="one vector a Doc is needed.*BertPooledListener"):
            add_textcat(tiny_nlp, exclusive=True, tok2vec=tok2vec)
    own.update({"@architectures": "spacy-bert.BertPooled.v1", "pooling": "mean"})
    add_textcat(tiny_nlp, exclusive=True, tok2vec=own)
    mix = {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 2, "tok2vec": POOLED}
    model = registry.resolve({"model": textcat_of(mix)})["model"]
    assert model.get_ref("tok2vec").get_dim("nO") == 16
