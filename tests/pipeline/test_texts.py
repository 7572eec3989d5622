"""Texts that nobody writes, and everybody has."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

import spacy_bert

SCRIPTS = [
    "Ελληνικά: η Αλίκη", "Русский язык", "עִבְרִית", "العَرَبِيَّة", "हिन्दी में", "ภาษาไทย", "中文和日本語", "ひらがなカタカナ",
    "한국어 문장", "ქართული", "አማርኛ", "Tiếng Việt", "İstanbul ﬁne ß", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐎠𐎡", "👩‍👩‍👧‍👦 🇫🇷 👍🏽 ☺️", "e\u0301 a\u0323\u0302",
    "a\u200bb\u00adc\ufeff", "١٢٣ ⅷ ½", "“quotes” — …", "\u202eright to left\u202c", "no\u00a0break\u3000space",
]  # fmt: skip


@pytest.fixture(scope="module")
def nlp(tiny_checkpoint):
    return spacy_bert.from_checkpoint(
        tiny_checkpoint, config={"model": {"window": 32, "stride": 24}}
    )


@pytest.fixture(autouse=True)
def nothing_warned_of(nlp):
    nlp.get_pipe("bert").n_bare_tokens = 0


def check(doc):
    """What is true of every Doc: token vectors are zero where there are no pieces, and only there."""
    view = doc._.bert
    assert doc.tensor.shape == (len(doc), 32) and np.isfinite(doc.tensor).all()
    counts = view.alignment.counts
    assert (doc.tensor.any(axis=1) == (counts > 0)).all() if len(doc) else not len(counts)
    assert view.cls.any() and np.isfinite(view.cls).all() and view.pooled("mean").any()
    assert len(view.pieces) == len(view.ids) == len(view.offsets)
    assert view.offsets.size == 0 or (
        view.offsets.min() >= 0 and view.offsets.max() <= len(doc.text)
    )


def test_empty(nlp):
    """Catches an empty Doc that fails, or has no vector of its own: [CLS] and [SEP] are there."""
    doc = nlp("")
    check(doc)
    assert (
        doc._.bert.pieces == [] and repr(doc._.bert) == "<BertView of 'bert': 0 pieces, 0 tokens>"
    )
    np.testing.assert_array_equal(doc._.bert.cls, nlp(" ")._.bert.cls)


@pytest.mark.parametrize("text", [" ", "\t \r\n", "\u00a0\u2003\u3000"])
def test_whitespace(nlp, text):
    """Catches a warning about tokens that have no pieces by design."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doc = nlp(text)
    check(doc)
    assert len(doc) > 0 and not doc.tensor.any() and doc._.bert.pieces == []


def test_ten_thousand_newlines(nlp):
    """Catches windows or warnings for each of many whitespace tokens."""
    doc = Doc(nlp.vocab, words=["\n"] * 10_000, spaces=[False] * 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(nlp(doc))
    assert not nlp("\n" * 10_000).tensor.any()


def test_among_others(nlp):
    """Catches a Doc without pieces that shifts the vectors of those behind it in the batch."""
    texts = ["Alice lives", "", "Bob works in London " * 10, " ", "Paris", "\u0000", "Carol"]
    with pytest.warns(UserWarning, match="Zero vectors for 1 of 46 tokens"):
        docs = list(nlp.pipe(texts))
    for doc in docs:
        check(doc)
    for i in (0, 2, 4, 6):
        alone = nlp(texts[i])
        np.testing.assert_allclose(docs[i].tensor, alone.tensor, atol=1e-5)
        np.testing.assert_allclose(docs[i]._.bert.cls, alone._.bert.cls, atol=1e-5)


@pytest.mark.parametrize("odd", ["\u0000", "\ue000", "\ufffd", "\u200b\u200d", "\ufe0f"])
def test_dropped_characters_are_warned_of(nlp, odd):
    """Catches zeros that nobody is told of: NUL, private use, the replacement character, formatting
    and (by an uncased BERT) a combining mark by itself are dropped in BERT's tokenisation."""
    doc = Doc(nlp.vocab, words=["Alice", odd, "lives", odd], spaces=[True] * 4)
    with pytest.warns(UserWarning, match="Zero vectors for 2 of 4 tokens.* first is") as caught:
        nlp(doc)
    assert len(caught) == 1 and ascii(odd) in str(caught[0].message)
    check(doc)
    assert doc.tensor.any(axis=1).tolist() == [True, False, True, False]
    # Inside of a word they are no loss: the word has pieces of its own.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        word = nlp(Doc(nlp.vocab, words=[f"Ali{odd}ce", "lives"]))
    assert word._.bert.pieces_of(0) == ["alice"]


def test_one_warning(nlp):
    """Catches one warning for each of a million texts with an emoji, or for each batch of them."""
    with pytest.warns(
        UserWarning, match=r"for 3 of 9 tokens.*'\\ufe0f' in the Doc 'a \u263a"
    ) as caught:
        list(nlp.pipe(["a \u263a\ufe0f"] * 3))
        list(nlp.pipe(["a \u263a\ufe0f"] * 2))
    assert len(caught) == 1 and nlp.get_pipe("bert").n_bare_tokens == 5


def test_a_warning_that_is_an_error(nlp):
    """Catches texts that fail for ever where warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="for 1 of 3 tokens"):
            nlp("a \u263a\ufe0f")
        assert len(nlp("a \u263a\ufe0f")) == 3


def test_lone_surrogates_are_refused_by_spacy(nlp):
    """Catches the day when spaCy lets through what no encoding can hold: then it is ours to read."""
    for make in (nlp, lambda text: Doc(nlp.vocab, words=[text])):
        with pytest.raises(UnicodeEncodeError):
            make("Alice \ud800 lives")


def test_a_very_long_word(nlp):
    """Catches time or windows that grow with one word: more than 100 characters are one [UNK]."""
    doc = nlp("Alice " + "x" * 20_000 + " lives")
    check(doc)
    assert doc._.bert.pieces == ["alice", "[UNK]", "lives"]
    assert doc._.bert.offsets.tolist()[1] == [6, 20_006]


def test_special_pieces_are_plain_text(nlp):
    """Catches "[CLS]" or "[MASK]" in a text that becomes the special piece, which would let a text
    change how others are read."""
    doc = nlp("[CLS] the [MASK] [SEP] a")
    check(doc)
    pieces = doc._.bert.pieces
    assert not {"[CLS]", "[MASK]", "[SEP]"} & set(pieces)
    assert pieces.count("[UNK]") == 6 and pieces[0] == "[UNK]"  # the brackets; the rest is spelt
    assert "the" in pieces and "a" in pieces


@pytest.mark.filterwarnings("ignore:Zero vectors")  # of an emoji's variation selector
@pytest.mark.parametrize("text", SCRIPTS)
def test_scripts(nlp, text):
    """Catches a script whose tokens get no vectors, or another token's."""
    doc = nlp(text)
    check(doc)
    visible = [any(ch.isalnum() for ch in token.text) for token in doc]
    assert doc.tensor.any(axis=1)[visible].all()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=5))
def test_any_text(nlp, texts):
    """Catches whatever the lists above leave out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Zero vectors")
        docs = list(nlp.pipe(texts))
    assert [doc.text for doc in docs] == texts
    for doc in docs:
        check(doc)
