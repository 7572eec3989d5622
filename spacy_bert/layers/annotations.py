"""What an encoder leaves on a Doc: plain arrays in `doc.tensor` and `doc.user_data`.

    doc.tensor                          token vectors of the encoder that owns it
    doc.user_data[KEY]["tensor"]        the name of that encoder
    doc.user_data[KEY]["encoders"]      name -> {"ids", "offsets", "cls", "mean", ...}
    doc.user_data[KEY]["characters"]    length of the text that these are about

Only strings, numbers and arrays, so that Doc.to_bytes, DocBin and pickling carry them along. What
is there is replaced and never changed: `span.as_doc(copy_user_data=True)` makes Docs that share it.
"""

from typing import Any, Dict, List, Optional, Sequence, cast

import numpy as np
from spacy.attrs import IDX
from spacy.tokens import Doc
from thinc.types import Floats1d, Floats2d

# In the form of spaCy's own keys for `doc._`, so that what takes Docs apart or puts them together
# knows it for the attribute of a whole Doc: Doc.from_docs leaves it out with a line of warning,
# where it would print all the arrays of a key that it does not know.
KEY: Any = ("._.", "bert", None, None)


def annotate(
    doc: Doc,
    name: str,
    tokens: Floats2d,
    values: Dict[str, Any],
    *,
    set_tensor: bool,
    owns_tensor: bool = True,
    keep: bool,
) -> None:
    """Leave an encoder's results on a Doc. In place.

    doc (Doc): The Doc.
    name (str): The encoder's name in the pipeline.
    tokens (Floats2d): Token vectors, shape (n_tokens, width).
    values (Dict[str, Any]): Everything else, by name.
    set_tensor (bool): Whether the token vectors become `doc.tensor`; else they are kept under the encoder's name.
    owns_tensor (bool): False if something behind sets `doc.tensor` as well: they are kept under the encoder's
        name, too, and read from there.
    keep (bool): Keep the token vectors under the encoder's name too (DocBin drops tensors).
    """
    found = _results(doc)
    owner, encoders = found["tensor"], dict(found["encoders"])
    if set_tensor:
        if owner != name and owner in encoders:
            # The vectors of another encoder stay readable, under its own name.
            encoders[owner] = {**kept(doc.tensor, doc), **encoders[owner]}
        owner = name if owns_tensor else None
        doc.tensor = tokens  # type: ignore[assignment]
        # spaCy caches these on the Doc and does not see that the tensor is a new one
        doc.vector = None  # type: ignore[assignment]
        doc.vector_norm = None  # type: ignore[assignment]
    elif owner == name:
        owner = None
    if keep or owner != name:
        values = {**values, **kept(tokens, doc)}
    encoders[name] = values
    doc.user_data[KEY] = {"tensor": owner, "encoders": encoders, "characters": _characters(doc)}


def kept(tokens: Any, doc: Doc) -> Dict[str, Any]:
    """tokens (Any): Token vectors, shape (n_tokens, width).
    doc (Doc): The Doc that they are of.
    RETURNS (Dict[str, Any]): What to keep, so that it can be told later whether it is still of its tokens."""
    return {"tokens": tokens, "starts": token_starts(doc)}


def token_starts(doc: Doc) -> np.ndarray:
    """doc (Doc): A Doc. RETURNS (np.ndarray): First character of each token, shape (n_tokens,), int32."""
    return doc.to_array([IDX]).reshape(-1).astype(np.int32)


def clear(doc: Doc, name: Optional[str] = None) -> None:
    """Forget what encoders left, `doc.tensor` apart, which is spaCy's to clear. In place.

    doc (Doc): The Doc.
    name (Optional[str]): Only this encoder's.
    """
    if name is None:
        doc.user_data.pop(KEY, None)
    elif KEY in doc.user_data:
        data = doc.user_data[KEY]
        others = {key: value for key, value in data["encoders"].items() if key != name}
        doc.user_data[KEY] = {**data, "encoders": others}


def drop_values(doc: Doc, name: str, keys: Sequence[str]) -> None:
    """Forget some of what an encoder left. In place.

    doc (Doc): A Doc.
    name (str): The encoder, or "*".
    keys (Sequence[str]): What to forget.
    """
    values = values_of(doc, name)
    if values is not None and any(key in values for key in keys):
        data = doc.user_data[KEY]
        name = encoder_names(doc)[0] if name == "*" else name
        rest = {key: value for key, value in values.items() if key not in keys}
        doc.user_data[KEY] = {**data, "encoders": {**data["encoders"], name: rest}}


def _results(doc: Doc) -> Dict[str, Any]:
    """What encoders left on this Doc; nothing, if it is about the Doc that this one is a part of."""
    data = doc.user_data.get(KEY)
    if data is None or data["characters"] != _characters(doc):
        return {"tensor": None, "encoders": {}}
    return data


def _characters(doc: Doc) -> int:
    return doc[-1].idx + len(doc[-1]) if len(doc) else 0


def encoder_names(doc: Doc) -> List[str]:
    """doc (Doc): A Doc.
    RETURNS (List[str]): Encoders that left something on it, the owner of `doc.tensor` first."""
    data = _results(doc)
    return sorted(data["encoders"], key=lambda name: name != data["tensor"])


def values_of(doc: Doc, name: str) -> Optional[Dict[str, Any]]:
    """doc (Doc): A Doc.
    name (str): An encoder, or "*" for whichever was there.
    RETURNS (Optional[Dict[str, Any]]): What it left, or None."""
    if name == "*":
        name = next(iter(encoder_names(doc)), "")
    return _results(doc)["encoders"].get(name)


def tokens_of(doc: Doc, name: str, width: int) -> Optional[Floats2d]:
    """doc (Doc): A Doc.
    name (str): An encoder, or "*".
    width (int): The width that its vectors have.
    RETURNS (Optional[Floats2d]): Its token vectors, shape (n_tokens, width), or None if it did not run."""
    values = values_of(doc, name)
    if values is None:
        return None
    owner = doc.user_data[KEY]["tensor"]
    if owner is not None and name in (owner, "*"):
        # Something else may have replaced or removed the tensor since.
        tensor = doc.tensor
        if tensor is not None and tensor.shape == (len(doc), width):
            return cast(Floats2d, tensor)
    tokens = values.get("tokens")
    if tokens is None or tokens.shape != (len(doc), width):
        return None
    # spaCy's retokenizer keeps doc.tensor in step with the tokens, but not these; and there may be as many as
    # before. (A Doc that an earlier version saved does not say where they began.)
    starts = values.get("starts")
    return tokens if starts is None or np.array_equal(starts, token_starts(doc)) else None


def pooled_of(doc: Doc, name: str, pooling: str) -> Optional[Floats1d]:
    """doc (Doc): A Doc.
    name (str): An encoder, or "*".
    pooling (str): Which vector of the whole Doc.
    RETURNS (Optional[Floats1d]): The vector, shape (width,), or None if it was not made."""
    values = values_of(doc, name)
    return None if values is None else values.get(pooling)
