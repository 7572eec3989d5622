"""Tokens that BERT's tokenisation leaves no piece of: their vectors are zeros, and nobody would know."""

import warnings
from typing import List, Sequence

import numpy as np
from spacy.tokens import Doc, Token

from ..alignment import Alignment


def bare_tokens(docs: Sequence[Doc], alignments: Sequence[Alignment]) -> List[Token]:
    """docs (Sequence[Doc]): Some Docs.
    alignments (Sequence[Alignment]): Which pieces make which of their tokens.
    RETURNS (List[Token]): The tokens without any, whitespace, of which BERT reads nothing, aside."""
    return [
        doc[i]
        for doc, alignment in zip(docs, alignments, strict=True)
        for i in np.flatnonzero(alignment.counts == 0).tolist()
        if not doc[i].is_space
    ]


def warn_of(bare: List[Token], n_tokens: int) -> None:
    """bare (List[Token]): Tokens without pieces, one at least.
    n_tokens (int): Among how many."""
    first = bare[0]
    warnings.warn(
        f"Zero vectors for {len(bare)} of {n_tokens} tokens: they have no pieces. The first "
        f"is {ascii(first.text)} in the Doc {first.doc.text[:40]!r}. BERT's tokenisation drops "
        f"control, formatting and private-use characters, and an uncased one combining "
        f"marks; clean the texts if they matter. (Further ones are only counted, in the "
        f"component's n_bare_tokens.)",
        stacklevel=2,
    )
