"""The masked language model's layers: which windows are computed, and what is read in them."""

from collections import Counter

import numpy as np
import pytest
import torch
from thinc.types import ArgsKwargs

from spacy_bert import from_checkpoint
from spacy_bert.encoder.engine import Engine
from spacy_bert.encoder.packing import ENGINE_ROWS, WORTH_FILLING
from spacy_bert.layers import masked_lm
from spacy_bert.layers.doc_encoder import find_part, shim_of
from spacy_bert.layers.doc_windows import doc_pieces
from spacy_bert.layers.mask_windows import plan_masks


@pytest.fixture(scope="module")
def nlp(make_checkpoint):
    """Windows of 16 pieces, 14 of them text, and a stride of 8."""
    checkpoint = make_checkpoint(parts=("mlm",))
    model = {"window": 16, "stride": 8, "batch_pieces": 40}
    return from_checkpoint(checkpoint, component="fill_mask", config={"model": model})


@pytest.fixture
def plan(nlp):
    """A function: texts -> their pieces, and the plan."""
    model = nlp.get_pipe("fill_mask").model

    def make(texts, batch_pieces=40):
        tokenizer = find_part(model, "doc-windows").attrs["tokenizer"].get()
        docs = [nlp.make_doc(text) for text in texts]
        pieces = doc_pieces(docs, tokenizer, window=16, stride=8, masked=True)
        return pieces, plan_masks(pieces, tokenizer, batch_pieces=batch_pieces), tokenizer

    return make


def test_only_windows_with_masks_are_computed(plan):
    """Catches the time of a whole book for one mask in it, and of texts without masks."""
    _, batch, _ = plan(["a " * 1000 + "[MASK] " + "b " * 1000, "c " * 500, ""])
    assert [part.pieces.lengths for part in batch.micro_batches] == [(16,)]
    assert plan(["c " * 500, ""])[1].micro_batches == []


@pytest.mark.parametrize("batch_pieces", [1, 40, 10_000])
def test_each_mask_is_read_once_and_is_a_mask(plan, batch_pieces):
    """Catches rows that are no mask, masks that are missed or read twice, and micro-batches that
    are too large."""
    texts = [
        "[MASK] a [MASK]",
        "a " * 9 + "[MASK] " * 40,
        "b",
        "[MASK]" * 3,
        "",
        "c " * 33 + "[MASK]",
    ]
    pieces, batch, tokenizer = plan(texts, batch_pieces)
    read = Counter()
    for part in batch.micro_batches:
        assert (part.pieces.ids.numpy()[part.rows] == tokenizer.mask_id).all()
        assert len(part.pieces.ids) <= max(batch_pieces, 16)
        read.update(part.masks.tolist())
    n_masks = sum(text.count("[MASK]") for text in texts)
    assert read == Counter(range(n_masks))
    assert [len(found) for found in batch.offsets] == [text.count("[MASK]") for text in texts]


@pytest.mark.parametrize("place", range(60))
def test_read_where_its_context_is_widest(plan, place):
    """Catches a mask that is read at the edge of a window while another has it in the middle."""
    text = "a " * place + "[MASK] " + "a " * (59 - place)
    [pieces], batch, _ = plan([text])
    [part] = batch.micro_batches
    [row], [length] = part.rows.tolist(), part.pieces.lengths
    narrow = min(row - 1, length - 2 - row)
    widest = max(
        min(place - window.start, window.end - 1 - place)
        for window in pieces.windows
        if window.start <= place < window.end
    )
    assert narrow == widest


@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_logits_in_parts(nlp, monkeypatch, rows_at_once):
    """Catches masks that get each other's pieces where logits are computed part by part."""
    text = "Paris [MASK] the [MASK] of [MASK]. [MASK] likes [MASK]"
    alone = predictions(nlp, text)
    monkeypatch.setattr(masked_lm, "ROWS_AT_ONCE", rows_at_once)
    parts = predictions(nlp, text)
    assert len(set(map(tuple, alone.ids.tolist()))) > 1
    np.testing.assert_array_equal(parts.ids, alone.ids)
    np.testing.assert_allclose(parts.logits, alone.logits, atol=1e-5)


def test_numbers_of_rows(nlp, monkeypatch):
    """Catches batches of each and every number of rows, for each of which kernels are compiled and kept."""
    seen = []
    call = Engine.__call__

    def watched(self, pieces, **rest):
        seen.append(len(pieces.ids))
        return call(self, pieces, **rest)

    monkeypatch.setattr(Engine, "__call__", watched)
    for n in (300, 301):
        predictions(nlp, "Alice " * n + "[MASK]" + " Bob" * n)
        predictions(nlp, " ".join(["[MASK] likes Bob and Carol."] * n))
    assert seen and all(n % ENGINE_ROWS == 0 for n in seen if n >= WORTH_FILLING * ENGINE_ROWS)


def predictions(nlp, text):
    [found] = nlp.get_pipe("fill_mask").predict([nlp.make_doc(text)])
    return found


def test_rows_that_are_no_pieces_are_not_named(make_checkpoint):
    """Catches an id that the vocabulary does not have: embeddings are often padded. Their share of
    the probability stays theirs, as in HuggingFace's pipeline."""
    checkpoint = make_checkpoint(parts=("mlm",), vocab_size=400)
    nlp = from_checkpoint(checkpoint, component="fill_mask", config={"top_k": 400})
    pipe = nlp.get_pipe("fill_mask")
    found = predictions(nlp, "a [MASK]")
    assert found.ids.shape == (1, len(pipe.tokenizer))
    assert sorted(found.ids[0].tolist()) == list(range(len(pipe.tokenizer)))
    assert 0.01 < found.probabilities.sum() < 0.99


def test_network_stays_in_evaluation_mode(nlp):
    """Catches a module that is left in training mode, or weights that come to need gradients."""
    network = shim_of(nlp.get_pipe("fill_mask").model)._model
    predictions(nlp, "a [MASK]")
    assert not network.training and not any(part.training for part in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_training_is_refused(nlp):
    """Catches a training that runs and changes nothing."""
    with pytest.raises(ValueError, match="not trained.*spacy_bert pretrain"):
        nlp.get_pipe("fill_mask").model.begin_update([nlp.make_doc("a [MASK]")])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_spoilt_weights_are_noticed(make_checkpoint, value):
    """Catches predictions of a network whose weights are not numbers."""
    nlp = from_checkpoint(make_checkpoint(parts=("mlm",)), component="fill_mask")
    network = shim_of(nlp.get_pipe("fill_mask").model)._model
    with torch.no_grad():
        network.mlm.bias[7] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        predictions(nlp, "a [MASK]")


def test_probabilities_are_the_softmax(nlp):
    """Catches probabilities among the named pieces only, or of other logits."""
    pipe = nlp.get_pipe("fill_mask")
    batch, _ = find_part(pipe.model, "doc-windows")([nlp.make_doc("a [MASK] b")], is_train=False)
    size = len(pipe.tokenizer)
    whole = shim_of(pipe.model).predict(ArgsKwargs(args=(batch, size), kwargs={}))
    expected = torch.softmax(whole["logits"], dim=1)[:, :5]
    found = predictions(nlp, "a [MASK] b")
    np.testing.assert_allclose(found.probabilities, expected.numpy(), rtol=1e-5)
    assert found.probabilities.sum() < 0.999
