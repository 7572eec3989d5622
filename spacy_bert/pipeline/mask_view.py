"""`doc._.fill_mask`: what BERT would put in the place of each mask of a Doc.

    doc.user_data[KEY]    {"text": length of the text that this is about,
                           "offsets", "ids", "logits", "probabilities": arrays,
                           "pieces": the names of the ids, one a line}

Only strings, numbers and arrays, so that Doc.to_bytes, DocBin and pickling carry them along.
"""

from typing import Any, List, NamedTuple, Optional, Sequence

from spacy.tokens import Doc, Span

from ..layers.masked_lm import MaskPredictions

# In the form of spaCy's own keys for `doc._`, so that what takes Docs apart or puts them together
# knows it for the attribute of a whole Doc.
KEY: Any = ("._.", "fill_mask", None, None)


class Prediction(NamedTuple):
    """A piece that may stand in the place of a mask.

    piece (str): As the vocabulary spells it; "##" is for the continuation of a word.
    id (int): Its number in the vocabulary.
    probability (float): Its share among all pieces of the vocabulary.
    logit (float): What the network gave for it; the probability is the softmax of these.
    """

    piece: str
    id: int
    probability: float
    logit: float


class FilledMask(NamedTuple):
    """One mask of a text.

    start (int): Its first character in `doc.text`.
    end (int): The character after its last.
    tokens (Span): The tokens that it is in or made of: spaCy's tokenizers split "[MASK]".
    predictions (List[Prediction]): The best pieces, best first.
    """

    start: int
    end: int
    tokens: Span
    predictions: List[Prediction]


def store(doc: Doc, found: MaskPredictions, names: Sequence[str]) -> None:
    """Leave predictions on a Doc, instead of what was there. In place.

    doc (Doc): The Doc.
    found (MaskPredictions): The best pieces for each of its masks.
    names (Sequence[str]): The pieces of the vocabulary, by id.
    """
    pieces = [names[piece] for piece in found.ids.ravel().tolist()]
    # Copies, as views would keep the results of the whole batch alive.
    arrays = {key: array.copy() for key, array in found._asdict().items()}
    # "\n", as BERT's vocabularies hold pieces with blanks in them, but none with a line break.
    doc.user_data[KEY] = {"text": len(doc.text), "pieces": "\n".join(pieces), **arrays}


def get_masks(doc: Doc) -> Optional[List[FilledMask]]:
    """doc (Doc): A Doc.
    RETURNS (Optional[List[FilledMask]]): One entry for each mask, in the order of the text; None if
        `fill_mask` did not run on it. (A span's `as_doc` is another text, on which it did not.)"""
    data = doc.user_data.get(KEY)
    if data is None or data["text"] != len(doc.text):
        return None
    names = iter(data["pieces"].split("\n"))
    masks = []
    for i, (start, end) in enumerate(data["offsets"].tolist()):
        rows = [data[key][i].tolist() for key in ("ids", "probabilities", "logits")]
        predictions = [Prediction(next(names), *values) for values in zip(*rows)]
        tokens = doc.char_span(start, end, alignment_mode="expand")
        assert tokens is not None  # every character but whitespace is in a token
        masks.append(FilledMask(start, end, tokens, predictions))
    return masks


def set_masks(doc: Doc, value: None) -> None:
    """doc (Doc): A Doc.
    value (None): Clears the results; spaCy's doc_cleaner does it with `{"_.fill_mask": null}`.
    RAISES: ValueError for anything else."""
    if value is not None:
        raise ValueError("doc._.fill_mask can only be set to None, which clears it.")
    doc.user_data.pop(KEY, None)


# On import, not in a constructor: a pipeline that was unpickled runs none.
if not Doc.has_extension("fill_mask"):
    Doc.set_extension("fill_mask", getter=get_masks, setter=set_masks)
