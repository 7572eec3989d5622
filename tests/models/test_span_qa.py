"""The model behind `span_qa`: two numbers a row, and the right gradient."""

from typing import Any

import numpy as np
import pytest
from thinc.api import fix_random_seed, set_dropout_rate

import spacy_bert
from spacy_bert.layers.piece_listener import PieceListenerModel
from spacy_bert.models.span_qa import BertSpanQA

from .conftest import TOKENS


def rows_of(nlp: Any, texts: Any) -> Any:
    """A listener without a pipeline of its own, and annotated pairs."""
    nlp.get_pipe("bert").keep = ["rows"]
    nlp.get_pipe("bert")._set_poolings()
    return list(nlp.pipe([spacy_bert.make_pair(nlp, *pair) for pair in texts]))


def model_of(dropout: float = 0.0) -> Any:
    listener = PieceListenerModel(upstream="bert", width=32, grad_factor=1.0)
    return BertSpanQA(listener, dropout)


PAIRS = [("who works?", "bob works in london"), ("", "x"), ("who?", "alice lives in paris. " * 8)]


def test_logits(tiny_nlp: Any) -> None:
    """Logits that are not linear in the rows, or stand at other rows."""
    docs = rows_of(tiny_nlp, PAIRS)
    model = model_of()
    model.initialize(X=docs)
    (linear,) = [node for node in model.walk() if node.name == "linear"]
    linear.set_param("W", np.random.default_rng(0).normal(size=(2, 32)).astype("f"))
    linear.set_param("b", np.array([1.0, -2.0], dtype="f"))
    rows = model.get_ref("tok2vec").predict(docs)
    for row, output in zip(rows, model.predict(docs)):
        expected = row.data @ linear.get_param("W").T + linear.get_param("b")
        np.testing.assert_allclose(output.data, expected, rtol=1e-5, atol=1e-5)
        assert output.lengths.tolist() == row.lengths.tolist()
        np.testing.assert_array_equal(output.pieces.offsets, row.pieces.offsets)


def test_gradient(tiny_nlp: Any) -> None:
    """A gradient of the weights that misses some rows: against finite differences."""
    docs = rows_of(tiny_nlp, PAIRS)
    model = model_of()
    fix_random_seed(0)
    model.initialize(X=docs)
    (linear,) = [node for node in model.walk() if node.name == "linear"]
    linear.set_param("W", np.random.default_rng(1).normal(size=(2, 32)).astype("f"))

    def loss() -> float:
        return sum(float((rows.data.astype("f8") ** 2).sum()) / 2 for rows in model.predict(docs))

    outputs, backprop = model.begin_update(docs)
    backprop(outputs)
    found = linear.get_grad("W").copy()
    weights = linear.get_param("W").copy()
    for place in [(0, 0), (1, 5), (0, 31)]:
        sides = []
        for sign in (1, -1):
            changed = weights.copy()
            changed[place] += sign * 1e-2
            linear.set_param("W", changed)
            sides.append(loss())
        assert (sides[0] - sides[1]) / 2e-2 == pytest.approx(float(found[place]), rel=1e-3)


def test_no_docs(tiny_nlp: Any) -> None:
    """A batch without Docs that fails."""
    docs = rows_of(tiny_nlp, PAIRS)
    model = model_of()
    model.initialize(X=docs)
    outputs, backprop = model.begin_update([])
    assert outputs == [] and backprop([]) == []


def test_dropout(tiny_nlp: Any) -> None:
    """Dropout that is on in prediction, or off in training."""
    docs = rows_of(tiny_nlp, PAIRS[:1])
    model = model_of(0.5)
    model.initialize(X=docs)
    (linear,) = [node for node in model.walk() if node.name == "linear"]
    linear.set_param("W", np.ones((2, 32), dtype="f"))
    predicted, again = model.predict(docs), model.predict(docs)
    np.testing.assert_array_equal(predicted[0].data, again[0].data)
    trained, _ = model.begin_update(docs)
    assert not np.allclose(trained[0].data, predicted[0].data)


def test_no_dropout(tiny_nlp: Any) -> None:
    """Dropout that `[training] dropout` brings back where the model is to have none."""
    docs = rows_of(tiny_nlp, PAIRS[:1])
    model = model_of(0.0)
    model.initialize(X=docs)
    set_dropout_rate(model, 0.5)
    trained, _ = model.begin_update(docs)
    np.testing.assert_array_equal(trained[0].data, model.predict(docs)[0].data)


def test_wrong_layers(tiny_nlp: Any) -> None:
    """Token vectors or vectors of whole texts: an error deep in a matrix product."""
    pooled = {"@architectures": "spacy-bert.BertPooledListener.v1", "width": 32}
    for wrong in (TOKENS, pooled):
        with pytest.raises(ValueError, match="for each piece of each window"):
            tiny_nlp.add_pipe("span_qa", config={"model": {"tok2vec": wrong}})
    own = {
        **tiny_nlp.get_pipe_config("bert")["model"],
        "@architectures": "spacy-bert.BertPieces.v1",
    }
    tiny_nlp.add_pipe("span_qa", config={"model": {"tok2vec": own}})
