"""What a pair is: one Doc that holds two texts, marked by `doc.spans["segments"]`.

A pair has to survive being rebuilt from its text alone (spaCy's Corpus and `spacy evaluate` do
that), so the two texts stand on either side of a separator that can be found again.
"""

import re
from typing import TYPE_CHECKING, Optional

from spacy.tokens import Doc, SpanGroup

if TYPE_CHECKING:
    from spacy.language import Language

SPANS_KEY = "segments"
# In the attrs of the group: which of the two texts are empty, 0 and 1.
EMPTY = "empty"
SEPARATOR = "\n\n"


def make_pair(nlp: "Language", a: str, b: str) -> Doc:
    """Make the Doc of a pair of texts, for `nlp.pipe` or an Example.

    nlp (Language): The pipeline that will process it; the separator is that of its `segments`
        component, if it has one.
    a (str): The first text (segment A): a sentence, a premise, a question.
    b (str): The second text (segment B).
    RETURNS (Doc): A tokenised Doc of both, with the two spans in `doc.spans["segments"]`. Of a text
        that is empty, the span is the separator, and its place is in the group's `attrs["empty"]`.
    RAISES: ValueError if `a` holds a separator other than blank lines.

    Blank around the texts and blank lines inside `a` are made one newline, which BERT reads as
    any other whitespace.
    """
    separator = _separator_of(nlp)
    a, b = a.strip(), b.strip()
    if separator in a:
        a = re.sub(r"\s*\n\s*", "\n", a)
    # Looked for in both together: the end of the first may be the start of a separator.
    if (a + separator).index(separator) < len(a):
        raise ValueError(
            f"The first text of the pair holds the separator {separator!r}: {a[:80]!r}. "
            f"Give the 'segments' component a separator that the texts do not use."
        )
    doc = nlp.make_doc(a + separator + b)
    mark_segments(doc, separator)
    return doc


def mark_segments(doc: Doc, separator: str = SEPARATOR) -> bool:
    """Set `doc.spans["segments"]` from the first separator in the text. In place.

    doc (Doc): The Doc.
    separator (str): What stands between the two texts.
    RETURNS (bool): Whether the text holds a separator; if not, nothing is set.
    RAISES: ValueError if the tokenizer made one token of the separator and the text behind it.
    """
    place = doc.text.find(separator)
    if place < 0:
        return False
    end = place + len(separator)
    starts = [token.idx for token in doc]
    end_of_a = sum(1 for start in starts if start < place)
    start_of_b = sum(1 for start in starts if start < end)
    last = doc[start_of_b - 1]
    if last.text[end - last.idx :].strip():
        raise ValueError(
            f"The separator {separator!r} is inside of the token {last.text[:80]!r}, so that no "
            f"span of the Doc is the second text. Use a separator that the tokenizer splits at, "
            f"such as a blank line, or set the spans before."
        )
    spans = [doc[:end_of_a], doc[start_of_b:]]
    empty = [place for place, span in enumerate(spans) if not len(span)]
    for place in empty:
        # Not an empty span: spaCy cannot copy a Doc that has one (E1052).
        spans[place] = doc[start_of_b - 1 : start_of_b]
    attrs = {EMPTY: empty} if empty else {}
    doc.spans[SPANS_KEY] = SpanGroup(doc, name=SPANS_KEY, attrs=attrs, spans=spans)
    return True


def split_character(doc: Doc) -> Optional[int]:
    """Where segment B of a pair starts.

    doc (Doc): A Doc.
    RETURNS (Optional[int]): The first character of segment B, or None if the Doc is no pair, or B
        is empty: the paper's code, and HuggingFace's, read such a pair as a single text.
    RAISES: ValueError if `doc.spans["segments"]` does not hold two spans in order, which are all of the text
        but what is between them.
    """
    if SPANS_KEY not in doc.spans:
        return None
    spans = doc.spans[SPANS_KEY]
    if len(spans) == 0:
        return None
    # The attrs may be lost on the way, as in JSON.
    empty = {*spans.attrs.get(EMPTY, ()), *(i for i, s in enumerate(spans) if not s.text.strip())}
    if len(spans) != 2 or (spans[0].end > spans[1].start and not empty):
        found = ", ".join(f"[{span.start}:{span.end}]" for span in spans)
        raise ValueError(
            f'doc.spans["{SPANS_KEY}"] of the Doc {doc.text[:60]!r} holds {found}, but two spans '
            f"were expected, the second after the first. Use spacy_bert.make_pair; or, if these spans are "
            f"something else, another name for them."
        )
    outside = [doc[: spans[0].start], doc[max(span.end for span in spans) :]]
    if not empty and any(span.text.strip() for span in outside):
        raise ValueError(
            f'doc.spans["{SPANS_KEY}"] of the Doc {doc.text[:60]!r} leaves text out: '
            f"{', '.join(repr(span.text[:60]) for span in outside if span.text.strip())} is in neither of the "
            f"two. A pair is a Doc of two texts and nothing else: use spacy_bert.make_pair."
        )
    return None if 1 in empty else doc[spans[1].start].idx


def _separator_of(nlp: "Language") -> str:
    for _, pipe in nlp.components:  # disabled ones, too
        separator = getattr(pipe, "separator", None)
        if isinstance(separator, str) and hasattr(pipe, "marks_segments"):
            return separator
    return SEPARATOR
