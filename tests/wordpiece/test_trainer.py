"""Training a vocabulary, and adding words to one."""

import json
import logging
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from spacy_bert.wordpiece import WordPieceTokenizer, extend_vocab, train_vocab
from spacy_bert.wordpiece import words as words_module
from spacy_bert.wordpiece.merges import merge_pairs
from spacy_bert.wordpiece.settings import Settings
from spacy_bert.wordpiece.words import WordCounter, count_words

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STEMS = "work walk talk play read teach learn count point paint train sail bank form port".split()
ENDINGS = ["", "s", "ed", "ing", "er", "ers", "able", "ful", "less", "ings"]


def corpus(n_words=4000, seed=0):
    rng = random.Random(seed)
    words = [rng.choice(STEMS) + rng.choice(ENDINGS) for _ in range(n_words)]
    return [" ".join(words[i : i + 20]).capitalize() + ". Café 12?" for i in range(0, n_words, 20)]


def pieces_of(tokenizer, text):
    return [tokenizer.pieces[i] for i in tokenizer.encode(text).ids]


# counting


@given(st.lists(st.text()))
def test_words_are_the_tokenizers_own(texts):
    """Catches words that are counted otherwise than the tokenizer will see them, above all where a
    character is dropped, decomposed or set apart."""
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    expected: Counter = Counter()
    for text in texts:
        readable = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        split = splitter.pre_tokenize_str(normalizer.normalize_str(readable))
        expected.update(word for word, _ in split)
    assert count_words(texts, Settings()) == expected


def test_counting_in_portions(monkeypatch):
    """Catches counts that are lost when what is held gets too much."""
    texts = corpus()
    expected = count_words(texts, Settings())
    monkeypatch.setattr(words_module, "MAX_CHUNKS", 7)
    assert count_words(iter(texts), Settings()) == expected
    assert list(count_words(reversed(texts), Settings())) == list(expected), "the order is fixed"


def test_memory_is_flat():
    """Catches words kept without end, and frequent ones forgotten with the rare."""
    counter = WordCounter(Settings(), max_words=100)
    for i in range(50):
        counter.add(" ".join(f"rare{i}x{j}" for j in range(60)) + " frequent" * 50)
        counter._flush()
        assert len(counter._words) <= 160
    counts = counter.counts()
    assert 2500 - counter.n_forgotten <= counts["frequent"] <= 2500
    assert counter.n_forgotten > 0


@pytest.mark.parametrize("texts", ["one text", ["a", None], [("a", "b")]])
def test_no_texts(texts):
    """Catches a str that is taken for a list of one-character texts."""
    with pytest.raises(TypeError, match="expected (a list of texts|str)"):
        train_vocab(texts, size=100)


# merging


def naive(words, pieces, size, min_frequency):
    """The algorithm as the paper has it: all pairs counted anew at each step."""
    vocab = list(pieces)
    spelt = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
    while len(vocab) < size:
        pairs: Counter = Counter()
        for word, parts in spelt.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        order = {piece: i for i, piece in enumerate(vocab)}
        best = min(pairs, key=lambda p: (-pairs[p], order[p[0]], order[p[1]]), default=None)
        if best is None or pairs[best] < min_frequency:
            break
        new = best[0] + best[1][2:]
        if new not in order:
            vocab.append(new)
        for word, parts in spelt.items():
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i : i + 2]) == best:
                    merged.append(new)
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            spelt[word] = merged
    return vocab


@given(
    words=st.dictionaries(st.text("abc", min_size=1, max_size=9), st.integers(1, 9), max_size=12),
    size=st.integers(6, 40),
    min_frequency=st.integers(1, 6),
)
def test_merges(words, size, min_frequency):
    """Catches counts that go wrong while words change, above all in "aaa", and ties."""
    pieces = ["a", "b", "c", "##a", "##b", "##c"]
    found = merge_pairs(words, pieces, size=size, min_frequency=min_frequency)
    assert found == naive(words, pieces, size, min_frequency)


def test_the_librarys_vocabulary():
    """Catches an algorithm that is another than the library's: on a text this regular, ties are all
    that may differ."""
    texts = corpus(20_000)
    ours = train_vocab(texts, size=150)
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, min_frequency=2, special_tokens=SPECIALS, show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    theirs = set(library.get_vocab())
    only_ours = {piece for piece in set(ours.pieces) - theirs if len(piece.removeprefix("##")) > 1}
    assert len(only_ours) <= 10


# the vocabulary


def test_vocabulary():
    """Catches special pieces in another order, missing characters and useless pieces."""
    tokenizer = train_vocab(corpus(), size=140, reserved=["[unused0]"])
    assert tokenizer.pieces[:6] == (*SPECIALS, "[unused0]")
    assert len(tokenizer) == 140
    assert pieces_of(tokenizer, "Working café, teachers!")[:1] == ["working"]
    assert "##." not in tokenizer.pieces and "." in tokenizer.pieces
    assert {"##w", "w", "1", "##1"} <= set(tokenizer.pieces)
    # Spelt of other pieces, although it was never seen.
    assert "[UNK]" not in pieces_of(tokenizer, "bankworklessly".replace("y", "s"))


def test_casing():
    """Catches settings that the training ignores, so that the tokenizer finds nothing of it."""
    text = ["Der Übermut des Ärgers. " * 20]
    assert "übermut" in train_vocab(text, size=200, strip_accents=False).pieces
    assert "ubermut" in train_vocab(text, size=200).pieces
    cased = train_vocab(text, size=200, lowercase=False)
    assert "Übermut" in cased.pieces and not cased.settings.lowercase


def test_min_frequency():
    """Catches a threshold that does not hold, for pieces or for characters."""
    texts = ["aaab " * 4 + "ccd " * 5 + "é"]
    tokenizer = train_vocab(texts, size=100, min_frequency=5)
    assert "ccd" in tokenizer.pieces and "aaab" not in tokenizer.pieces
    assert "b" not in tokenizer.pieces and "aaab" in train_vocab(texts, size=100).pieces


def test_alphabet():
    """Catches a limit that keeps rare characters, and pieces made of characters left out."""
    tokenizer = train_vocab(["abc " * 9 + "abx " * 3 + "中 " * 2], size=100, limit_alphabet=3)
    assert "abc" in tokenizer.pieces and "x" not in tokenizer.pieces
    assert not any("x" in piece or "中" in piece for piece in tokenizer.pieces)
    assert pieces_of(tokenizer, "abx") == ["[UNK]"]


def test_names_of_special_pieces():
    """Catches names that the vocabulary does not have."""
    tokenizer = train_vocab(corpus(), size=120, unk="<unk>", mask="<mask>")
    assert tokenizer.pieces[:5] == ("[PAD]", "<unk>", "[CLS]", "[SEP]", "<mask>")
    assert pieces_of(tokenizer, "☃") == ["<unk>"]


def test_little_text(caplog):
    """Catches a vocabulary that is smaller than asked for without a word, and an error where the
    user did not ask for one."""
    with caplog.at_level(logging.WARNING):
        tokenizer = train_vocab(["some words and some more words"], size=500)
    [message] = caplog.messages
    assert f"has {len(tokenizer)} pieces, fewer than the 500 asked for" in message
    assert "6 words, 4 of them different" in message
    with pytest.raises(ValueError, match="fewer than the 500 asked for: .* Give more text"):
        train_vocab(["some words"], size=500, exact_size=True)


@pytest.mark.parametrize(
    "texts, settings, message",
    [
        ([], {}, "The texts have no words"),
        ([" ", "\u200b"], {}, "The texts have no words"),
        (["abc def"] * 2, {"size": 12}, "12 pieces has no room for the 6 characters"),
        (["abc def"], {"min_frequency": 9}, "No character of the texts comes 9 times"),
        (["a"], {"size": 0}, "size is 0"),
        (["a"], {"min_frequency": 0}, "min_frequency is 0"),
        (["a"], {"limit_alphabet": -1}, "limit_alphabet is -1"),
    ],
)
def test_bad_input(texts, settings, message):
    """Catches settings or texts that cannot give a vocabulary."""
    with pytest.raises(ValueError, match=message):
        train_vocab(texts, **{"size": 100, **settings})


TRAIN = """
import sys
sys.path.insert(0, {root!r})
from tests.wordpiece.test_trainer import corpus
from spacy_bert.wordpiece import train_vocab
tokenizer = train_vocab(corpus(), size=160)
tokenizer.to_disk(sys.argv[1])
"""


def test_deterministic(tmp_path, pytestconfig):
    """Catches an order that depends on the seed of a hash or on the number of threads."""
    code = TRAIN.format(root=str(pytestconfig.rootpath))
    found = set()
    for seed in (0, 1, 2):
        folder = tmp_path / str(seed)
        env = {"PYTHONHASHSEED": str(seed), "RAYON_NUM_THREADS": str(seed + 1)}
        command = [sys.executable, "-c", code, str(folder)]
        subprocess.run(command, check=True, env=env, cwd=pytestconfig.rootpath)
        found.add((folder / "vocab.txt").read_bytes())
    assert len(found) == 1 and len(found.pop().splitlines()) == 160


def test_opens_in_huggingface(tmp_path):
    """Catches a folder that HuggingFace's tokenizers cannot open or read other ids with, on text
    that was not trained on."""
    transformers = pytest.importorskip("transformers")
    train_vocab([*corpus(), "ÀÉ 中文 日本 naïve 😀 — “quotes” ½ ﬁ"] * 2, size=200).to_disk(tmp_path)
    ours = WordPieceTokenizer.from_disk(tmp_path)
    held_out = [*corpus(400, seed=1), "Ünknown ☃ wörds 中日, àé😀﹏ don't ﬁnd \u200b\x00½"]
    for kind in (transformers.BertTokenizerFast, transformers.BertTokenizer):
        theirs = kind.from_pretrained(tmp_path, split_special_tokens=True)
        for text in held_out:
            expected = theirs(text, add_special_tokens=False)["input_ids"]
            assert ours.encode(text).ids.tolist() == expected, text


# extending


@pytest.fixture(scope="module")
def base():
    return train_vocab(corpus(), size=140)


def test_extend(base):
    """Catches old ids that change, words that save little before words that save much, and words
    that are not read as one piece."""
    texts = [
        "Workbank-sailport! " * 9 + "portsail " * 9 + "unreadableformers " * 4 + "xyzzy 中"
    ] * 2
    extended = extend_vocab(base, texts, size=len(base) + 3)
    assert extended.pieces[: len(base)] == base.pieces and extended.settings == base.settings
    n_old = {w: len(base.encode(w).ids) for w in ("workbank", "sailport", "portsail")}
    assert all(n > 1 for n in n_old.values())
    assert set(extended.pieces[len(base) :]) <= {*n_old, "unreadableformers"}
    for word in extended.pieces[len(base) :]:
        assert pieces_of(extended, word.capitalize()) == [word]
    for text in corpus(400, seed=2):
        assert extended.encode(text).ids.tolist() == base.encode(text).ids.tolist()


def test_extend_order(base):
    """Catches words ranked by frequency alone, or unknown ones left out."""
    texts = ["portsail " * 3 + "бпкг " * 4 + "workssail " * 2]
    extended = extend_vocab(base, texts, size=len(base) + 1)
    assert extended.pieces[-1] == "бпкг"


def test_extend_with_little_text(base, caplog):
    """Catches fewer words than asked for without a word."""
    with caplog.at_level(logging.WARNING):
        extended = extend_vocab(base, ["portsail portsail sailport"], size=len(base) + 9)
    assert extended.pieces[len(base) :] == ("portsail",)
    assert "only 1 words that come 2 times or more" in caplog.text
    with pytest.raises(ValueError, match="only 0 words"):
        extend_vocab(base, ["portsail"], size=len(base) + 9)
    with pytest.raises(ValueError, match="only 1 words"):
        extend_vocab(base, ["portsail"] * 2, size=len(base) + 9, exact_size=True)
    with pytest.raises(ValueError, match=f"size is {len(base)}, but the vocabulary to extend has"):
        extend_vocab(base, ["portsail"] * 2, size=len(base))


def test_extended_folder(base, tmp_path):
    """Catches an extended vocabulary that does not survive the disk."""
    extended = extend_vocab(base, ["portsail sailport"] * 3, size=len(base) + 2)
    extended.to_disk(tmp_path)
    assert WordPieceTokenizer.from_disk(tmp_path) == extended
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["do_lower_case"] is True


def test_text_without_blanks_is_not_held(monkeypatch):
    """Catches a count whose memory grows with the text where no blanks part it, and one that is wrong
    for having been made in parts."""
    texts = [f"{chr(0x4E00 + i)}水{chr(0x4F00 + i)}木" * 3 for i in range(200)]
    whole = count_words(texts, Settings())
    monkeypatch.setattr(words_module, "MAX_CHUNK_CHARS", 60)
    counter = WordCounter(Settings())
    for text in texts:
        counter.add(text)
        counter.add("a b a " * 3)
        assert sum(map(len, counter._chunks)) <= 60 + 18
    assert counter.counts() == {**whole, "a": 1200, "b": 600}
