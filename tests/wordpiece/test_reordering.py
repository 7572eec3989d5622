"""Offsets stay right where Unicode normalisation changes the order of combining marks."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from spacy_bert.wordpiece import WordPieceTokenizer
from spacy_bert.wordpiece.reordering import surviving_marks, widen_reordered

MARKS = ["\U0001e00b", "\u1bf2"]  # classes 230 and 9: NFD puts the second one first


def test_the_library_still_needs_mending():
    """Catches the day when the library gives the right offsets: the mending can go then."""
    ids = {piece: i for i, piece in enumerate(["[UNK]", "b", *(f"##{mark}" for mark in MARKS)])}
    library = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    encoding = library.encode("b" + "".join(MARKS))
    assert encoding.tokens == ["b", f"##{MARKS[1]}", f"##{MARKS[0]}"]
    assert encoding.offsets == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    "text, run",
    [
        ("b\U0001e00b\u1bf2 c", (1, 3)),
        ("b\U0001e00b\0\u1bf2 c", (1, 4)),  # a character that cleaning drops parts no run
        ("\U0001e00b\u1bf2", (0, 2)),  # no base
        ("b\u0301\u1bf2", (1, 3)),  # one is stripped, one survives
        ("\U0001d15e\u1bf2", (0, 2)),  # the base brings a mark of its own
    ],
)
def test_reordered_runs_are_widened(text, run):
    """Catches a run that is not found, or found with wrong bounds."""
    n_chars = len(text)
    offsets = np.array([(i, i + 1) for i in range(n_chars)], dtype=np.int32)
    expected = [run if run[0] <= i < run[1] else (i, i + 1) for i in range(n_chars)]
    widened = widen_reordered(text, offsets)
    assert widened.tolist() == [list(pair) for pair in expected]
    assert widened.dtype == np.int32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "e\u0301\u0323",  # out of order, but stripped: no piece is made of them
        "b\u1bf2\U0001e00b",  # in order
        "b\U0001e00bc\u1bf2",  # two runs
        "\u1bf2" * 3,
    ],
)
def test_other_texts_are_left_alone(text):
    """Catches pieces that are made wider without need."""
    offsets = np.array([(i, i + 1) for i in range(len(text))], dtype=np.int32).reshape(-1, 2)
    assert widen_reordered(text, offsets) is offsets


def test_accents_kept_are_never_reordered():
    """Catches mending where nothing is decomposed: offsets would lose their sharpness."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b", *(f"##{mark}" for mark in MARKS)]
    tokenizer = WordPieceTokenizer(vocab, strip_accents=False)
    assert tokenizer.encode("b" + "".join(MARKS)).offsets.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_which_marks_survive():
    """Catches a search that finds none, or takes stripped accents for surviving ones."""
    marks = surviving_marks()
    assert set(MARKS) <= marks
    assert not marks & set("\u0301\u0307\u0323\u094d\u0e38éÅ한a")
