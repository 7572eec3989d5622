"""What the number of a text is: `doc._.score`, of the annotated Doc and of the predicted one.

As an attribute of the Doc it is kept in `doc.user_data`, so that it survives `doc.to_bytes`, and
`DocBin(store_user_data=True)`. (`doc.cats` would be stored always, but spaCy's `textcat` refuses
values there other than 0 and 1, and takes each name for a label of its own.)
"""

import math
import warnings
from numbers import Real
from typing import Optional

from spacy.tokens import Doc

ATTRIBUTE = "score"

# On import, not in a constructor: a pipeline that was unpickled runs none.
if not Doc.has_extension(ATTRIBUTE):
    Doc.set_extension(ATTRIBUTE, default=None)
elif any(part is not None for part in Doc.get_extension(ATTRIBUTE)):
    default, method, getter, _ = Doc.get_extension(ATTRIBUTE)
    kind = "a getter" if getter else "a method" if method else f"the default {default!r}"
    warnings.warn(
        f"doc._.{ATTRIBUTE}, where the numbers of texts are (text_regressor), was registered with {kind} "
        f"before. Predictions would not show, or texts without a number would have one. Register "
        f"yours under another name.",
        stacklevel=2,
    )


def set_score(doc: Doc, score: Optional[float]) -> None:
    """Give a Doc its number. In place.

    doc (Doc): The Doc.
    score (Optional[float]): The number; None if it has none.
    """
    doc._.set(ATTRIBUTE, None if score is None else float(score))


def score_of(doc: Doc) -> Optional[float]:
    """doc (Doc): A Doc.
    RETURNS (Optional[float]): Its number; None if it has none, or NaN, which stands for a missing one.
    RAISES: ValueError if what it has is no number, or infinite.
    """
    value = doc._.get(ATTRIBUTE)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(
            f"doc._.{ATTRIBUTE} of the Doc {doc.text[:60]!r} is {value!r}, but a number was "
            f"expected, or None if the text has none."
        )
    score = float(value)
    if math.isinf(score):
        raise ValueError(
            f"doc._.{ATTRIBUTE} of the Doc {doc.text[:60]!r} is infinite, which nothing can learn. "
            f"Give a finite number, or None if the text has none."
        )
    return None if math.isnan(score) else score
