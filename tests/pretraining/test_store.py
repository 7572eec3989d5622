"""The token store: what is in it, and what is no store."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_bert.pretraining.manifest import Manifest
from spacy_bert.pretraining.store import TokenStore, piece_type
from spacy_bert.pretraining.store_writer import write_store
from spacy_bert.wordpiece import WordPieceTokenizer

from .numbered import N_SPECIALS, SPECIALS, numbered_store, numbered_tokenizer

DOCUMENTS = [["the cat sat", "it ran", "dogs"], ["the the the"], ["a cat", "zebra !"]]
VOCABULARY = [*SPECIALS, "the", "cat", "sat", "it", "ran", "dog", "##s", "a"]


@pytest.fixture
def tokenizer():
    return WordPieceTokenizer(VOCABULARY)


@pytest.fixture
def store(tmp_path, tokenizer):
    return write_store(tmp_path / "store", DOCUMENTS, tokenizer)


def test_what_was_written_is_read(store, tokenizer):
    """Catches pieces, sentences or documents that are at another place than they should be."""
    expected = [[tokenizer.encode(text).ids.tolist() for text in d] for d in DOCUMENTS]
    found = [[store.sentence(i).tolist() for i in range(*ends)] for ends in store.documents]
    assert found == expected
    assert len(store) == 3 and store.tokenizer == tokenizer
    assert store.pieces.dtype == np.uint16
    assert store.sentence_offsets.dtype == store.document_offsets.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        store.pieces[0] = 0


def test_the_manifest_counts(store):
    """Catches counts that are wrong: what `info` prints, and the baseline of the masked LM."""
    manifest = store.manifest
    counts = (manifest.n_pieces, manifest.n_sentences, manifest.n_documents)
    assert counts == (14, 6, 3) and manifest.vocab_size == len(VOCABULARY)
    assert manifest.n_unknown == 2
    assert VOCABULARY[manifest.most_frequent_id] == "the" and manifest.most_frequent_count == 4
    assert manifest.most_frequent_share == 4 / 14
    assert Manifest.from_disk(store.path / "manifest.json") == manifest


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=6))
def test_nothing_is_empty(tmp_path, sizes):
    """Catches sentences or documents without pieces that are kept: an instance of one would be
    empty; and documents that are joined where one between them is left out."""
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    kept = [[n for n in document if n] for document in sizes]
    kept = [document for document in kept if document]
    if not kept:
        with pytest.raises(ValueError, match=f"no text: no piece came of {len(sizes)} documents"):
            numbered_store(tmp_path / "store", [*sizes, []][:-1])
        return
    store = numbered_store(tmp_path / "store", sizes)
    found = [[len(store.sentence(i)) for i in range(*ends)] for ends in store.documents]
    assert found == kept
    assert (store.pieces == np.arange(N_SPECIALS, N_SPECIALS + sum(map(sum, kept)))).all()
    assert store.manifest.n_without_pieces == len(sizes) - len(kept)


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    """Catches ids that are cut to 16 bits."""
    assert (piece_type(65_536), piece_type(65_537)) == ("<u2", "<u4")
    tokenizer = numbered_tokenizer(70_000)
    store = write_store(tmp_path / "store", [["69999 1"]], tokenizer)
    assert store.pieces.tolist() == [70_000 + N_SPECIALS - 1, N_SPECIALS + 1]


def test_equal_texts_are_equal_stores(tmp_path, tokenizer, store):
    """Catches a fingerprint that hangs on the place or on the sources, or that does not see a
    border that has moved."""
    same = write_store(tmp_path / "same", DOCUMENTS, tokenizer)
    assert same.fingerprint == store.fingerprint
    joined = [[*DOCUMENTS[0], *DOCUMENTS[1]], DOCUMENTS[2]]
    assert write_store(tmp_path / "joined", joined, tokenizer).fingerprint != store.fingerprint
    other = WordPieceTokenizer([*VOCABULARY, "zebra"])
    assert write_store(tmp_path / "other", DOCUMENTS, other).fingerprint != store.fingerprint


# What is no store, or a damaged one


def test_another_vocabulary_is_refused(store, tokenizer):
    """Catches ids that are read with a vocabulary in which they are other pieces."""
    assert len(TokenStore.open(store.path, tokenizer=tokenizer)) == 3
    swapped = [*VOCABULARY[:-2], VOCABULARY[-1], VOCABULARY[-2]]
    for other in (WordPieceTokenizer(swapped), WordPieceTokenizer(VOCABULARY, lowercase=False)):
        with pytest.raises(ValueError, match="made with another vocabulary.*Prepare the text"):
            TokenStore.open(store.path, tokenizer=other)


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


DAMAGE = {
    "pieces cut off": (lambda d: truncate(d / "pieces.bin"), "pieces.bin is damaged: found 2"),
    "no pieces": (lambda d: (d / "pieces.bin").unlink(), "pieces.bin is damaged: found no file"),
    "offsets cut off": (lambda d: truncate(d / "documents.bin"), "documents.bin is damaged"),
    "no vocabulary": (lambda d: shutil.rmtree(d / "tokenizer"), "damaged: found no file"),
    "manifest torn": (lambda d: truncate(d / "manifest.json"), "manifest.json is damaged.*no JSON"),
    "manifest edited": (
        lambda d: edit(d / "manifest.json", lambda data: data.update(n_pieces=5)),
        "manifest.json is damaged.*edited or",
    ),
    "manifest of something else": (
        lambda d: (d / "manifest.json").write_text('{"name": "app"}'),
        "not the manifest of a token store",
    ),
    "another format": (
        lambda d: edit(d / "manifest.json", lambda data: data.update(format="x.v9")),
        "has the format 'x.v9'; expected 'spacy-bert.TokenStore.v1'",
    ),
}


def truncate(path):
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_on_opening(store, kind):
    """Catches a store that is torn, and is read as if it were whole."""
    damage, message = DAMAGE[kind]
    damage(store.path)
    with pytest.raises(ValueError, match=message):
        TokenStore.open(store.path)


@pytest.mark.parametrize("name", ["pieces.bin", "sentences.bin", "tokenizer/vocab.txt"])
def test_damage_is_found_by_its_checksum(store, name):
    """Catches a file of the right size with a bit that has flipped."""
    file = store.path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.* is damaged|is damaged.*vocabulary|contradict"):
        TokenStore.open(store.path).verify()


def test_a_good_store_passes(store):
    """Catches a check that no store passes."""
    store.verify()


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing", "There is no store .*missing.*Check the path"),
        ("file", "file is a file; expected a folder with manifest.json"),
        ("folder", "folder is no token store: found a, b; expected"),
    ],
)
def test_what_is_no_store(tmp_path, name, message):
    """Catches a wrong path that ends in an error about some file inside."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for file in "ab":
        (tmp_path / "folder" / file).write_text("x")
    with pytest.raises(FileNotFoundError, match=message):
        TokenStore.open(tmp_path / name)


# Holding out


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 12), st.floats(0.001, 0.999), st.integers(0, 5))
def test_documents_are_held_out(tmp_path, n, share, seed):
    """Catches a document that is on both sides or on none, a side that is empty, and one of a
    single document where there are enough for two."""
    if not (tmp_path / str(n)).exists():
        numbered_store(tmp_path / str(n), [[1, 2]] * n)
    store = TokenStore.open(tmp_path / str(n))
    train, held_out = store.split(share, seed=seed)
    both = np.concatenate([train, held_out])
    assert sorted(both.tolist()) == store.documents.tolist()
    for part in (train, held_out):
        assert part.tolist() == sorted(part.tolist())
        assert len(part) >= (2 if n >= 4 else 1)
    least = 2 if n >= 4 else 1
    assert len(held_out) == min(max(round(share * n), least), n - least)
    again = TokenStore.open(tmp_path / str(n)).split(share, seed=seed)
    assert (again[0] == train).all() and (again[1] == held_out).all()


def test_the_seed_decides_what_is_held_out(tmp_path):
    """Catches a split that is always the last documents."""
    store = numbered_store(tmp_path / "store", [[1]] * 50)
    splits = [store.split(0.2, seed=seed)[1] for seed in range(5)]
    assert len({split.tobytes() for split in splits}) == 5
    assert all(len(split) == 10 for split in splits)


def test_nothing_is_held_out(store):
    """Catches a share of zero that is rounded up."""
    train, held_out = store.split(0, seed=0)
    assert (train == store.documents).all() and held_out.shape == (0, 2)


def test_a_single_document_is_held_out_from_in_part(tmp_path):
    """Catches a document that is on both sides, a cut within a sentence, and a part that is empty
    or of the wrong size."""
    store = numbered_store(tmp_path / "store", [[10] * 100])
    for share, expected in ((0.1, 90), (0.001, 99), (0.999, 1)):
        train, held_out = store.split(share, seed=0)
        assert train.tolist() == [[0, expected]] and held_out.tolist() == [[expected, 100]]


def test_one_sentence_cannot_be_held_out_from(tmp_path):
    """Catches a training set without text."""
    store = numbered_store(tmp_path / "store", [[10]])
    with pytest.raises(ValueError, match="one document of one sentence.*held_out = 0"):
        store.split(0.1, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.0, 5])
def test_shares_out_of_range(store, share):
    """Catches a count in the place of a share."""
    with pytest.raises(ValueError, match=f"held_out is {share}; expected a share"):
        store.split(share, seed=0)
