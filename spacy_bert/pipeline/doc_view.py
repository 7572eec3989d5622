"""`doc._.bert`: what encoders left on a Doc, and similarity by contextual vectors."""

import multiprocessing
from functools import lru_cache
from typing import Any, List, Optional, cast

import numpy as np
from spacy.tokens import Doc, Span, Token
from thinc.types import Floats1d, Floats2d
from thinc.util import to_numpy

from ..alignment import Alignment, align
from ..layers.annotations import clear, encoder_names, tokens_of, values_of
from ..layers.doc_encoder import POOLINGS
from ..layers.doc_windows import align_doc
from ..layers.piece_rows import read_rows, rows_of


class BertView:
    """The results of one encoder on a Doc: a view over plain arrays.

    doc (Doc): The Doc.
    name (str): The encoder's component.
    """

    def __init__(self, doc: Doc, name: str) -> None:
        self.doc = doc
        self.name = name

    def __getitem__(self, name: str) -> "BertView":
        """name (str): Another encoder's component.
        RETURNS (BertView): Its results on the same Doc.
        RAISES: KeyError if it did not run."""
        if values_of(self.doc, name) is None:
            raise KeyError(
                f"No encoder '{name}' ran on this Doc; there are results of {self.names}."
            )
        return BertView(self.doc, name)

    @property
    def names(self) -> List[str]:
        """RETURNS (List[str]): The encoders that ran on the Doc, the owner of `doc.tensor` first."""
        return encoder_names(self.doc)

    @property
    def ids(self) -> np.ndarray:
        """RETURNS (np.ndarray): Piece ids, without [CLS] and [SEP], shape (n_pieces,)."""
        return self._value("ids")

    @property
    def pieces(self) -> List[str]:
        """RETURNS (List[str]): The pieces as the vocabulary spells them, "##" included."""
        return list(self._pieces())

    def _pieces(self) -> List[str]:
        return _split(self._value("pieces")) if len(self.ids) else []

    @property
    def offsets(self) -> np.ndarray:
        """RETURNS (np.ndarray): Start and end of each piece in `doc.text`, shape (n_pieces, 2)."""
        return self._value("offsets")

    @property
    def alignment(self) -> Alignment:
        """RETURNS (Alignment): Which pieces make which token."""
        return align_doc(self.doc, self.offsets)

    def pieces_of(self, i: int) -> List[str]:
        """i (int): Index of a token. (For all tokens of a long Doc, take `alignment` and `pieces` once.)
        RETURNS (List[str]): The pieces that overlap it."""
        token = self.doc[i]
        start, end = np.array([token.idx]), np.array([token.idx + len(token)])
        starts, counts = align(self.offsets, start, end)
        return self._pieces()[starts[0] : starts[0] + counts[0]]

    @property
    def tokens(self) -> Floats2d:
        """RETURNS (Floats2d): Token vectors, each the mean of its pieces' vectors, shape (n_tokens, width)."""
        tokens = tokens_of(self.doc, self.name, len(self.cls))
        if tokens is None and "tokens" in self._values():
            raise ValueError(
                f"The token vectors of '{self.name}' are of other tokens: some were merged or split since. "
                f"Do that before '{self.name}', or read the vectors before."
            )
        if tokens is None:
            raise ValueError(
                f"The token vectors of '{self.name}' are no longer on the Doc: doc.tensor was cleared or "
                f'replaced, or tokens were split since. Read them before; or set keep = ["tokens"] on the '
                f"component, which keeps them as long as the tokens stay as they are."
            )
        return tokens

    @property
    def piece_vectors(self) -> Floats2d:
        """RETURNS (Floats2d): A vector for each of `pieces`, of the window in which its context is widest, shape
            (n_pieces, width). Only with keep = ["rows"] on the component.
        RAISES: ValueError if they were not kept."""
        rows = rows_of(self.doc, self.name)
        if rows is None:
            raise ValueError(
                f"The encoder '{self.name}' left no vectors of pieces on the Doc. "
                f'Set keep = ["rows"] on the component to have them.'
            )
        return rows.data[cast(Any, read_rows(rows.pieces))]

    @property
    def cls(self) -> Floats1d:
        """RETURNS (Floats1d): The [CLS] vector, the mean over windows where there are several, shape (width,)."""
        return self._value("cls")

    def pooled(self, pooling: str) -> Floats1d:
        """pooling (str): "cls", "mean" (over all pieces with [CLS] and [SEP], the recipe of
            sentence-embedding checkpoints), "pooler" or "max" (both only if kept or listened to).
        RETURNS (Floats1d): One vector for the Doc, shape (width,).
        RAISES: ValueError if it was not made."""
        value = self._values().get(pooling) if pooling in POOLINGS else None
        if value is None:
            raise ValueError(
                f"The encoder '{self.name}' left no {pooling!r} vector on the Doc. There are cls "
                f"and mean; pooler and max are made when listed in keep of the component."
            )
        return value

    def _values(self) -> Any:
        return values_of(self.doc, self.name) or {}

    def _value(self, key: str) -> Any:
        values = self._values()
        if key not in values:
            raise ValueError(
                f"The results of the encoder '{self.name}' were cleared from the Doc. Read them before that, "
                f"or process the Doc again."
            )
        return values[key]

    def __repr__(self) -> str:
        return f"<BertView of {self.name!r}: {len(self.ids)} pieces, {len(self.doc)} tokens>"


@lru_cache(maxsize=1)  # of a Doc's tokens, one asks one after the other
def _split(pieces: str) -> List[str]:
    return pieces.split(" ")


def get_view(doc: Doc) -> Optional[BertView]:
    """doc (Doc): A Doc.
    RETURNS (Optional[BertView]): Results of the encoder that owns `doc.tensor`, or of the first; None if none ran."""
    names = encoder_names(doc)
    return BertView(doc, names[0]) if names else None


def set_view(doc: Doc, value: None) -> None:
    """doc (Doc): A Doc.
    value (None): Clears the results; spaCy's doc_cleaner does it with `{"_.bert": null}`.
    RAISES: ValueError for anything else."""
    if value is not None:
        raise ValueError("doc._.bert can only be set to None, which clears it.")
    clear(doc)


# On import, not in a constructor: a pipeline that was unpickled runs none.
if not Doc.has_extension("bert"):
    Doc.set_extension("bert", getter=get_view, setter=set_view)


def install_similarity(doc: Doc) -> None:
    """Have a Doc, its spans and tokens compared by their contextual vectors. spaCy's own
    similarity calls two tokens of the same spelling equal, whatever they mean, and warns (W007)
    that there are no word vectors. In place.

    doc (Doc): The Doc.
    """
    if _is_pipe_worker():
        # The Doc goes to the parent as bytes, which cannot hold functions, with a warning (W109).
        return
    for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
        hooks.setdefault("similarity", similarity)


def _is_pipe_worker() -> bool:
    """Whether this process is one of those that `nlp.pipe(n_process=2)` starts."""
    target = getattr(multiprocessing.current_process(), "_target", None)
    return getattr(target, "__name__", "") == "_apply_pipes"


def similarity(one: Any, other: Any) -> float:
    """one (Union[Doc, Span, Token]): What is compared.
    other (Union[Doc, Span, Token, Lexeme]): What it is compared with.
    RETURNS (float): Cosine of their contextual vectors; 0.0 if one of them is zero, or has no tokens.
    RAISES: ValueError if one of them has no vector, or they come from different encoders."""
    if _is_empty(one) or _is_empty(other):
        return 0.0
    # One of them may be on a GPU, and the other loaded from a file.
    rows = _row_of_tensor(one), _row_of_tensor(other)
    # A word by itself has no context, nor a text that no encoder has read.
    both = rows if all(row is not None for row in rows) else (one.vector, other.vector)
    a, b = map(to_numpy, both)
    if a.shape != b.shape:
        raise ValueError(
            f"Vectors of {a.shape} and {b.shape} cannot be compared: {one.text[:40]!r} and "
            f"{other.text[:40]!r} come from different pipelines, or one was not processed."
        )
    norm = float((a**2).sum()) ** 0.5 * float((b**2).sum()) ** 0.5
    return float((a * b).sum()) / norm if norm else 0.0


def _row_of_tensor(compared: Any) -> Optional[Any]:
    """Its part of `doc.tensor`: `.vector` is the word's where the vocab has vectors. None where `.vector`
    is asked: if there are none, or somebody else made one; and if there is no such tensor."""
    doc = compared if isinstance(compared, Doc) else getattr(compared, "doc", None)
    if doc is None or not doc.vocab.vectors_length or len(doc.tensor) != len(doc):
        return None
    if "vector" in {*doc.user_hooks, *doc.user_span_hooks, *doc.user_token_hooks}:
        return None
    if isinstance(compared, Token):
        return doc.tensor[compared.i]
    rows = doc.tensor if isinstance(compared, Doc) else doc.tensor[compared.start : compared.end]
    return rows.mean(axis=0)


def _is_empty(compared: Any) -> bool:
    """Whether a Doc or Span has no tokens: spaCy gives it a vector without elements then."""
    return isinstance(compared, (Doc, Span)) and len(compared) == 0
