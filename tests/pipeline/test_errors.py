"""One Doc that fails: what becomes of it, and of the others."""

import pytest
import spacy

import spacy_bert

from .heads import assert_same

TEXTS = ["Alice lives in Paris.", "Bob works", "Carol's worker", "the day of Alice", "London"]
BROKEN = 2


@pytest.fixture
def docs(tiny_nlp):
    """Docs of which one has segments that are no pair."""
    docs = [tiny_nlp.make_doc(text) for text in TEXTS]
    docs[BROKEN].spans["segments"] = [docs[BROKEN][:1]]
    return docs


@pytest.fixture
def caught(tiny_nlp):
    """What the error handler is given; it swallows everything."""
    errors = []
    tiny_nlp.set_error_handler(lambda name, pipe, docs, error: errors.append((name, docs, error)))
    return errors


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_the_others_survive(tiny_nlp, docs, caught, batch_size):
    """Catches a batch that is lost with one of its Docs, Docs out of order, and a handler that is
    asked about the wrong ones."""
    expected = list(tiny_nlp.pipe([text for i, text in enumerate(TEXTS) if i != BROKEN]))
    assert not caught
    done = list(tiny_nlp.pipe(docs, batch_size=batch_size))
    assert [doc.text for doc in done] == [doc.text for doc in expected]
    assert_same(done, expected)
    assert len(caught) == 1
    name, failed, error = caught[0]
    assert name == "bert" and failed == [docs[BROKEN]]
    assert isinstance(error, ValueError) and "[0:1], but two spans were expected" in str(error)


def test_nothing_is_computed_twice_without_need(tiny_nlp, docs, caught, monkeypatch):
    """Catches a retry of batches in which nothing failed."""
    sizes = []
    bert = tiny_nlp.get_pipe("bert")
    predict = bert.predict
    monkeypatch.setattr(bert, "predict", lambda docs: sizes.append(len(docs)) or predict(docs))
    list(tiny_nlp.pipe(docs, batch_size=4))
    assert sizes == [4, 1, 1, 1, 1, 1]


def test_contexts_stay_with_their_docs(tiny_nlp, docs, caught):
    """Catches a context that moves to another Doc when one is dropped."""
    done = tiny_nlp.pipe([(doc, i) for i, doc in enumerate(docs)], as_tuples=True)
    assert [(doc.text, i) for doc, i in done] == [
        (text, i) for i, text in enumerate(TEXTS) if i != BROKEN
    ]


def test_without_a_handler_it_is_raised(tiny_nlp, docs):
    """Catches an error that vanishes."""
    with pytest.raises(ValueError, match="Use spacy_bert.make_pair"):
        list(tiny_nlp.pipe(docs))
    with pytest.raises(ValueError, match="Use spacy_bert.make_pair"):
        tiny_nlp(docs[BROKEN])


def test_a_single_doc_as_in_spacy(tiny_nlp, docs, caught):
    """Catches another answer than that of spaCy's own trainable components when a handler swallows
    the error of a single Doc: not a Doc without annotations, but an error (E005)."""
    with pytest.raises(ValueError, match=r"\[E005\].*'bert'"):
        tiny_nlp(docs[BROKEN])
    assert len(caught) == 1 and caught[0][1] == [docs[BROKEN]]
    stock = spacy.blank("en")
    stock.add_pipe("tok2vec")  # never initialised
    stock.set_error_handler(lambda *arguments: None)
    with pytest.raises(ValueError, match=r"\[E005\].*'tok2vec'"):
        stock("Alice")


def test_handler_of_a_component(tiny_nlp, docs):
    """Catches a handler that was set on the component and is not asked."""
    errors = []
    tiny_nlp.get_pipe("bert").set_error_handler(lambda *arguments: errors.append(arguments))
    assert len(list(tiny_nlp.pipe(docs))) == len(TEXTS) - 1
    assert [failed for _, _, failed, _ in errors] == [[docs[BROKEN]]]


def test_heads_do_not_see_it(joint_nlp, docs):
    """Catches a Doc on which the encoder failed that goes on to the heads, without vectors."""
    errors = []
    # on the component: spaCy 3.8 cannot set a handler on its own `ner`
    joint_nlp.get_pipe("bert").set_error_handler(lambda name, *rest: errors.append(name))
    done = list(joint_nlp.pipe(docs))
    assert errors == ["bert"] and len(done) == len(TEXTS) - 1 and all(doc.cats for doc in done)


def test_pairs_and_one_segment_type(make_checkpoint):
    """Catches an index out of range, deep in the network, for an encoder that knows single texts only."""
    nlp = spacy_bert.from_checkpoint(make_checkpoint(type_vocab_size=1))
    nlp.add_pipe("segments", first=True)
    assert nlp("Alice lives in Paris.").tensor.any()
    with pytest.raises(ValueError, match="is a pair of texts, but .*type_vocab_size = 1"):
        nlp(spacy_bert.make_pair(nlp, "Alice lives", "in Paris."))
    checkpoint = make_checkpoint(type_vocab_size=1, parts=("mlm",))
    nlp = spacy_bert.from_checkpoint(checkpoint, component="fill_mask")
    assert nlp("Alice [MASK].")._.fill_mask
    with pytest.raises(ValueError, match="pair of texts .*type_vocab_size = 1"):
        nlp(spacy_bert.make_pair(nlp, "Alice lives", "in [MASK]."))
