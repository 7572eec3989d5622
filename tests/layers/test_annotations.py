"""What encoders leave on a Doc, and whose it is."""

from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_bert.layers.annotations import (
    annotate,
    clear,
    encoder_names,
    pooled_of,
    tokens_of,
    values_of,
)


@pytest.fixture
def doc() -> Doc:
    return spacy.blank("en").make_doc("Bob works")


def leave(doc: Doc, name: str, value: float, *, width: int = 4, **settings: Any) -> Any:
    tokens = np.full((len(doc), width), value, dtype="f")
    options = {"set_tensor": True, "keep": False, **settings}
    annotate(doc, name, tokens, {"cls": np.full(width, value, dtype="f")}, **options)
    return tokens


def test_nothing(doc: Doc) -> None:
    """A Doc that no encoder has seen and that seems to have something."""
    assert encoder_names(doc) == [] and values_of(doc, "*") is None
    assert tokens_of(doc, "bert", 4) is None and pooled_of(doc, "*", "cls") is None


def test_owner_of_the_tensor(doc: Doc) -> None:
    """Two encoders that read each other's vectors; one whose vectors are gone when the other takes
    doc.tensor; "*" that is not the owner."""
    one = leave(doc, "one", 1.0)
    other = leave(doc, "other", 2.0)
    assert doc.tensor is other or np.array_equal(doc.tensor, other)
    assert encoder_names(doc)[0] == "other"
    np.testing.assert_array_equal(tokens_of(doc, "one", 4), one)
    np.testing.assert_array_equal(tokens_of(doc, "other", 4), other)
    np.testing.assert_array_equal(tokens_of(doc, "*", 4), other)
    assert pooled_of(doc, "*", "cls")[0] == 2.0 and pooled_of(doc, "one", "cls")[0] == 1.0


def test_own_name(doc: Doc) -> None:
    """An encoder that does not set doc.tensor and sets it, or loses its vectors."""
    one = leave(doc, "one", 1.0, set_tensor=False)
    assert doc.tensor.size == 0
    np.testing.assert_array_equal(tokens_of(doc, "one", 4), one)
    other = leave(doc, "other", 2.0)
    np.testing.assert_array_equal(tokens_of(doc, "one", 4), one)
    np.testing.assert_array_equal(tokens_of(doc, "other", 4), other)


def test_second_run(doc: Doc) -> None:
    """An encoder that runs again, and what it left the first time stays."""
    leave(doc, "one", 1.0)
    assert doc.vector_norm > 0
    again = leave(doc, "one", 3.0)
    np.testing.assert_array_equal(tokens_of(doc, "one", 4), again)
    assert pooled_of(doc, "one", "cls")[0] == 3.0
    assert doc.vector[0] == 3.0
    leave(doc, "one", 4.0, set_tensor=False)
    assert tokens_of(doc, "one", 4)[0, 0] == 4.0


def test_replaced_tensor(doc: Doc) -> None:
    """A tensor of another shape that somebody else put there, taken for the encoder's."""
    leave(doc, "one", 1.0)
    doc.tensor = np.zeros((2, 7), dtype="f")
    assert tokens_of(doc, "one", 4) is None
    kept = leave(doc, "one", 1.0, keep=True)
    doc.tensor = np.zeros((2, 7), dtype="f")
    np.testing.assert_array_equal(tokens_of(doc, "one", 4), kept)


def test_clear(doc: Doc) -> None:
    """A Doc that keeps what it was told to forget, or forgets another encoder's."""
    leave(doc, "one", 1.0, set_tensor=False)
    leave(doc, "other", 2.0)
    clear(doc, "one")
    assert encoder_names(doc) == ["other"]
    clear(doc)
    assert encoder_names(doc) == [] and tokens_of(doc, "other", 4) is None
    clear(doc, "one")


def test_doc_bin(doc: Doc) -> None:
    """Annotations that DocBin or to_bytes cannot write, or reads back as something else."""
    kept = leave(doc, "one", 1.0, keep=True)
    copies = [Doc(doc.vocab).from_bytes(doc.to_bytes())]
    data = DocBin(store_user_data=True, docs=[doc]).to_bytes()
    copies += DocBin(store_user_data=True).from_bytes(data).get_docs(doc.vocab)
    for other in copies:
        np.testing.assert_array_equal(tokens_of(other, "one", 4), kept)
        np.testing.assert_array_equal(pooled_of(other, "one", "cls"), kept[0])
