"""The `segments` component: finds the two texts of a pair in a Doc's text."""

import warnings
from typing import Any

from spacy.tokens import Doc

from ..segments import SPANS_KEY, mark_segments


class Segments:
    """Sets `doc.spans["segments"]` where a Doc holds a separator and does not have them yet.

    Put it first in the pipeline, and into `annotating_components`: spaCy rebuilds Docs from their
    text in training and evaluation, and drops spans.

    name (str): The component's name.
    separator (str): What stands between the two texts; the first occurrence counts. Characters in
        it that are no whitespace are read as the end of the first text.
    RAISES: ValueError for an empty separator.
    """

    marks_segments = True

    def __init__(self, name: str = "segments", *, separator: str = "\n\n") -> None:
        if not separator:
            raise ValueError(
                f"separator of the component '{name}' is empty, but it has to be found in texts. "
                f"Give it some characters, such as a blank line."
            )
        self.name = name
        self.separator = separator

    def __call__(self, doc: Doc) -> Doc:
        """doc (Doc): A Doc.
        RETURNS (Doc): The same, with its segments marked if it is a pair."""
        if SPANS_KEY not in doc.spans:
            mark_segments(doc, self.separator)
        return doc


def check_place_of_segments(component: Any, encoder: str) -> None:
    """Warn of segments that are marked too late.

    component (Any): A component behind an encoder.
    encoder (str): The encoder's name.
    """
    if hasattr(component, "marks_segments"):
        warnings.warn(
            f"The component '{component.name}' stands behind the encoder '{encoder}', which has read a "
            f"pair as one text by the time that its segments are marked. Put it first: "
            f'nlp.add_pipe("segments", first=True).',
            stacklevel=3,
        )
