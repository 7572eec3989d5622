"""Piece offsets x token offsets: every overlap, and nothing else."""

import unicodedata
from typing import Any, List, Tuple

import numpy as np
import pytest
import spacy
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer

from spacy_bert.alignment import Alignment, align
from spacy_bert.wordpiece import WordPieceTokenizer

# Syllables that are decomposed, marks that are reordered or dropped, ideographs, controls, spaces.
HARD = "ab Ab'.-!é가한中\u0301\u0323\u1bf3\U0001e00b\u0e31\u094d\u200d\ufffd\u0007\u00a0\u2028\n\t😀İßﬁ"
TEXTS = st.one_of(st.text(max_size=25), st.text(alphabet=HARD, max_size=15))
BLANK = spacy.blank("en")


@pytest.fixture(scope="module")
def tokenizers(tiny_checkpoint: Any) -> List[WordPieceTokenizer]:
    """Uncased, which strips accents and moves characters about, and cased."""
    uncased = WordPieceTokenizer.from_disk(tiny_checkpoint)
    return [uncased, WordPieceTokenizer(uncased.pieces, lowercase=False)]


def run_of(alignment: Alignment, token: int) -> List[int]:
    start = int(alignment.starts[token])
    return list(range(start, start + int(alignment.counts[token])))


def overlapping(pieces: Any, start: int, end: int) -> List[int]:
    """The definition, slowly."""
    return [j for j, (first, last) in enumerate(pieces) if first < end and last > start]


def drops(text: str, lowercase: bool) -> bool:
    """Whether BERT's cleaning, by the library and without any offsets, leaves nothing of a text."""
    cleaned = BertNormalizer(lowercase=lowercase, strip_accents=lowercase).normalize_str(text)
    return not cleaned.strip()


@given(text=TEXTS)
@example(text="don't stop")
@example(text="a\u0301\u0323 가한")
@example(text="한국어는 unaffable!")
def test_real_offsets(tokenizers: List[WordPieceTokenizer], text: str) -> None:
    """A piece that a token misses, one that it takes from its neighbour, or a token without any,
    for any text and spaCy's own tokens."""
    doc = BLANK.make_doc(text)
    starts = np.array([token.idx for token in doc], dtype=np.int64)
    ends = np.array([token.idx + len(token) for token in doc], dtype=np.int64)
    for tokenizer in tokenizers:
        offsets = tokenizer.encode(text).offsets
        alignment = align(offsets, starts, ends)
        for i, token in enumerate(doc):
            run = run_of(alignment, i)
            assert run == overlapping(offsets.tolist(), starts[i], ends[i])
            if not token.is_space:
                assert run or drops(token.text, tokenizer.settings.lowercase), token.text


@st.composite
def offsets_and_tokens(draw: Any) -> Tuple[np.ndarray, np.ndarray]:
    """Pieces whose starts and ends never decrease, some with the same characters, some with gaps
    between them; tokens in order, some empty."""
    places = st.integers(0, 12)
    pieces = []
    for first, last in zip(
        sorted(draw(st.lists(places, max_size=8))), sorted(draw(st.lists(places, max_size=8)))
    ):
        pieces.append((first, max(last, first + 1)))
    cuts = sorted(draw(st.lists(places, max_size=8)))
    tokens = list(zip(cuts[::2], cuts[1::2]))
    return (
        np.array(pieces, dtype=np.int32).reshape(-1, 2),
        np.array(tokens, dtype=np.int64).reshape(-1, 2),
    )


@given(case=offsets_and_tokens())
def test_brute_force(case: Tuple[np.ndarray, np.ndarray]) -> None:
    """Off-by-one at an edge, a gap, several pieces on the same characters, an empty token."""
    pieces, tokens = case
    alignment = align(pieces, tokens[:, 0], tokens[:, 1])
    assert alignment.starts.dtype == alignment.counts.dtype == np.int64
    expected = [
        overlapping(pieces.tolist(), start, end) if end > start else [] for start, end in tokens
    ]
    assert [run_of(alignment, i) for i in range(len(tokens))] == expected
    pairs = [(i, j) for i, run in enumerate(expected) for j in run]
    assert list(zip(*(array.tolist() for array in alignment.pairs()))) == pairs


def test_piece_of_two_tokens() -> None:
    """A piece given to one token only where spaCy splits finer than BERT: "don't" is `do` `n't`
    for the one and `don` `'` `t` for the other."""
    pieces = np.array([(0, 3), (3, 4), (4, 5)])
    alignment = align(pieces, np.array([0, 2]), np.array([2, 5]))
    assert [run_of(alignment, 0), run_of(alignment, 1)] == [[0], [0, 1, 2]]


CHINESE = "2018年他在北京大学BERT"
CHINESE_PIECES = "2018 年 他 在 北 京 大 学 be ##rt".split()


@pytest.mark.parametrize(
    "words, expected",
    [
        # A token a character, as spaCy's own segmenter for Chinese has it: the borders of tokens are
        # inside of pieces.
        (list(CHINESE), [[0]] * 4 + [[i] for i in range(1, 8)] + [[8], [8], [9], [9]]),
        # Words: the borders of pieces are inside of tokens.
        (["2018年", "他", "在", "北京大学", "BERT"], [[0, 1], [2], [3], [4, 5, 6, 7], [8, 9]]),
        # Neither within the other.
        (["20", "18年他", "在北", "京大", "学BE", "RT"], [[0], [0, 1, 2], [3, 4], [5, 6], [7, 8], [9]]),
    ],
)  # fmt: skip
def test_chinese(words: List[str], expected: List[List[int]]) -> None:
    """Catches a piece that is lost or moved where the two segmentations cut across one another, as
    those of Chinese do: characters against words, letters and digits against pieces of several."""
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHINESE_PIECES])
    encoded = tokenizer.encode(CHINESE)
    assert [tokenizer.pieces[i] for i in encoded.ids] == CHINESE_PIECES
    ends = np.cumsum([len(word) for word in words])
    alignment = align(encoded.offsets, ends - [len(word) for word in words], ends)
    assert [run_of(alignment, i) for i in range(len(words))] == expected


def test_spacy_cuts_chinese_into_characters() -> None:
    """Catches a spaCy that segments otherwise than the test above takes for given."""
    doc = spacy.blank("zh").make_doc(CHINESE)
    assert [token.text for token in doc] == list(CHINESE)


@pytest.mark.parametrize("accents", ["composed", "decomposed"])
@pytest.mark.parametrize("settings", [{}, {"strip_accents": False}, {"lowercase": False}])
def test_german(settings: Any, accents: str) -> None:
    """Catches offsets that shift behind an umlaut that is stripped, or written as two characters."""
    text = unicodedata.normalize("NFC" if accents == "composed" else "NFD", "Schöne Größe zählt")
    words = ["schone", "schöne", "Schöne", "große", "größe", "Größe", "zahlt", "zählt"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for word in words:
        pieces += [unicodedata.normalize(form, word) for form in ("NFC", "NFD")]
    tokenizer = WordPieceTokenizer(list(dict.fromkeys(pieces)), **settings)
    doc = spacy.blank("de").make_doc(text)
    encoded = tokenizer.encode(text)
    starts = np.array([token.idx for token in doc])
    ends = starts + [len(token) for token in doc]
    alignment = align(encoded.offsets, starts, ends)
    assert [run_of(alignment, i) for i in range(len(doc))] == [[0], [1], [2]]
    assert tokenizer.unk_id not in encoded.ids


def test_several_pieces_of_one_character() -> None:
    """A Hangul syllable that loses all but one of the pieces it is decomposed into."""
    pieces = np.array([(0, 1), (0, 1), (0, 1), (1, 2)])
    alignment = align(pieces, np.array([0, 1]), np.array([1, 2]))
    assert [run_of(alignment, 0), run_of(alignment, 1)] == [[0, 1, 2], [3]]


def test_nested_piece() -> None:
    """A piece inside its left neighbour (ends that decrease) that hides the neighbour from the
    tokens behind it. A run has no holes: such a token's run holds the nested piece too."""
    pieces = np.array([(0, 10), (1, 2), (10, 11)])
    alignment = align(pieces, np.array([0, 5, 10]), np.array([1, 7, 11]))
    assert [run_of(alignment, i) for i in range(3)] == [[0], [0, 1], [2]]


def test_token_without_characters() -> None:
    """A token of no width (Doc(words=["a", ""])) that is given its neighbours' pieces."""
    pieces = np.array([(0, 2)])
    alignment = align(pieces, np.array([0, 1, 1]), np.array([1, 1, 2]))
    assert alignment.counts.tolist() == [1, 0, 1]


@pytest.mark.parametrize("n_tokens", [0, 3])
def test_nothing_to_align(n_tokens: int) -> None:
    """An error, or a count above zero, where there are no pieces or no tokens."""
    edges = np.arange(n_tokens)
    alignment = align(np.zeros((0, 2), dtype=np.int32), edges, edges + 1)
    assert alignment.counts.tolist() == [0] * n_tokens
    assert [len(array) for array in alignment.pairs()] == [0, 0]
