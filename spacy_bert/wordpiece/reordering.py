"""Mends offsets where stripping accents changes the order of characters.

To strip accents, text is decomposed (Unicode NFD), and NFD sorts a run of combining marks by their
combining class. The `tokenizers` library hands out offsets to the sorted marks by position:

    text      b   U+1E00B  U+1BF3
    NFD       b   U+1BF3   U+1E00B      (class 9 sorts before class 230)
    library  0-1    1-2      2-3        each mark has the other's offsets
    mended   0-1    1-3      1-3

Nearly always this is without effect, as the marks are dropped next. But some survive: those that
are no Mn (the viramas of a few scripts), and those newer than the library's Unicode tables. Only
for these the whole run becomes the offsets of every piece made of it.
"""

import unicodedata
from functools import cache
from typing import FrozenSet, List, Tuple

import numpy as np
from tokenizers.normalizers import BertNormalizer

_STRIP = BertNormalizer(
    clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
)
_CLEAN = BertNormalizer(
    clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
)
_PLANES_WITH_MARKS = range(0x300, 0x20000)  # no mark below U+0300 or above plane 1


@cache
def surviving_marks() -> FrozenSet[str]:
    """RETURNS (FrozenSet[str]): Characters with a combining class, alone or decomposed, that the
    library's accent stripping leaves in the text. Some 30 ms, once in a process.
    """
    return frozenset(
        char
        for char in map(chr, _PLANES_WITH_MARKS)
        if any(map(unicodedata.combining, unicodedata.normalize("NFD", char)))
        and any(map(unicodedata.combining, _STRIP.normalize_str(char)))
    )


def widen_reordered(text: str, offsets: np.ndarray) -> np.ndarray:
    """Give every piece of a reordered run of marks the whole run.

    text (str): The text.
    offsets (ndarray): (n_pieces, 2) characters of the text, as the library has them.
    RETURNS (ndarray): (n_pieces, 2) the same array where no run was reordered.
    """
    if text.isascii() or surviving_marks().isdisjoint(text):
        return offsets
    runs = _reordered_runs(text)
    if not runs:
        return offsets
    starts = np.arange(len(text), dtype=np.int32)  # (n_chars,) where a piece from here starts
    ends = starts + 1  # (n_chars,) where a piece up to and with this character ends
    for start, end in runs:
        starts[start:end] = start
        ends[start:end] = end
    return np.stack([starts[offsets[:, 0]], ends[offsets[:, 1] - 1]], axis=1)


def _reordered_runs(text: str) -> List[Tuple[int, int]]:
    # A run is what follows one base and precedes the next. A character that cleaning drops parts no
    # run, as cleaning comes first; a base that decomposes into marks of its own belongs to the run.
    bases = [index for index, char in enumerate(text) if _is_base(char)]
    runs = []
    for start, end in zip([0, *bases], [*bases, len(text)]):
        if end - start < 2 or surviving_marks().isdisjoint(text[start:end]):
            continue
        decomposed = [unicodedata.normalize("NFD", char) for char in text[start:end]]
        classes = [order for order in map(unicodedata.combining, "".join(decomposed)) if order]
        if classes != sorted(classes):
            has_marks = any(map(unicodedata.combining, decomposed[0]))
            runs.append((start if has_marks else start + 1, end))
    return runs


@cache
def _is_base(char: str) -> bool:
    starts_with = unicodedata.normalize("NFD", char)[0]
    return not unicodedata.combining(starts_with) and _CLEAN.normalize_str(char) != ""
