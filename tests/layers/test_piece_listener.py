"""Heads that read the rows of windows: in training, in prediction, with an encoder of their own."""

import copy
import gc
from typing import Any, Callable, List

import numpy as np
import pytest
import torch
from spacy import registry
from spacy.tokens import Doc
from thinc.api import Linear, Model, chain

import spacy_bert
from spacy_bert.encoder.packing import pack
from spacy_bert.layers.annotations import values_of
from spacy_bert.layers.doc_encoder import find_part
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.layers.piece_listener import release_rows
from spacy_bert.layers.piece_rows import (
    PieceRows,
    first_piece_rows,
    read_rows,
    take_first_pieces,
    with_rows,
)
from spacy_bert.segments import split_character
from spacy_bert.windows import split_windows

from .conftest import examples_of, gradients_of, head_weights, is_same, weights_of
from .reference import network_of

LISTENER = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}
TEXTS = ["Alice lives in Paris. " * 4, "Bob", "", " ", "don't  go", "Carol's worker was in it."]


@registry.architectures("toy.Pieces.v1")
def toy_pieces(tok2vec: Model) -> Model:
    """Two numbers a row: the shape of a span scorer."""
    model: Model = chain(tok2vec, with_rows(Linear(2, 32)), Model("sum", sum_rows))
    model.set_ref("tok2vec", tok2vec)
    return model


def sum_rows(model: Model, docs: List[PieceRows], is_train: bool) -> Any:
    """As plain arrays, which the toy head can compare."""
    return [rows.data for rows in docs], lambda ds: [r.with_data(d) for r, d in zip(docs, ds)]


@registry.architectures("toy.First.v1")
def toy_first(tok2vec: Model) -> Model:
    """Token vectors: the first piece of each."""
    model: Model = chain(tok2vec, take_first_pieces(32))
    model.set_ref("tok2vec", tok2vec)
    return model


PIECES = {"@architectures": "toy.Pieces.v1", "tok2vec": LISTENER}
FIRST = {"@architectures": "toy.First.v1", "tok2vec": LISTENER}


def docs_of(nlp: Any) -> List[Doc]:
    """Short, long, empty ones, and pairs whose second text needs several windows."""
    pairs = [("Bob works?", TEXTS[0]), ("", "a b"), ("Bob lives. " * 5, TEXTS[0]), ("a", "")]
    return [spacy_bert.make_pair(nlp, *pair) for pair in pairs] + list(map(nlp.make_doc, TEXTS))


def slow_rows(nlp: Any, doc: Doc) -> torch.Tensor:
    """The rows of a Doc, one window at a time."""
    bert = nlp.get_pipe("bert")
    settings = find_part(bert.model, "doc-windows").attrs
    tokenizer = bert.tokenizer
    ids, offsets = (array.tolist() for array in tokenizer.encode(doc.text))
    border = split_character(doc)
    split = None if border is None else sum(1 for start, _ in offsets if start < border)
    size = {"max_length": settings["window"], "stride": settings["stride"]}
    parts = []
    for window in split_windows(len(ids), **size, split=split):
        part, sep = ids[window.start : window.end], tokenizer.sep_id
        if window.context_end is None:
            sequence, types = [tokenizer.cls_id, *part, sep], [0] * (len(part) + 2)
        else:
            context = ids[: window.context_end]
            sequence = [tokenizer.cls_id, *context, sep, *part, sep]
            types = [0] * (len(context) + 2) + [1] * (len(part) + 1)
        parts.append(network_of(bert.model).encoder(pack([np.array(sequence)], [np.array(types)])))
    return torch.cat(parts)


@pytest.mark.fp32
def test_prediction(make_nlp: Callable) -> None:
    """Rows of another window or Doc; windows in the order in which they were computed; [CLS] or a
    question that is left out."""
    nlp = make_nlp(head=LISTENER)
    docs = list(nlp.pipe(docs_of(nlp)))
    outputs = nlp.get_pipe("head").model.predict(docs)
    for doc, rows in zip(docs, outputs):
        expected = slow_rows(nlp, doc).detach().numpy()
        assert rows.lengths.tolist() == [window.length for window in rows.pieces.windows]
        np.testing.assert_allclose(rows.data, expected, rtol=1e-4, atol=1e-5)
    assert max(len(rows.lengths) for rows in outputs) > 3


@pytest.mark.fp32
def test_training_reads_the_same(make_nlp: Callable) -> None:
    """Rows in training that are others than in prediction, or come with another geometry."""
    nlp = make_nlp(head=LISTENER)
    predicted = nlp.get_pipe("head").model.predict(list(nlp.pipe(docs_of(nlp))))
    examples = examples_of(nlp, TEXTS)
    nlp.get_pipe("bert").update(examples)
    trained, _ = nlp.get_pipe("head").model.begin_update([e.predicted for e in examples])
    for one, other in zip(trained, predicted[-len(TEXTS) :]):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-4, atol=1e-5)
        assert one.pieces.windows == other.pieces.windows
        np.testing.assert_array_equal(one.pieces.offsets, other.pieces.offsets)
        for a, b in zip(one.pieces.alignment, other.pieces.alignment):
            np.testing.assert_array_equal(a, b)


def test_where_pieces_are_read(make_nlp: Callable) -> None:
    """A piece that is read where its context is not widest, or in none of its windows: the mean of
    the rows has to be the encoder's own token vector."""
    nlp = make_nlp(head=LISTENER)
    for doc in nlp.pipe(docs_of(nlp)):
        (rows,) = nlp.get_pipe("head").model.predict([doc])
        vectors = rows.data[read_rows(rows.pieces)]
        starts, counts = rows.pieces.alignment
        for token, start, count in zip(doc, starts.tolist(), counts.tolist()):
            if count:
                mean = vectors[start : start + count].mean(axis=0)
                np.testing.assert_allclose(token.vector, mean, rtol=1e-4, atol=1e-5)


def test_first_pieces(make_nlp: Callable) -> None:
    """The last piece, or the mean, where the first was wanted; a whitespace token with the vector
    of a neighbour."""
    nlp = make_nlp(head=FIRST, rows=LISTENER)
    for doc in nlp.pipe(docs_of(nlp)):
        (rows,) = nlp.get_pipe("rows").model.predict([doc])
        (tokens,) = nlp.get_pipe("head").model.predict([doc])
        assert tokens.shape == (len(doc), 32)
        for i, token in enumerate(doc):
            if token.is_space:
                assert not tokens[i].any()
            else:
                place = read_rows(rows.pieces)[rows.pieces.alignment.starts[i]]
                np.testing.assert_array_equal(tokens[i], rows.data[place])
        assert (first_piece_rows(rows.pieces) >= 0).tolist() == [not t.is_space for t in doc]


@pytest.mark.fp32
@pytest.mark.parametrize("config", [LISTENER, FIRST], ids=["rows", "first pieces"])
def test_gradient(make_nlp: Callable, config: Any) -> None:
    """A gradient that is lost on the way into the shared encoder, or goes to another row: against
    finite differences of the loss."""
    nlp = make_nlp(head=PIECES if config is LISTENER else FIRST)
    texts = [TEXTS[0], "Bob works", "", TEXTS[5]]
    nlp.update(examples_of(nlp, texts), sgd=False)
    found = gradients_of(nlp)
    network = network_of(nlp.get_pipe("bert").model)

    def loss() -> float:
        docs = list(nlp.pipe(texts))
        outputs = nlp.get_pipe("head").model.predict(docs)
        return sum(float(((o.astype("f8") - 1.0) ** 2).sum()) / 2 for o in outputs)

    rng = np.random.default_rng(0)
    for name, parameter in network.named_parameters():
        if not name.endswith(("up.weight", "word.weight", "output_norm.bias")):
            continue
        direction = torch.from_numpy(rng.normal(size=parameter.shape).astype("f4"))
        direction /= direction.norm()
        step = 1e-2
        with torch.no_grad():
            parameter += step * direction
            above = loss()
            parameter -= 2 * step * direction
            below = loss()
            parameter += step * direction
        expected = (above - below) / (2 * step)
        assert expected == pytest.approx(float((found[name] * direction).sum()), rel=0.02, abs=0.02)


def test_beside_others(make_nlp: Callable) -> None:
    """Rows whose gradient replaces that of tokens or of whole texts, or the other way round."""
    heads = {"rows": PIECES, "tokens": "tokens", "pooled": "pooled"}
    sums: List[torch.Tensor] = []
    for absent in ([], ["tokens", "pooled"], ["rows"]):
        nlp = make_nlp(**heads)
        nlp.update(examples_of(nlp, TEXTS), sgd=False, exclude=absent)
        nlp.get_pipe("bert")._finish_batch()
        sums.append(torch.cat([g.ravel() for _, g in sorted(gradients_of(nlp).items())]))
    torch.testing.assert_close(sums[0], sums[1] + sums[2], rtol=1e-3, atol=1e-3)


def test_learning(make_nlp: Callable) -> None:
    """A head whose encoder stands still."""
    nlp = make_nlp(head=PIECES)
    before, head = weights_of(nlp), head_weights(nlp, "head")
    nlp.update(examples_of(nlp, TEXTS), sgd=AdamW(0.01))
    assert not is_same(before, weights_of(nlp))
    assert not np.array_equal(head[0], head_weights(nlp, "head")[0])


def test_memory(make_nlp: Callable) -> None:
    """Rows, which are large, on Docs that nobody reads them from, or left there when they have been
    read; and taken off while another head still needs them."""
    nlp = make_nlp(head="tokens")
    assert not {"rows", "windows"} & set(values_of(nlp(TEXTS[0]), "bert"))

    nlp = make_nlp(head=LISTENER)
    doc = nlp(TEXTS[0])
    shared = doc.user_data.copy()
    release_rows(nlp.get_pipe("head").model, [doc])
    assert {"rows", "windows"} <= set(values_of(nlp(TEXTS[0]), "bert"))
    assert not {"rows", "windows"} & set(values_of(doc, "bert"))
    assert "cls" in values_of(doc, "bert") and doc.tensor.shape == (len(doc), 32)
    assert any("rows" in v["encoders"]["bert"] for v in shared.values() if "encoders" in v)
    with pytest.raises(ValueError, match="E203.*has no piece vectors"):
        nlp.get_pipe("head").model.predict([doc])

    nlp = make_nlp(one=LISTENER, three=LISTENER)
    nlp.add_pipe("toy_head", name="two", config={"model": LISTENER}, before="three")
    doc = nlp(TEXTS[0])
    for name, is_left in (("one", True), ("two", True), ("three", False)):
        head = nlp.get_pipe(name).model
        head.predict([doc])
        release_rows(head, [doc])
        assert ("rows" in values_of(doc, "bert")) == is_left


def test_rows_while_heads_are_disabled(make_nlp: Callable) -> None:
    """Catches rows that the last head among those that are linked takes off, and one that was
    disabled meanwhile still needs."""
    nlp = make_nlp(one=LISTENER, two=LISTENER)
    with nlp.select_pipes(disable="two"):
        nlp.add_pipe("toy_head", name="three", config={"model": LISTENER}, before="one")
    doc = nlp(TEXTS[0])
    for name in ("three", "one"):
        release_rows(nlp.get_pipe(name).model, [doc])
    assert "rows" in values_of(doc, "bert")
    nlp.get_pipe("two").model.predict([doc])


def test_rows_of_heads_that_were_removed(make_nlp: Callable) -> None:
    """Catches rows that stay on every Doc because who took them off is gone, and those that are made
    for nobody."""
    nlp = make_nlp(one=LISTENER, two=LISTENER)
    nlp.remove_pipe("two")
    gc.collect()
    doc = nlp(TEXTS[0])
    assert "rows" in values_of(doc, "bert")
    release_rows(nlp.get_pipe("one").model, [doc])
    assert "rows" not in values_of(doc, "bert")
    copied = copy.deepcopy(nlp)
    nlp.remove_pipe("one")
    gc.collect()
    assert "rows" not in values_of(nlp(TEXTS[0]), "bert")
    assert "rows" in values_of(copied(TEXTS[0]), "bert")


def test_rows_on_request(make_nlp: Callable, tiny_checkpoint: Any) -> None:
    """`keep = ["rows"]` that is taken for a pooling, or does not keep them."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"keep": ["rows"]})
    assert values_of(nlp("Bob"), "bert")["rows"].shape == (3, 32)
    nlp.add_pipe("toy_head", config={"model": LISTENER})
    doc = nlp("Bob")
    release_rows(nlp.get_pipe("toy_head").model, [doc])
    assert "rows" in values_of(doc, "bert")


def test_encoder_of_its_own(make_nlp: Callable) -> None:
    """`replace_listeners` that makes a head of token vectors of one of rows, or an architecture by
    another name than the one in the config."""
    nlp = make_nlp(head=PIECES)
    texts = [text for text in TEXTS if text]
    expected = nlp.get_pipe("head").model.predict(list(nlp.pipe(texts)))
    nlp.replace_listeners("bert", "head", ["model.tok2vec"])
    found = nlp.get_pipe("head").model.predict(list(map(nlp.make_doc, texts)))
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    section = nlp.config["components"]["head"]["model"]["tok2vec"]
    assert section["@architectures"] == "spacy-bert.BertPieces.v1"
    other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    again = other.get_pipe("head").model.predict(list(map(nlp.make_doc, texts)))
    for a, b in zip(found, again):
        np.testing.assert_array_equal(a, b)
    # It trains the encoder that it has got.
    own = network_of(nlp.get_pipe("head").model).encoder.layers[0].up.weight
    before = own.detach().clone()
    nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))
    assert not torch.equal(before, own)
