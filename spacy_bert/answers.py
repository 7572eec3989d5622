"""What the answers to a question are: `doc.spans["answers"]` of a pair Doc, question and context.

    doc.spans["answers"]                    the tokens that cover each answer, best first; empty for "no answer"
    doc.spans["answers"].attrs["answers"]   [{"text", "start", "end", "score", "probability"}, ...]

`start` and `end` are characters of the context (the second text of the pair), exact where a token is
longer than the answer. An annotated Doc has the same, without scores; spans alone, without attrs, will
do. All of it survives `doc.to_bytes` and DocBin. A Doc without the group is not annotated.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from spacy.tokens import Doc, Span, SpanGroup

from .segments import SPANS_KEY as SEGMENTS_KEY
from .segments import split_character

SPANS_KEY = "answers"


class Answer(NamedTuple):
    """A piece of the context.

    text (str): What it says.
    start (int): Its first character in the context.
    end (int): The character after it.
    score (Optional[float]): Start logit + end logit, if predicted.
    probability (Optional[float]): Among the best answers and "no answer", if predicted.
    """

    text: str
    start: int
    end: int
    score: Optional[float] = None
    probability: Optional[float] = None


def context_start(doc: Doc) -> int:
    """doc (Doc): A pair of a question and a context.
    RETURNS (int): The character at which the context starts; the end of the text if it is empty.
    RAISES: ValueError if the Doc is no pair."""
    if len(doc.spans.get(SEGMENTS_KEY, ())) == 0:
        raise ValueError(
            f"The Doc {doc.text[:60]!r} is no pair of a question and a context: there is no "
            f'doc.spans["{SEGMENTS_KEY}"]. Make it with spacy_bert.make_pair(nlp, question, context), or '
            f"put the component 'segments' first in the pipeline (in training also into "
            f"annotating_components) and a blank line between the two."
        )
    start = split_character(doc)
    return len(doc.text) if start is None else start


def set_answers(
    doc: Doc, answers: Sequence[Answer], *, is_answered: bool = True, **facts: Any
) -> None:
    """Write answers to a Doc. In place.

    doc (Doc): The pair.
    answers (Sequence[Answer]): The answers, best first.
    is_answered (bool): Whether they are given; else the group is empty ("no answer"), and they are
        only found in its attrs.
    **facts: What else to keep in `attrs`.
    RAISES: ValueError if the Doc is no pair, or an answer is not in the context where it should be.
    """
    begin = context_start(doc)
    _check_places(doc, answers, begin)
    spans: List[Span] = []
    for answer in answers if is_answered else ():
        span = doc.char_span(begin + answer.start, begin + answer.end, alignment_mode="expand")
        assert span is not None
        spans.append(span)
    stored = [
        {key: value for key, value in answer._asdict().items() if value is not None}
        for answer in answers
    ]
    attrs = {**facts, "answers": stored}
    doc.spans[SPANS_KEY] = SpanGroup(doc, name=SPANS_KEY, attrs=attrs, spans=spans)


def is_annotated(doc: Doc) -> bool:
    """RETURNS (bool): Whether anything is known of its answers, if only that there are none."""
    return SPANS_KEY in doc.spans


def facts_of(doc: Doc) -> Dict[str, Any]:
    """doc (Doc): A Doc with answers.
    RETURNS (Dict[str, Any]): The attrs of the group: "null_score" and what else was kept."""
    return dict(doc.spans[SPANS_KEY].attrs) if is_annotated(doc) else {}


def candidates(doc: Doc) -> List[Answer]:
    """doc (Doc): A Doc with answers.
    RETURNS (List[Answer]): The best ones, also where "no answer" was better."""
    return [Answer(**answer) for answer in facts_of(doc).get("answers", ())]


def answers_of(doc: Doc) -> List[Answer]:
    """doc (Doc): A Doc.
    RETURNS (List[Answer]): Its answers, best first; none if there is none.
    RAISES: ValueError if they are not in the context where they should be."""
    group = doc.spans.get(SPANS_KEY, ())
    if len(group) == 0:
        return []
    begin = context_start(doc)
    found = candidates(doc) or [
        Answer(span.text, span.start_char - begin, span.end_char - begin) for span in group
    ]
    _check_places(doc, found, begin)
    return found


def _check_places(doc: Doc, answers: Sequence[Answer], begin: int) -> None:
    context = doc.text[begin:]
    for answer in answers:
        if answer.start < 0 or context[answer.start : answer.end] != answer.text or not answer.text:
            at = context[max(0, answer.start) : max(0, answer.end)]
            raise ValueError(
                f"The answer {answer.text!r} of the Doc {doc.text[:60]!r} is said to be at characters "
                f"{answer.start} to {answer.end} of the context, where {at[:60]!r} is. Offsets count "
                f"characters from the start of the second text of the pair."
            )
