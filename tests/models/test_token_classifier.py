"""The token classifier on token vectors, of the mean or the first of a token's pieces."""

from typing import Any, Callable, Dict

import numpy as np
import pytest
from thinc.api import Linear, chain

from spacy_bert.layers.listeners import token_listener
from spacy_bert.models.token_classifier import BertTokenClassifier, resize_output

from .conftest import POOLED, TOKENS

PIECES = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}
STOCK = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
TEXT = "unworked Alice  lives\n in Parisians."


def add_ner(nlp: Any, tok2vec: Dict[str, Any], examples: Any) -> Any:
    """A `bert_ner` whose weights are far from those it is born with."""
    model = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": tok2vec}
    ner = nlp.add_pipe("bert_ner", config={"model": model})
    nlp.initialize(lambda: examples)
    layer, random = ner.model.get_ref("output_layer"), np.random.default_rng(0)
    for name in ("W", "b"):
        layer.set_param(name, random.normal(size=layer.get_param(name).shape).astype("f"))
    return ner


@pytest.mark.parametrize("tok2vec", [TOKENS, STOCK])
def test_mean_of_pieces(tiny_nlp: Any, make_examples: Callable, tok2vec: Dict[str, Any]) -> None:
    """Scores that are not linear in the token's own vector."""
    ner = add_ner(tiny_nlp, tok2vec, make_examples(tiny_nlp))
    with tiny_nlp.select_pipes(disable="bert_ner"):
        doc = tiny_nlp(TEXT)
    layer = ner.model.get_ref("output_layer")
    expected = doc.tensor @ layer.get_param("W").T + layer.get_param("b")
    (scores,) = ner.model.predict([doc])
    assert scores.shape == (len(doc), 9)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_first_piece(tiny_nlp: Any, make_examples: Callable) -> None:
    """A token for which its mean, or another token's piece, stands where the first was asked for."""
    ner = add_ner(tiny_nlp, PIECES, make_examples(tiny_nlp))
    with tiny_nlp.select_pipes(disable="bert_ner"):
        doc = tiny_nlp(TEXT)
    (scores,) = ner.model.predict([doc])
    (rows,) = ner.model.get_ref("tok2vec").predict([doc])
    layer = ner.model.get_ref("output_layer")
    starts, counts = doc._.bert.alignment
    assert (counts > 1).any() and (counts == 0).any() and len(rows.lengths) == 1
    vectors = rows.data[1 + starts]  # one window: behind [CLS]
    vectors[counts == 0] = 0.0
    np.testing.assert_allclose(
        scores, vectors @ layer.get_param("W").T + layer.get_param("b"), atol=1e-5
    )
    single = counts == 1
    means = doc.tensor @ layer.get_param("W").T + layer.get_param("b")
    np.testing.assert_allclose(scores[single], means[single], atol=1e-5)
    assert not np.allclose(scores[counts > 1], means[counts > 1], atol=1e-3)


def test_resizing_keeps_what_was_there() -> None:
    """Tags that are added and change the scores of others, or are as likely as those; a copy of the
    model that resizes the layer of its original."""
    vectors = token_listener(upstream="*", width=6, grad_factor=1.0)
    model = BertTokenClassifier(vectors, nO=5)
    assert model.get_dim("nO") == 5 and model.get_ref("output_layer").get_dim("nO") == 5
    model.layers[-1].initialize(X=[np.zeros((2, 6), dtype="f")])
    X = [np.random.default_rng(0).normal(size=(n, 6)).astype("f") for n in (3, 0, 2)]
    before = model.layers[-1].predict(X)
    resize_output(model, 9)
    after = model.layers[-1].predict(X)
    for one, other in zip(before, after):
        assert other.shape == (len(one), 9)
        np.testing.assert_array_equal(other[:, :5], one)
        assert (other[:, 5:] == -10.0).all()
    assert model.get_dim("nO") == model.layers[-1].get_dim("nO") == 9
    assert model.get_ref("output_layer") in list(model.walk())
    copied = model.copy()
    resize_output(copied, 13)
    assert copied.get_dim("nO") == 13
    assert model.get_ref("output_layer").get_dim("nO") == 9


def test_first_weights() -> None:
    """An output layer that does not begin as BERT's own layers do."""
    vectors = token_listener(upstream="*", width=100, grad_factor=1.0)
    model = BertTokenClassifier(vectors, nO=50)
    model.layers[-1].initialize(X=[np.zeros((1, 100), dtype="f")])
    layer = model.get_ref("output_layer")
    assert abs(layer.get_param("W").std() - 0.02) < 0.002
    assert not layer.get_param("b").any()


def test_vectors_of_texts(tiny_nlp: Any) -> None:
    """A listener for whole texts in the place of one for tokens: an error deep in a matrix product."""
    own = {**tiny_nlp.get_pipe_config("bert")["model"], "pooling": "cls"}
    own["@architectures"] = "spacy-bert.BertPooled.v1"
    for tok2vec in (POOLED, own):
        model = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": tok2vec}
        with pytest.raises(ValueError, match="one vector a Doc, but a vector for each token"):
            tiny_nlp.add_pipe("bert_ner", config={"model": model})


def test_any_layer_of_token_vectors() -> None:
    """A classifier that works on our own layers alone."""
    vectors = chain(token_listener(upstream="*", width=6, grad_factor=1.0), Linear(4, 6))
    assert BertTokenClassifier(vectors, nO=5).get_ref("output_layer").get_dim("nI") == 4
