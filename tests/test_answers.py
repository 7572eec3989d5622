"""The answers of a Doc: written, read, and refused where they are wrong."""

import pytest
import spacy

from spacy_bert.answers import (
    Answer,
    answers_of,
    candidates,
    context_start,
    facts_of,
    is_annotated,
    set_answers,
)
from spacy_bert.segments import make_pair

nlp = spacy.blank("en")
CONTEXT = "Alice lives in Paris-Nord."


@pytest.fixture
def doc():
    return make_pair(nlp, "Where does she live?", CONTEXT)


def test_written_and_read(doc):
    """Catches offsets into the text of the pair instead of the context, a span that does not cover the
    answer, and facts that are lost."""
    answers = [Answer("Paris", 15, 20, 2.5, 0.5), Answer("ice l", 2, 7, 1.0, 0.25)]
    set_answers(doc, answers, null_score=-1.5)
    assert answers_of(doc) == candidates(doc) == answers
    assert facts_of(doc)["null_score"] == -1.5
    covering = [span.text for span in doc.spans["answers"]]
    assert covering[0].startswith("Paris") and covering[1] == "Alice lives"
    assert context_start(doc) == doc.text.index(CONTEXT)


def test_no_answer(doc):
    """Catches a Doc without annotation that passes for one without an answer, and the other way round."""
    assert not is_annotated(doc) and answers_of(doc) == [] and facts_of(doc) == {}
    set_answers(doc, [Answer("Paris", 15, 20, 2.5, 0.5)], is_answered=False)
    assert is_annotated(doc) and answers_of(doc) == []
    assert [answer.text for answer in candidates(doc)] == ["Paris"]


def test_bytes(doc):
    """Catches an empty group, or attrs, that `to_bytes` drops."""
    for answers in ([], [Answer("Paris", 15, 20)]):
        set_answers(doc, answers, id="q1")
        other = spacy.tokens.Doc(nlp.vocab).from_bytes(doc.to_bytes())
        assert is_annotated(other) and answers_of(other) == answers
        assert facts_of(other)["id"] == "q1"


def test_spans_of_an_annotator(doc):
    """Catches spans that count for nothing because nobody wrote characters beside them."""
    doc.spans["answers"] = [doc[-3:-1]]
    (answer,) = answers_of(doc)
    assert CONTEXT[answer.start : answer.end] == answer.text == doc[-3:-1].text


@pytest.mark.parametrize("answer", [("Paris", 14, 19), ("Paris", -5, 0), ("", 3, 3), ("x", 90, 91)])
def test_wrong_place(doc, answer):
    """Catches an answer that is learnt from, or scored against, at another place."""
    doc.spans["answers"] = [doc[:1]]
    doc.spans["answers"].attrs["answers"] = [Answer(*answer)._asdict()]
    message = f"answer {answer[0]!r} .* characters {answer[1]} to"
    with pytest.raises(ValueError, match=message):
        answers_of(doc)
    del doc.spans["answers"]
    with pytest.raises(ValueError, match=message):
        set_answers(doc, [Answer(*answer)])
    assert not is_annotated(doc)


def test_no_pair():
    """Catches a text that is taken for a context without a question."""
    with pytest.raises(ValueError, match="'Alice' is no pair .*blank line"):
        context_start(nlp("Alice"))
    doc = make_pair(nlp, "Who?", "")
    assert context_start(doc) == len(doc.text)
