"""Corpora whose every piece is another one, so that a piece tells where it is from."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Sequence

import numpy as np

from spacy_bert.pretraining.instances import Text
from spacy_bert.pretraining.store import TokenStore
from spacy_bert.pretraining.store_writer import write_store
from spacy_bert.wordpiece import WordPieceTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
N_SPECIALS = len(SPECIALS)

Sizes = Sequence[Sequence[int]]  # of each document, of each sentence, how many pieces

OBJECTIVE = dict(
    nsp=True,
    masking="dynamic",
    duplicates=10,
    whole_word=False,
    causal=False,
    mask_share=0.15,
    mask_as_mask=0.8,
    mask_as_random=0.1,
    short_share=0.1,
)


def objective(**changes: Any) -> SimpleNamespace:
    """The paper's objective, with some changes."""
    return SimpleNamespace(**{**OBJECTIVE, **changes})


def numbered_tokenizer(n_words: int) -> WordPieceTokenizer:
    """Knows the words "0", "1", ...; the piece of word i has the id i + N_SPECIALS."""
    return WordPieceTokenizer([*SPECIALS, *map(str, range(n_words))])


def numbered_documents(sizes: Sizes) -> List[List[str]]:
    """Sentences such as "7 8 9": no word is there twice."""
    words = count()
    return [[" ".join(str(next(words)) for _ in range(n)) for n in document] for document in sizes]


def numbered_store(path: Path, sizes: Sizes) -> TokenStore:
    n_words = sum(map(sum, sizes))
    return write_store(path, numbered_documents(sizes), numbered_tokenizer(n_words))


def numbered_text(sizes: Sizes) -> Text:
    """The arrays of such a store: piece i of the text has the id i."""
    lengths = [n for document in sizes for n in document]
    ends = np.cumsum([0, *map(len, sizes)])
    n_pieces = sum(lengths)
    return Text(
        np.arange(n_pieces),
        np.cumsum([0, *lengths]),
        np.stack([ends[:-1], ends[1:]], axis=1),
        np.zeros(n_pieces, dtype=bool),
    )
