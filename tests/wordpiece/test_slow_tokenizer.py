"""Where HuggingFace's slow BertTokenizer reads a text otherwise than the fast one, and than we do.

We follow the fast one. What the slow one does differently comes from the Unicode tables (Python's
are newer than the `tokenizers` library's) and from two habits of its own, tested further below.
"""

import sys
import unicodedata
from collections import defaultdict

import pytest
from tokenizers.normalizers import BertNormalizer

from spacy_bert.wordpiece import WordPieceTokenizer

from .small import SPECIALS

# (general category, what the slow one does, what the fast one does) -> why
CLASSES = {
    ("P", "alone", "letter"): "punctuation newer than Unicode 8",
    ("M", "dropped", "letter"): "accents newer than Unicode 8",
    ("C", "dropped", "letter"): "format characters newer than Unicode 8, and unassigned ones",
    ("C", "dropped", "alone"): "unassigned code points among CJK ideographs",
    ("S", "letter", "alone"): "punctuation that became a symbol: U+166D",
    ("M", "dropped", "alone"): "punctuation that became an accent: U+111C9",
    ("M", "letter", "alone"): "punctuation that became an accent: U+111C9, where accents are kept",
    ("M", "letter", "dropped"): "an accent that became a spacing mark: U+1734",
    ("M", "letter", "letter"): "decompositions newer than the library's: U+11938",
    ("L", "letter", "letter"): "case pairs and decompositions newer than the library's",
    ("L", "alone", "letter"): "CJK extension E: the library starts it at U+2B920, not at U+2B820",
}
ALWAYS = [("P", "alone", "letter"), ("C", "dropped", "letter"), ("L", "alone", "letter")]


def sample():
    """Every assigned character, but of the big uniform blocks and of the rest every 61st."""
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category != "Cs" and (category not in ("Lo", "So", "Co", "Cn") or code % 61 == 0):
            yield chr(code)


def words_of(tokenizer, texts):
    """RETURNS (List[List[str]]): The words of each text, put together from their pieces."""
    for encoded in tokenizer.encode_batch(texts):
        words = []
        for piece in (tokenizer.pieces[index] for index in encoded.ids):
            if piece.startswith("##") and len(piece) > 2:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        yield words


def effect(words):
    return {("ab",): "dropped", ("a", "b"): "blank"}.get(
        tuple(words), "alone" if len(words) == 3 else "letter"
    )


@pytest.fixture(scope="module")
def slow():
    return pytest.importorskip("transformers.models.bert.tokenization_bert").BasicTokenizer


def differences(slow, lowercase):
    """RETURNS (Dict[Tuple[str, str, str], List[str]]): Class -> the characters in it."""
    texts = [f"a{char}b" for char in sample()]
    normalizer = BertNormalizer(lowercase=lowercase)
    alphabet = sorted(set().union(*map(normalizer.normalize_str, texts)) - set(" "))
    vocab = [*SPECIALS, *alphabet, *(f"##{char}" for char in alphabet)]
    ours = WordPieceTokenizer(vocab, lowercase=lowercase)
    theirs = slow(do_lower_case=lowercase)
    found = defaultdict(list)
    for text, mine in zip(texts, words_of(ours, texts)):
        other = theirs.tokenize(text)
        if mine != other and (lowercase or unicodedata.is_normalized("NFC", text)):
            category = unicodedata.category(text[1])[0]
            found[category, effect(other), effect(mine)].append(text[1])
    return found


@pytest.mark.parametrize("lowercase", [True, False])
def test_classes_of_characters_that_differ(slow, lowercase):
    """Catches a difference from the slow tokenizer that Unicode tables do not explain."""
    found = differences(slow, lowercase)
    unexplained = {key: chars[:5] for key, chars in found.items() if key not in CLASSES}
    assert not unexplained
    assert all(found[key] for key in ALWAYS)  # the comparison can find differences
    assigned = [chars for (category, *_), chars in found.items() if category != "C"]
    assert sum(map(len, assigned)) < 1000


def test_final_sigma(slow):
    """Catches a change of the library: it lower-cases letter by letter, where Python's `lower`
    gives a Σ at the end of a word its own form.
    """
    assert slow().tokenize("ΟΔΟΣ") == ["οδος"]
    greek = [*SPECIALS, "ο", "##δ", "##ο", "##σ", "##ς"]
    assert list(words_of(WordPieceTokenizer(greek), ["ΟΔΟΣ"])) == [["οδοσ"]]


def test_composition_in_cased_text(slow):
    """Catches a change of the library: the slow tokenizer composes (NFC) first, it does not."""
    cased = WordPieceTokenizer([*SPECIALS, "e", "é", "##\u0301"], lowercase=False)
    assert slow(do_lower_case=False).tokenize("e\u0301") == ["é"]
    assert list(words_of(cased, ["e\u0301"])) == [["e\u0301"]]


def test_composition_of_ideographs_in_cased_text(slow):
    """Catches the same for CJK compatibility ideographs, which NFC replaces by others."""
    cased = WordPieceTokenizer([*SPECIALS, "\uf900", "\u8c48"], lowercase=False)
    assert slow(do_lower_case=False).tokenize("\uf900") == ["\u8c48"]
    assert list(words_of(cased, ["\uf900"])) == [["\uf900"]]
