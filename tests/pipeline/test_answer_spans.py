"""From logits to answers and from answers to targets, on windows drawn by hand."""

import numpy as np
import pytest

from spacy_bert.alignment import align
from spacy_bert.layers.doc_windows import DocPieces
from spacy_bert.pipeline.answer_spans import (
    answer_targets,
    best_answers,
    context_windows,
    window_loss,
)
from spacy_bert.windows import split_windows

#       q q     a b c d e f g h          one character a piece, no blank
TEXT = "??abcdefgh"


def pair(*, text=TEXT, max_length=9, stride=3, offsets=None):
    """Two pieces of a question before a context: windows of 4 pieces of it, 2 apart."""
    if offsets is None:
        offsets = [(i, i + 1) for i in range(len(text))]
    offsets = np.array(offsets, dtype=np.int32)
    windows = split_windows(len(offsets), max_length=max_length, stride=stride, split=2)
    alignment = align(offsets, offsets[:1, 0], offsets[-1:, 1])
    return DocPieces(np.zeros(len(offsets), dtype=np.int32), offsets, alignment, windows, text)


def logits_of(pieces, **points):
    """Zeros, and by name: (window, piece, start logit, end logit)."""
    logits = np.zeros((sum(w.length for w in pieces.windows), 2), dtype=np.float32)
    for window, piece, start, end in points.values():
        row, w = list(context_windows(pieces))[window]
        logits[row + w.part_row + piece - w.start] = start, end
    return logits


def texts(found, text=TEXT):
    return [text[a:b] for a, b in found.characters.tolist()]


def test_the_windows():
    """Catches a sketch that is not what the tests below stand on."""
    pieces = pair()
    assert [(w.start, w.end, w.read_start, w.read_end) for w in pieces.windows] == [
        (2, 6, 2, 5),
        (4, 8, 5, 7),
        (6, 10, 7, 10),
    ]


def test_starts_count_where_their_context_is_widest():
    """Catches a score that a piece gets at the edge of a window, where it is not read; and an end
    that is lost because another window reads it."""
    pieces = pair()
    edge = logits_of(pieces, a=(1, 4, 50.0, 0.0), b=(0, 4, 5.0, 0.0), c=(0, 5, 0.0, 7.0))
    found = best_answers(edge, pieces, TEXT, n_best=1, max_pieces=4)
    assert texts(found) == ["cd"] and found.scores.tolist() == [12.0]


@pytest.mark.parametrize("max_pieces, expected", [(4, "abcd"), (3, "bcd"), (2, "cd")])
def test_longest_answer(max_pieces, expected):
    """Catches a limit that is off by one."""
    pieces = pair()
    points = {str(i): (0, 2 + i, 4.0 - i, 10.0 if i == 3 else 0.0) for i in range(4)}
    found = best_answers(logits_of(pieces, **points), pieces, TEXT, n_best=1, max_pieces=max_pieces)
    assert texts(found) == [expected]


def test_order():
    """Catches answers in the order of windows; of equal ones the first in the text comes first."""
    pieces = pair()
    points = dict(a=(2, 8, 3.0, 3.0), b=(0, 2, 3.0, 3.0), c=(1, 5, 4.0, 3.0))
    found = best_answers(logits_of(pieces, **points), pieces, TEXT, n_best=5, max_pieces=1)
    assert texts(found) == ["d", "a", "g", "b", "c"]
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_no_answer_is_the_least_sure_window():
    """Catches the mean or the maximum of [CLS] over windows: one that holds the answer says so."""
    pieces = pair()
    logits = logits_of(pieces)
    for (row, _), value in zip(context_windows(pieces), (3.0, -2.0, 1.0)):
        logits[row] = value
    assert best_answers(logits, pieces, TEXT, n_best=1, max_pieces=1).null_score == -4.0


def test_characters_of_several_pieces():
    """Catches one answer that comes several times, and one that leaves the accent behind."""
    text = "??ae\u0301g"
    pieces = pair(text=text, offsets=[(0, 1), (1, 2), (2, 3), (3, 4), (3, 4), (5, 6)])
    found = best_answers(logits_of(pieces), pieces, text, n_best=99, max_pieces=2)
    assert sorted(texts(found, text)) == sorted(["a", "ae\u0301", "e\u0301", "e\u0301g", "g"])


def test_words_that_are_said_twice():
    """Catches a list of answers that is one answer over and over, which would share its probability."""
    text = "??abcabcab"
    pieces = pair(text=text, max_length=13)
    logits = logits_of(pieces, one=(0, 2, 4.0, 4.0), two=(0, 5, 5.0, 5.0), other=(0, 6, 1.0, 1.0))
    found = best_answers(logits, pieces, text, n_best=3, max_pieces=1)
    assert texts(found, text) == ["a", "b", "c"]
    assert found.characters[0].tolist() == [5, 6] and found.scores.tolist() == [10.0, 2.0, 0.0]


def test_question_of_its_own_windows():
    """Catches an answer out of the question, or a [CLS] that has not seen the context."""
    offsets = np.array([(i, i + 1) for i in range(30)], dtype=np.int32)
    windows = split_windows(30, max_length=12, stride=6, split=20)
    pieces = DocPieces(np.zeros(30, dtype=np.int32), offsets, align(offsets, offsets[:1, 0], offsets[-1:, 1]), windows, "")  # fmt: skip
    assert any(w.context_end is None for w in windows)
    text = "q" * 20 + "c" * 10
    logits = np.zeros((sum(w.length for w in windows), 2), dtype=np.float32)
    first = next(context_windows(pieces))[0]
    logits[:first] = 9.0
    logits[0] = -9.0
    found = best_answers(logits, pieces, text, n_best=50, max_pieces=3)
    assert found.null_score == 0.0 and set("".join(texts(found, text))) == {"c"}


def test_targets():
    """Catches a window that is taught an answer which it does not show as a whole."""
    pieces = pair()
    # behind [CLS] ? ? [SEP]: row 4 is the first of a part
    for answer, expected in (
        ((4, 6), [(6, 7), (4, 5), (0, 0)]),  # "cd"
        ((5, 7), [(0, 0), (5, 6), (0, 0)]),  # "de" ends behind the first window
        ((2, 10), [(0, 0)] * 3),  # in no window
        (None, [(0, 0)] * 3),
    ):
        assert answer_targets(pieces, answer).places.tolist() == [list(place) for place in expected]


def test_answers_that_cut_through_pieces():
    """Catches a piece that is lost because the answer begins or ends within it."""
    pieces = pair(text="??aaabbbccc", offsets=[(0, 1), (1, 2), (2, 5), (5, 8), (8, 11)])
    assert answer_targets(pieces, (4, 6)).places.tolist() == [[4, 5]]
    assert answer_targets(pieces, (6, 7)).places.tolist() == [[5, 5]]


def test_loss_is_large_only_where_wrong():
    """Catches logits that overflow, and a gradient with another sign."""
    pieces = pair()
    targets = answer_targets(pieces, (4, 6))
    logits = np.zeros((sum(w.length for w in pieces.windows), 2), dtype=np.float32)
    for row, place in zip(targets.rows, targets.places):
        logits[row + place, [0, 1]] = 1000.0
    loss, gradient = window_loss(logits, targets)
    assert loss == pytest.approx(0.0, abs=1e-6) and np.allclose(gradient, 0.0)
    loss, gradient = window_loss(-logits, targets)
    assert loss == pytest.approx(3 * (1000.0 + np.log(7)), rel=1e-3)
    assert (gradient[targets.rows + targets.places[:, 0], 0] == -0.5).all()


def test_marks_stay_with_their_letter():
    """Catches an answer that begins with the accent of a letter, or takes one of the question's."""
    # "n" and a tilde, each a piece of its own, as to a cased BERT
    text = "??an\u0303o"
    pieces = pair(text=text, max_length=12)
    logits = logits_of(pieces, start=(0, 4, 5.0, 0.0), end=(0, 5, 0.0, 5.0))
    found = best_answers(logits, pieces, text, n_best=1, max_pieces=2)
    assert texts(found, text) == ["n\u0303o"]
    text = "? \u0303bc"
    pieces = pair(text=text, max_length=12)
    found = best_answers(
        logits_of(pieces, a=(0, 2, 5.0, 5.0)), pieces, text, n_best=1, max_pieces=1
    )
    assert texts(found, text) == ["\u0303"]
