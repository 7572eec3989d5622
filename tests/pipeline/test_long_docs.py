"""A Doc of any length: in bounded memory, read whole, and whatever else is in the batch."""

import numpy as np
import pytest

import spacy_bert
from spacy_bert.layers.doc_encoder import shim_of
from spacy_bert.pipeline import streaming

SENTENCE = "Alice lives in Paris, where Bob's worker likes the 42 works of Carol. "


@pytest.fixture
def nlp(tiny_checkpoint):
    """Windows of 64 pieces, and 512 pieces at a time."""
    model = {"window": 64, "stride": 48, "batch_pieces": 512}
    return spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": model})


@pytest.fixture
def rows(nlp, monkeypatch):
    """How many rows the encoder computes at a time."""
    seen = []
    encoder = shim_of(nlp.get_pipe("bert").model)._model.encoder
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0].ids)))
    return seen


def test_computed_in_parts(nlp, rows):
    """Catches a long Doc that is computed all at once, with the activations of all its windows in
    memory."""
    doc = nlp(SENTENCE * 500)
    assert len(doc.text) > 30_000 and len(doc._.bert.pieces) > 10_000
    assert max(rows) <= 512 and sum(rows) > 1.3 * len(doc._.bert.pieces)  # they overlap
    assert doc.tensor.any(axis=1).all()


def test_read_to_the_end(nlp):
    """Catches a text that is cut off at the end of the first window, or of any."""
    text = SENTENCE * 20
    doc, other = nlp(text + "Berlin"), nlp(text + "London")
    assert not np.allclose(doc.tensor[-1], other.tensor[-1], atol=1e-3)
    assert doc._.bert.offsets[-1].tolist() == [len(text), len(text) + 6]
    assert not np.allclose(doc._.bert.pooled("mean"), other._.bert.pooled("mean"), atol=1e-5)
    # A window, plus the 16 pieces by which it overlaps the next, is all the context there is.
    np.testing.assert_allclose(doc.tensor[:200], other.tensor[:200], atol=1e-5)


def test_independent_of_the_batch(nlp):
    """Catches vectors that depend on what else is computed with them."""
    long = SENTENCE * 100
    alone = nlp(long)
    batch = list(nlp.pipe(["Alice", long, "", SENTENCE, long + "Berlin"]))
    np.testing.assert_allclose(batch[1].tensor, alone.tensor, atol=1e-5)
    np.testing.assert_allclose(batch[1]._.bert.cls, alone._.bert.cls, atol=1e-5)
    np.testing.assert_allclose(batch[0].tensor, nlp("Alice").tensor, atol=1e-5)
    np.testing.assert_allclose(batch[3].tensor, nlp(SENTENCE).tensor, atol=1e-5)


def test_buffer_ends_early(nlp, monkeypatch):
    """Catches a buffer of 128 long Docs: their vectors alone would fill the memory."""
    monkeypatch.setattr(streaming, "BUFFER_CHARACTERS", 100)
    pipe = nlp.get_pipe("bert")
    predict, sizes = pipe.predict, []
    monkeypatch.setattr(pipe, "predict", lambda docs: sizes.append(len(docs)) or predict(docs))
    texts = ["Alice", SENTENCE * 3, "", "Bob", SENTENCE, SENTENCE, "Paris", "London", "in", "the"]
    assert [doc.text for doc in nlp.pipe(texts, batch_size=3)] == texts
    assert sizes == [2, 3, 3, 2]


def test_stream_is_read_as_needed(nlp):
    """Catches a pipe that reads the whole stream before it gives the first Doc."""
    taken = []

    def stream():
        for i in range(1000):
            taken.append(i)
            yield "Alice"

    next(iter(nlp.pipe(stream(), batch_size=4)))
    assert len(taken) == 4
