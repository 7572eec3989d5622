"""Pairs of texts: how they are written, found again and read."""

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin
from spacy.training import Example

import spacy_bert
from spacy_bert.segments import EMPTY, SPANS_KEY, make_pair, mark_segments, split_character


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


@pytest.fixture
def custom():
    """A function: a separator -> a pipeline whose `segments` splits at it."""

    def make(separator):
        nlp = spacy.blank("en")
        nlp.add_pipe("segments", config={"separator": separator})
        return nlp

    return make


def texts(doc):
    group = doc.spans[SPANS_KEY]
    empty = group.attrs.get(EMPTY, ())
    assert all(len(span) for span in group)
    return ["" if place in empty else span.text for place, span in enumerate(group)]


@pytest.mark.parametrize(
    "a, b, text, segments",
    [
        ("A man eats.", "He sleeps.", "A man eats.\n\nHe sleeps.", ["A man eats.", "He sleeps."]),
        (" a \n", "\n\n b\t", "a\n\nb", ["a", "b"]),
        ("a\n\n \n b", "c", "a\nb\n\nc", ["a\nb", "c"]),
        ("a", "b\n\nc", "a\n\nb\n\nc", ["a", "b\n\nc"]),
        ("", "b", "\n\nb", ["", "b"]),
        ("a", "", "a\n\n", ["a", ""]),
        ("", "", "\n\n", ["", ""]),
        ("don't", "U.K.!", "don't\n\nU.K.!", ["don't", "U.K.!"]),
    ],
)
def test_make_pair(nlp, a, b, text, segments):
    """Catches texts that are joined, cut or marked at the wrong place."""
    doc = make_pair(nlp, a, b)
    assert doc.text == text and texts(doc) == segments


@given(a=st.text("ab. \n\u00e9", max_size=12), b=st.text("ab. \n\u00e9", max_size=12))
def test_found_again_in_the_text(nlp, a, b):
    """Catches a pair that is another one once spaCy has rebuilt it from its text."""
    doc = make_pair(nlp, a, b)
    assert texts(doc)[1] == b.strip()
    assert "".join(texts(doc)[0].split()) == "".join(a.split())
    again = nlp.make_doc(doc.text)
    assert mark_segments(again) and texts(again) == texts(doc)
    assert split_character(again) == split_character(doc)


@pytest.mark.parametrize("a, b", [("a", ""), ("", "b"), ("", "")])
def test_empty_texts_survive_spacy(nlp, a, b):
    """Catches a pair that spaCy cannot copy (E1052), put together or learn from because a text is empty,
    and one that is another pair afterwards."""
    doc = make_pair(nlp, a, b)
    example = Example(doc, make_pair(nlp, a, b))
    again = Doc(doc.vocab).from_json(doc.to_json())
    for other in (doc.copy(), example.predicted.copy(), Doc.from_docs([doc]), again):
        assert other.text == doc.text and split_character(other) == split_character(doc)
    assert texts(doc.copy()) == [a, b]


def test_separator_of_the_pipeline(custom):
    """Catches a pair that its own pipeline does not find, even where `segments` is disabled for
    the moment."""
    nlp = custom(" || ")
    doc = make_pair(nlp, "a\n\nb", "c")
    assert doc.text == "a\n\nb || c" and texts(doc) == ["a\n\nb", "c"]
    again = nlp(doc.text)
    assert texts(again) == ["a\n\nb", "c"]
    with nlp.select_pipes(disable=["segments"]):
        assert make_pair(nlp, "a", "c").text == "a || c"


@pytest.mark.parametrize("a", ["x || y", "x |", "||"])
def test_separator_in_the_first_text(custom, a):
    """Catches a pair whose second text would begin within the first; also where the end of the
    first text makes a separator with the separator."""
    nlp = custom("||")
    with pytest.raises(ValueError, match=r"holds the separator '\|\|'.*do not use"):
        make_pair(nlp, a.replace(" |", "|"), "b")


def test_separator_within_a_token(custom):
    """Catches a second text that is empty because the tokenizer made one token of it and the
    separator."""
    nlp = custom("||")
    for make in (lambda: nlp("a||b"), lambda: make_pair(nlp, "a", "b")):
        with pytest.raises(ValueError, match=r"'\|\|' is inside of the token 'a\|\|b'"):
            make()
    assert texts(custom("||")("a || b")) != ["a || b", ""]
    nlp = custom(" || ")
    for a, b in (("a", ""), ("", "b"), ("", "")):
        doc = make_pair(nlp, a, b)
        assert texts(doc)[1] == b and (split_character(doc) is None) == (not b)
        assert split_character(doc.copy()) == split_character(doc)


def test_component_marks_the_first_separator(custom):
    """Catches a split at the last separator, or at all of them."""
    nlp = custom("\n\n")
    doc = nlp("a b\n\nc\n\nd")
    assert texts(doc) == ["a b", "c\n\nd"]
    doc = nlp("a b\n\n\n c")  # spaCy makes one token of all blank
    assert texts(doc) == ["a b", "c"]
    assert SPANS_KEY not in nlp("a single text\nof two lines").spans


def test_component_leaves_spans_of_the_user(custom):
    """Catches spans that were set by hand and are overwritten, or removed, an empty group too."""
    nlp = custom("\n\n")
    doc = nlp.make_doc("a\n\nb c")
    doc.spans[SPANS_KEY] = [doc[:3], doc[3:]]
    doc = nlp(doc)
    assert texts(doc) == ["a\n\nb", "c"]
    single = nlp.make_doc("a\n\nb")
    single.spans[SPANS_KEY] = []
    single = nlp(single)
    assert len(single.spans[SPANS_KEY]) == 0 and split_character(single) is None


def test_component_in_a_saved_pipeline(custom, tmp_path):
    """Catches a separator that is lost in saving."""
    custom(" || ").to_disk(tmp_path)
    doc = spacy.load(tmp_path)("a || b")
    assert texts(doc) == ["a", "b"]


def test_where_the_second_starts(nlp):
    """Catches a split off by the separator, and one in a Doc that is no pair."""
    assert split_character(make_pair(nlp, "ab", "cd")) == 4
    assert split_character(make_pair(nlp, "ab", "")) is None
    assert split_character(make_pair(nlp, "", "cd")) == 2
    assert split_character(nlp("ab cd")) is None


@pytest.mark.parametrize("spans", [[(0, 1)], [(0, 1), (1, 2), (2, 3)], [(2, 3), (0, 1)], [(0, 2), (1, 3)]])  # fmt: skip
def test_spans_that_are_no_pair(nlp, spans):
    """Catches text that is read twice, or not at all, because spans overlap or are too many."""
    doc = nlp("a b c")
    doc.spans[SPANS_KEY] = [doc[start:end] for start, end in spans]
    with pytest.raises(ValueError, match="'a b c' holds .*two spans were expected.*make_pair"):
        split_character(doc)


@pytest.mark.parametrize("pair", [("ab", "cd e"), ("", "b"), ("a", "")])
def test_docbin(nlp, pair):
    """Catches segments, empty ones too, that DocBin or Doc.to_bytes change."""
    doc = make_pair(nlp, *pair)
    data = DocBin(docs=[doc]).to_bytes()
    (binned,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
    for back in (binned, Doc(nlp.vocab).from_bytes(doc.to_bytes())):
        assert texts(back) == list(pair) and split_character(back) == split_character(doc)


@pytest.fixture(scope="module")
def minilm(minilm_path):
    return spacy_bert.from_checkpoint(minilm_path)


@pytest.fixture(scope="module")
def reference(minilm_path):
    """A function: two texts -> the rows of HuggingFace's model for `tokenizer(a, b)`."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_path)
    model = AutoModel.from_pretrained(minilm_path)

    def run(a, b=None):
        batch = tokenizer(a, b, return_tensors="pt")
        with torch.no_grad():
            rows = model(**batch).last_hidden_state[0].numpy()
        special = np.isin(batch["input_ids"][0], [tokenizer.cls_token_id, tokenizer.sep_token_id])
        return rows, rows[~special]

    return run


@pytest.mark.parametrize(
    "a, b",
    [
        ("A man is eating food.", "A man eats something."),
        ("Don't!", "Unbelievably\n\nnaïve café talk, isn't it?"),
        ("A man is eating food.", ""),
        ("", "A man is eating food."),
    ],
)
def test_pairs_are_read_as_by_huggingface(minilm, reference, a, b):
    """Catches a second text with the type ids of the first, or without a [SEP] between them;
    and a [SEP] or type ids for a second text that is not there."""
    rows, pieces = reference(a, b)
    doc = minilm(make_pair(minilm, a, b))
    view = doc._.bert
    assert len(view.ids) == len(pieces)
    np.testing.assert_allclose(view.cls, rows[0], atol=1e-5)
    np.testing.assert_allclose(view.pooled("mean"), rows.mean(axis=0), atol=1e-5)
    for token, start, count in zip(doc, *view.alignment, strict=True):
        if not token.is_space:
            expected = pieces[start : start + count].mean(axis=0)
            np.testing.assert_allclose(doc.tensor[token.i], expected, atol=1e-5)
    single = minilm(doc.text)
    assert np.allclose(single._.bert.cls, view.cls, atol=1e-3) == (not b)
    np.testing.assert_allclose(single._.bert.cls, reference(doc.text)[0][0], atol=1e-5)
