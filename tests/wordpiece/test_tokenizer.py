"""Ids are HuggingFace's, offsets are right, and a tokenizer is a value: equal, copied, shared."""

import copy
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer

from spacy_bert.wordpiece import Encoded, WordPieceTokenizer

from .small import LETTERS, MARKS, SCRIPTS, SYMBOLS, small_vocab

VOCAB = small_vocab()
# Our settings, beside HuggingFace's names for the same.
SETTINGS = [
    ({}, {}),
    ({"lowercase": False}, {"do_lower_case": False}),
    ({"strip_accents": False}, {"strip_accents": False}),
    (
        {"lowercase": False, "strip_accents": True},
        {"do_lower_case": False, "strip_accents": True},
    ),
    ({"handle_chinese_chars": False}, {"tokenize_chinese_chars": False}),
]
TOKENIZERS = [WordPieceTokenizer(VOCAB, **ours) for ours, _ in SETTINGS]
TEXTS = [
    "",
    "Hello, unaffable world!",
    "[CLS] the [MASK] [mask] [SEP][PAD] [UNK]",
    "don't",
    "ﬁx Å A\u030a ß ẞ İstanbul aİb ΟΔΟΣ",
    "👩\u200d👩\u200d👧 a😀b",
    "ภาษาไทย हिन्दी 中文abc字 한국어 日本語が",
    "a\0b un\ufffdaff\u200bable x\ue000y \x85 \u2028 \t\r\n",
    "\u0301ab e\u0301\u0323\u0301",
    "b\U0001e00b\u1bf3\u302e\u0301c",
]

tricky = st.text(st.sampled_from(LETTERS + SCRIPTS + MARKS + SYMBOLS + " \t\n\0\ufffd\u200b\u3000"))
any_unicode = st.text(st.characters(exclude_categories=["Cs"]))
texts = st.one_of(tricky, any_unicode, st.builds("".join, st.lists(tricky | any_unicode)))


def pieces(tokenizer, text):
    """RETURNS (List[Tuple[str, str]]): Piece and the characters it is made of."""
    ids, offsets = tokenizer.encode(text)
    return [(tokenizer.pieces[i], text[start:end]) for i, (start, end) in zip(ids, offsets)]


# -- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(SETTINGS)))
def test_ids_are_huggingfaces(index, hf_fast):
    """Catches any step of the tokenisation that differs, on texts with all the known traps."""
    reference = hf_fast(**SETTINGS[index][1])
    expected = reference(TEXTS, add_special_tokens=False)["input_ids"]
    assert [encoded.ids.tolist() for encoded in TOKENIZERS[index].encode_batch(TEXTS)] == expected
    assert TOKENIZERS[index].unk_id in sum(expected, [])  # texts and vocabulary do meet the traps


@settings(deadline=None)
@given(text=texts)
@example(text="a" * 101 + " " + "a" * 100)
@example(text="\u035a\U0001134d\ud55c\u0146\U0001d16e")
@pytest.mark.parametrize("index", range(len(SETTINGS)))
def test_any_text_has_huggingfaces_ids(index, hf_fast, text):
    """Catches characters or combinations that nobody thought of."""
    reference = hf_fast(**SETTINGS[index][1])(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZERS[index].encode(text).ids.tolist() == reference


@pytest.mark.parametrize("lowercase", [True, False])
def test_real_vocabulary_has_huggingfaces_ids(checkpoint, lowercase):
    """Catches a difference that only a vocabulary of 30,000 pieces shows, and cutting at the 128
    pieces that this checkpoint's tokenizer.json asks for.
    """
    transformers = pytest.importorskip("transformers")
    reference = transformers.BertTokenizerFast(
        vocab_file=str(checkpoint / "vocab.txt"), do_lower_case=lowercase, split_special_tokens=True
    )
    tokenizer = WordPieceTokenizer(
        WordPieceTokenizer.from_disk(checkpoint).pieces, lowercase=lowercase
    )
    many = [*TEXTS, " ".join(TEXTS) * 20]
    expected = reference(many, add_special_tokens=False)["input_ids"]
    assert [encoded.ids.tolist() for encoded in tokenizer.encode_batch(many)] == expected
    assert len(expected[-1]) > 512


@settings(max_examples=50)
@given(st.lists(texts | st.text(st.characters(categories=["Cs", "Ll"])), max_size=6), st.booleans())
def test_ids_without_offsets_are_the_same(batch, lowercase):
    """Catches a path without offsets that reads some text in another way, lone surrogates and
    empty texts included, or that puts pieces to the wrong text."""
    tokenizer = TOKENIZERS[0 if lowercase else 1]
    ids, counts = tokenizer.encode_ids_batch(batch)
    assert (ids.dtype, counts.dtype) == (np.int32, np.int64)
    found = [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])] if batch else []
    assert found == [encoded.ids.tolist() for encoded in tokenizer.encode_batch(batch)]
    assert len(counts) == len(batch) and counts.sum() == len(ids)


def test_special_pieces_in_a_text_are_plain_text(tokenizer):
    """Catches "[MASK]" in a user's text turning into the model's own mask."""
    encoded = tokenizer.encode("the [MASK]")
    assert [tokenizer.pieces[i] for i in encoded.ids] == ["the", "[", "mask", "]"]


def test_strip_accents_follows_lowercase_unless_said(vocab):
    """Catches None being read as False: cased BERTs keep accents, uncased ones strip them."""
    assert pieces(WordPieceTokenizer(vocab), "É")[0][0] == "e"
    assert pieces(WordPieceTokenizer(vocab, strip_accents=False), "É")[0][0] == "é"
    assert pieces(WordPieceTokenizer(vocab, lowercase=False), "é")[0][0] == "é"


def test_long_words_are_unknown(vocab):
    """Catches a limit that is not the given one, or that counts other than characters."""
    tokenizer = WordPieceTokenizer(vocab, max_word_chars=3)
    assert [piece for piece, _ in pieces(tokenizer, "aaa aaaa 한")] == [
        *("a", "##a", "##a", "[UNK]", "ᄒ", "##ᅡ", "##ᆫ")
    ]


# -- offsets --------------------------------------------------------------------------------------

OFFSETS = {
    "ligature": ({}, "ﬁx", [("ﬁ", "ﬁ"), ("##x", "x")]),
    "composed": ({}, "xÅ c", ["x", ("##a", "Å"), "c"]),
    "decomposed": ({}, "xA\u030a c", ["x", ("##a", "A"), "c"]),
    "composed, cased": ({"lowercase": False}, "Åb", [("Å", "Å"), ("##b", "b")]),
    "decomposed, cased": (
        {"lowercase": False},
        "A\u030ab",
        [("A", "A"), ("##\u030a", "\u030a"), ("##b", "b")],
    ),
    "accents inside a piece": ({}, "he\u0301llo a", [("hello", "he\u0301llo"), ("a", "a")]),
    "accents at the end of a piece": ({}, "une\u0301, a", [("un", "un"), ("##e", "e"), *",a"]),
    "sharp s": ({}, "ßẞa", [("ß", "ß"), ("##ß", "ẞ"), ("##a", "a")]),
    "dotted I": ({}, "aİb İstanbul c", ["a", ("##i", "İ"), "##b", ("istanbul", "İstanbul"), "c"]),
    "dotted I, cased": ({"lowercase": False}, "aİb", ["a", "##İ", "##b"]),
    "dotted I, accents kept": (
        {"strip_accents": False},
        "aİb",
        ["a", ("##i", "İ"), ("##\u0307", "İ"), "##b"],
    ),
    "emoji": ({}, "😀a👩\u200d👩b c", ["😀", "##a", "##👩", "##👩", "##b", "c"]),
    "thai": ({}, "ไท\u0e31ย a", ["ไ", "##ท", "##ย", "a"]),
    "thai, accents kept": (
        {"strip_accents": False},
        "ไท\u0e31ย",
        ["ไ", "##ท", "##\u0e31", "##ย"],
    ),
    "devanagari": ({}, "हिन्द a", ["ह", "##ि", "##न", "##द", "a"]),
    "chinese": ({}, "a中文b字", ["a", "中", "文", "b", "字"]),
    "chinese as letters": ({"handle_chinese_chars": False}, "a中文", ["a", "##中", "##文"]),
    "hangul": (
        {},
        "한국 a",
        [("ᄒ", "한"), ("##ᅡ", "한"), ("##ᆫ", "한"), ("##ᄀ", "국"), ("##ᅮ", "국"), ("##ᆨ", "국"), "a"],
    ),
    "hangul, cased": ({"lowercase": False}, "한국", ["한", "##국"]),
    "dropped inside a word": ({}, "\0a\0b\0 c", [("ab", "a\0b"), "c"]),
    "dropped between pieces": ({}, "un\ufffdaff\u200bd", ["un", "##aff", "##d"]),
    "controls kept": ({"clean_text": False}, "a\u200db", ["a", "##\u200d", "##b"]),
    "private use": ({}, "a\ue000 b", ["a", "b"]),
    "line and page": ({}, "a\u2028b\x85x\x0cy", ["a", "b", "##x", "##y"]),
    "unknown word": ({}, "a ⌘⌘x b", ["a", ("[UNK]", "⌘⌘x"), "b"]),
    "reordered marks": (
        {},
        "b\U0001e00b\u1bf2 c",
        ["b", ("##\u1bf2", "\U0001e00b\u1bf2"), ("##\U0001e00b", "\U0001e00b\u1bf2"), "c"],
    ),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_offsets_are_characters_of_the_original_text(name):
    """Catches offsets into the normalised text, or in bytes or UTF-16 units."""
    changed, text, expected = OFFSETS[name]
    pairs = [(e, e.removeprefix("##")) if isinstance(e, str) else e for e in expected]
    found = pieces(WordPieceTokenizer(VOCAB, **changed), text)
    assert found == pairs


@settings(deadline=None)
@given(text=texts)
@example(text="\u035a\U0001134d\ud55c\u0146\U0001d16e")
@example(text="\U0001d15e\u302e\0\u1bf2")
@pytest.mark.parametrize("index", range(len(SETTINGS)))
def test_offsets_of_any_text(index, text):
    """Catches a piece that points at other characters than it is made of, an empty or a reversed
    piece, and characters that no piece answers for.
    """
    tokenizer = TOKENIZERS[index]
    said = tokenizer.settings
    normalizer = BertNormalizer(
        lowercase=said.lowercase,
        strip_accents=said.strip_accents,
        handle_chinese_chars=said.handle_chinese_chars,
    )
    ids, offsets = tokenizer.encode(text)
    starts, ends = offsets.T
    assert (starts >= 0).all() and (ends <= len(text)).all() and (starts < ends).all()
    assert (np.diff(starts) >= 0).all() and (np.diff(ends) >= 0).all()
    for index, (start, end) in zip(ids, offsets):
        made_of = normalizer.normalize_str(text[start:end])
        if index == tokenizer.unk_id:
            assert made_of.strip()
        else:
            assert tokenizer.pieces[index].removeprefix("##") in made_of
    covered = np.zeros(len(text), dtype=bool)
    for start, end in offsets:
        covered[start:end] = True
    lost = [char for char, found in zip(text, covered) if not found]
    assert not any(normalizer.normalize_str(char).strip() for char in lost)


# -- odd input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n" * 10_000, "\0\ufffd\u200b", " \u0301 \t"])
def test_nothing_to_read_gives_empty_arrays(tokenizer, text):
    """Catches empty results of another shape or dtype, which break whoever concatenates them."""
    ids, offsets = tokenizer.encode(text)
    assert ids.shape == (0,) and ids.dtype == np.int32
    assert offsets.shape == (0, 2) and offsets.dtype == np.int32


def test_shapes_and_types(tokenizer):
    """Catches another dtype or layout than the interface says, and results in another order."""
    assert tokenizer.encode_batch([]) == []
    batch = tokenizer.encode_batch(("the mask", "", "hello"))
    assert [len(encoded.ids) for encoded in batch] == [2, 0, 1]
    for encoded in batch:
        assert isinstance(encoded, Encoded)
        assert encoded.ids.dtype == encoded.offsets.dtype == np.int32
        assert encoded.offsets.shape == (len(encoded.ids), 2)


def test_very_long_word_is_one_unknown_piece(tokenizer):
    """Catches a word that is cut or dropped because of its length."""
    ids, offsets = tokenizer.encode("a " + "b" * 20_000 + " c")
    assert ids.tolist()[1] == tokenizer.unk_id
    assert offsets.tolist() == [[0, 1], [2, 20_002], [20_003, 20_004]]


def test_a_million_characters(tokenizer):
    """Catches time that grows with the square of the length, and silent cutting."""
    text = "hello " * 166_667
    began = time.perf_counter()
    ids, offsets = tokenizer.encode(text)
    assert time.perf_counter() - began < 30
    assert len(ids) == 166_667
    assert offsets[-1].tolist() == [len(text) - 6, len(text) - 1]


def test_lone_surrogates_keep_the_offsets(tokenizer):
    """Catches a crash on text that no encoding can hold, and offsets that it shifts; in one batch
    with sound texts, which must not suffer.
    """
    broken = "a\ud800b \udfff c\udc00"
    sound = "hello é"
    batch = tokenizer.encode_batch([sound, broken])
    assert batch[0].ids.tolist() == tokenizer.encode(sound).ids.tolist()
    found = [
        (tokenizer.pieces[i], broken[s:e]) for i, (s, e) in zip(batch[1].ids, batch[1].offsets)
    ]
    assert found == [("ab", "a\ud800b"), ("c", "c")]


@pytest.mark.parametrize("texts", ["hello", [None], [b"hello"], [("a", "b")], ["a", ["b", "c"]]])
def test_input_that_is_no_text_is_refused(tokenizer, texts):
    """Catches one str read letter by letter, and a tuple read as a pair of texts."""
    with pytest.raises(TypeError, match="expected"):
        tokenizer.encode_batch(texts)


# -- a tokenizer is a value -----------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(SETTINGS)))
@pytest.mark.parametrize("way", ["bytes", "pickle", "copy", "deepcopy", "disk"])
def test_round_trips(index, way, tmp_path):
    """Catches a setting or a piece that gets lost on a way out and in."""
    tokenizer = TOKENIZERS[index]
    tokenizer.to_disk(tmp_path / "folder")
    other = {
        "bytes": lambda: WordPieceTokenizer.from_bytes(tokenizer.to_bytes()),
        "pickle": lambda: pickle.loads(pickle.dumps(tokenizer)),
        "copy": lambda: copy.copy(tokenizer),
        "deepcopy": lambda: copy.deepcopy(tokenizer),
        "disk": lambda: WordPieceTokenizer.from_disk(tmp_path / "folder"),
    }[way]()
    assert other == tokenizer and hash(other) == hash(tokenizer)
    assert other.settings == tokenizer.settings and other.pieces == tokenizer.pieces
    for mine, theirs in zip(tokenizer.encode_batch(TEXTS), other.encode_batch(TEXTS)):
        assert np.array_equal(mine.ids, theirs.ids)
        assert np.array_equal(mine.offsets, theirs.offsets)


def test_equality_and_fingerprint_see_every_difference(vocab):
    """Catches two tokenizers that read texts differently, but pass for one another."""
    base = WordPieceTokenizer(vocab)
    swapped = [*vocab[:-2], vocab[-1], vocab[-2]]
    others = [
        WordPieceTokenizer(swapped),
        WordPieceTokenizer(vocab[:-1]),
        *(
            WordPieceTokenizer(vocab, **changed)
            for changed in (
                {"lowercase": False},
                {"strip_accents": False},
                {"handle_chinese_chars": False},
                {"clean_text": False},
                {"max_word_chars": 99},
                {"mask": "[PAD]"},
            )
        ),
    ]
    for other in others:
        assert other != base and other.fingerprint != base.fingerprint
    assert len({tokenizer.fingerprint for tokenizer in others}) == len(others)
    assert base == WordPieceTokenizer(tuple(vocab), strip_accents=True)  # what None means
    assert base != "a tokenizer"


def test_fingerprint_is_stable():
    """Catches a change of the fingerprint from version to version: stored ones would not match."""
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "é"])
    assert tokenizer.fingerprint == (
        "58c049c872680ab11e211319e535c00917ae2698a1c56498038dcd6fd0131839"
    )


def test_ids_of_special_pieces(tokenizer, vocab):
    """Catches roles that are mixed up, as in a model that masks with [PAD]."""
    found = [
        tokenizer.pad_id,
        tokenizer.unk_id,
        tokenizer.cls_id,
        tokenizer.sep_id,
        tokenizer.mask_id,
    ]
    assert found == [0, 1, 2, 3, 4]
    assert len(tokenizer) == len(vocab) and tokenizer.pieces == tuple(vocab)
    other = WordPieceTokenizer([*vocab, "<mask>"], mask="<mask>")
    assert other.mask_id == len(vocab)


def test_repr_names_size_and_kind(tokenizer, vocab):
    """Catches a repr that prints the vocabulary, or that says nothing."""
    assert repr(tokenizer).startswith(f"<WordPieceTokenizer: {len(vocab)} pieces, uncased, ")
    assert "[MASK]=4" in repr(tokenizer) and len(repr(tokenizer)) < 200


def test_loading_from_bytes_is_fast(checkpoint):
    """Catches a slow way to load: every process of `nlp.pipe(n_process=...)` waits for it."""
    data = WordPieceTokenizer.from_disk(checkpoint).to_bytes()
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        WordPieceTokenizer.from_bytes(data)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.2


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"{}", b'{"format": "other.v9"}'])
def test_foreign_bytes_are_refused(data):
    """Catches a KeyError, or worse, from bytes that are not a tokenizer's."""
    with pytest.raises(ValueError, match="expected 'spacy-bert.WordPiece.v1'"):
        WordPieceTokenizer.from_bytes(data)


@pytest.mark.parametrize(
    "error, vocab, changed, found",
    [
        (ValueError, [], {}, "empty"),
        (ValueError, [*VOCAB, "the"], {}, "'the' twice"),
        (ValueError, [piece for piece in VOCAB if piece != "[MASK]"], {}, r"'\[MASK\]' \(mask\)"),
        (ValueError, VOCAB, {"cls": "<s>"}, "'<s>' \\(cls\\)"),
        (ValueError, [*VOCAB, "a\nb"], {}, "line break"),
        (ValueError, [*VOCAB, "\ud800"], {}, "surrogate"),
        (ValueError, [*VOCAB, ""], {}, "is empty"),
        (ValueError, VOCAB, {"lowercase": "yes"}, "'lowercase' .* is 'yes'"),
        (ValueError, VOCAB, {"strip_accents": 1}, "'strip_accents'"),
        (ValueError, VOCAB, {"max_word_chars": 0}, "'max_word_chars'"),
        (ValueError, VOCAB, {"sep": None}, "'sep'"),
        (TypeError, "abc", {}, "is a str"),
        (TypeError, {"[PAD]": 0}, {}, "is a dict"),
        (TypeError, [*VOCAB, 7], {}, "of type int"),
    ],
)
def test_unusable_vocabularies_are_refused(error, vocab, changed, found):
    """Catches a vocabulary that loads, and gives wrong ids or fails deep inside a model later."""
    with pytest.raises(error, match=found):
        WordPieceTokenizer(vocab, **changed)


def test_threads_share_a_tokenizer(tokenizer):
    """Catches state that one call leaves for another: eight threads, each with its own texts."""
    batches = [[f"{text} {number}" for text in TEXTS] * 20 for number in range(8)]
    expected = [[e.ids.tolist() for e in tokenizer.encode_batch(batch)] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(tokenizer.encode_batch, batches))
            assert [[e.ids.tolist() for e in batch] for batch in found] == expected


def test_imports_neither_torch_nor_spacy():
    """Catches an import that makes the tokenizer heavy, or unusable where spaCy is absent."""
    code = (
        "import sys, spacy_bert.wordpiece; "
        "print(sorted({'torch', 'spacy', 'thinc', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
