"""Vectors and similarity of Docs, spans and tokens: spaCy's rules, on contextual vectors."""

import warnings

import numpy as np
import pytest
import spacy


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_vectors(tiny_nlp):
    """Catches vectors that are not the rows of doc.tensor and their means."""
    doc = tiny_nlp("Alice lives in Paris.")
    assert doc.has_vector and doc[0].has_vector and doc[:2].has_vector
    np.testing.assert_allclose(doc.vector, doc.tensor.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(doc[1:3].vector, doc.tensor[1:3].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(doc[1].vector, doc.tensor[1])


def test_similarity_is_the_cosine_and_silent(tiny_nlp):
    """Catches W007 (no word vectors), which is not true of our Docs, and another measure."""
    one, two = tiny_nlp.pipe(["Alice lives in Paris.", "Bob works in London"])
    for a, b in [(one, two), (one[:2], two[1:]), (one[0], two[0]), (one, two[0]), (one[2:], two)]:
        assert a.similarity(b) == pytest.approx(cosine(a.vector, b.vector), abs=1e-5)
        assert -1.0 < a.similarity(b) < 0.9999


def test_one_spelling_two_meanings(tiny_nlp):
    """Catches spaCy's shortcut: it takes what is spelt alike for equal, whatever it means."""
    one, two = tiny_nlp.pipe(["Alice works in Paris", "the works of Bob"])
    assert one[1].text == two[1].text
    assert one[1].similarity(two[1]) == pytest.approx(
        cosine(one[1].vector, two[1].vector), abs=1e-5
    )
    assert one[1].similarity(two[1]) < 0.9999
    assert one[1:2].similarity(two[1:2]) < 0.9999
    assert one.similarity(one) == pytest.approx(1.0)


def test_what_has_no_vector(tiny_nlp):
    """Catches a division by zero, and an error for an empty Doc, where spaCy says 0."""
    doc, empty, blank = tiny_nlp.pipe(["Alice lives", "", " \n "])
    for other in (empty, blank, doc[1:1], blank[0]):
        assert doc.similarity(other) == other.similarity(doc) == 0.0
    assert empty.similarity(empty) == 0.0
    assert empty.vector_norm == 0 and len(blank.vector) == 32


def test_docs_that_cannot_be_compared(tiny_nlp):
    """Catches a number where one of two Docs has no vector at all."""
    doc = tiny_nlp("Alice lives")
    with pytest.raises(ValueError, match=r"\(32,\) and \(0,\) cannot be compared.*not processed"):
        doc.similarity(tiny_nlp.make_doc("Bob works"))


def test_other_docs_still_warn(tiny_nlp):
    """Catches a warning that is switched off for everybody."""
    tiny_nlp("Alice")
    one, two = spacy.blank("en").pipe(["Alice", "Bob"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.similarity(two)
    assert "[W007]" in str(caught[0].message)


def test_hooks_of_the_user_come_first(tiny_nlp):
    """Catches a measure of the user's own that is overwritten."""
    doc = tiny_nlp.make_doc("Alice")
    doc.user_hooks["similarity"] = lambda one, other: 42.0
    assert tiny_nlp(doc).similarity(doc) == 42.0


def test_beside_word_vectors(tiny_nlp):
    """Catches vectors of words, which are the same whatever they mean, in the place of contextual ones."""
    texts = ["Alice works in Paris", "the works of Bob"]
    expected = [
        [a.similarity(b) for a, b in ((x, y), (x[1], y[1]), (x[1:3], y[:2]), (x, y[1]))]
        for x, y in [tiny_nlp.pipe(texts)]
    ]
    for word in ("Alice", "works", "Bob"):
        tiny_nlp.vocab.set_vector(word, np.arange(5, dtype="f"))
    one, two = tiny_nlp.pipe(texts)
    assert len(one[1].vector) == 5
    found = [
        a.similarity(b)
        for a, b in ((one, two), (one[1], two[1]), (one[1:3], two[:2]), (one, two[1]))
    ]
    assert found == pytest.approx(expected[0], abs=1e-5)
    # A text that no encoder has read has no other vectors; nor has a word by itself.
    unread = tiny_nlp.make_doc("Alice works")
    assert one.similarity(unread) == pytest.approx(cosine(one.vector, unread.vector), abs=1e-5)
    assert unread.vector.shape == (5,)
    for doc in (one, two):
        doc.user_token_hooks["vector"] = lambda token: np.ones(3, dtype="f")
    assert one[0].similarity(two[0]) == pytest.approx(1.0)
    del one.user_token_hooks["vector"], two.user_token_hooks["vector"]
    assert one[1].similarity(tiny_nlp.vocab["works"]) == pytest.approx(1.0)
