"""Masks: how many, where, and behind what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_bert.pretraining.masking import (
    Masking,
    _first_of_each,
    _words_that_fit,
    next_pieces,
)
from spacy_bert.pretraining.randomness import stream_key, words
from spacy_bert.wordpiece import WordPieceTokenizer

from .numbered import N_SPECIALS, numbered_tokenizer

CLS, SEP, MASK = 2, 3, 4
N_WORDS = 95  # with the specials, a vocabulary of 100
lengths_of_sequences = st.lists(st.integers(2, 40), min_size=1, max_size=6)


def batch(lengths, *, seed=0, vocabulary=N_WORDS):
    """[CLS] ... [SEP], the second [SEP] in the middle where there is room."""
    draws = np.random.default_rng(seed)
    ids = [draws.integers(N_SPECIALS, N_SPECIALS + vocabulary, n) for n in lengths]
    special = [np.zeros(n, dtype=bool) for n in lengths]
    for n, row, mark in zip(lengths, ids, special):
        where = [0, n - 1, *([n // 2] if n > 4 else [])]
        row[where], mark[where] = SEP, True
        row[0] = CLS
    keys = words(stream_key(seed), np.arange(len(lengths), dtype=np.uint64))
    return np.concatenate(ids), np.concatenate(special), np.array(lengths), keys


def within(count, n, share, *, sigmas=5):
    """Whether a count of n is what a share makes likely."""
    return abs(count - n * share) <= sigmas * np.sqrt(n * share * (1 - share))


@given(lengths_of_sequences, st.integers(0, 99))
def test_how_many_and_never_a_special(lengths, seed):
    """Catches a count that is not max(1, round(0.15 n)) with the specials in n, a special that is
    masked, rows that do not ascend, and originals that are not what was there."""
    ids, special, sizes, keys = batch(lengths, seed=seed)
    before = ids.copy()
    hidden, rows, originals = Masking(numbered_tokenizer(N_WORDS))(ids, special, sizes, keys)
    assert (ids == before).all() and (np.diff(rows) > 0).all()
    assert not special[rows].any() and (originals == ids[rows]).all()
    elsewhere = np.setdiff1d(np.arange(len(ids)), rows)
    assert (hidden[elsewhere] == ids[elsewhere]).all()
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    counts = np.bincount(sequence[rows], minlength=len(lengths)).tolist()
    room = np.bincount(sequence[~special], minlength=len(lengths)).tolist()
    assert counts == [min(max(1, round(0.15 * n)), r) for n, r in zip(lengths, room)]


@pytest.mark.parametrize("n, expected", [(3, 1), (9, 1), (10, 2), (30, 4), (50, 8), (128, 19)])
def test_halves_round_as_in_the_original(n, expected):
    """Catches rounding halves up: 0.15 * 30 is 4.5, and Python's round makes 4 of it."""
    _, rows, _ = Masking(numbered_tokenizer(N_WORDS))(*batch([n]))
    assert len(rows) == expected


def test_eighty_ten_ten_of_the_whole_vocabulary():
    """Catches shares that are wrong by a percent, random pieces that leave out a part of the
    vocabulary, and a fate that hangs on what the piece is."""
    ids, special, sizes, keys = batch([128] * 2000)
    hidden, rows, originals = Masking(numbered_tokenizer(N_WORDS))(ids, special, sizes, keys)
    n = len(rows)
    shown = hidden[rows]
    # One in a hundred of the random pieces is [MASK], and one the piece that was there.
    assert within((shown == MASK).sum(), n, 0.8 + 0.1 / 100)
    assert within((shown == originals).sum(), n, 0.1 + 0.1 / 100)
    random = shown[(shown != MASK) & (shown != originals)]
    counts = np.bincount(random, minlength=100)
    counts = np.delete(counts, MASK)
    # Those that were there themselves are missing from 95 of them, evenly.
    counts[:4] = counts[:4] * (1 - 1 / 95)
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() < 98 + 5 * np.sqrt(2 * 98)


def test_every_place_is_as_likely():
    """Catches places that are favoured: the first ones, or those after a special."""
    ids, special, sizes, keys = batch([40] * 4000)
    _, rows, _ = Masking(numbered_tokenizer(N_WORDS))(ids, special, sizes, keys)
    counts = np.bincount(rows % 40, minlength=40)[~special[:40]]
    assert all(within(count, 4000, 6 / 37) for count in counts)


@given(lengths_of_sequences, st.booleans())
def test_a_sequence_does_not_depend_on_its_batch(lengths, whole_word):
    """Catches draws that are shared between sequences: masks would change with the batch size."""
    masking = Masking(worded_tokenizer(), whole_word=whole_word)
    ids, special, sizes, keys = batch(lengths)
    hidden, rows, _ = masking(ids, special, sizes, keys)
    ends = np.cumsum(sizes)
    for i, (start, end) in enumerate(zip(ends - sizes, ends)):
        part = slice(start, end)
        alone = masking(ids[part], special[part], sizes[i : i + 1], keys[i : i + 1])
        assert (alone.ids == hidden[part]).all()
        assert (alone.rows + start == rows[(rows >= start) & (rows < end)]).all()


def test_other_shares():
    """Catches a setting that is not used."""
    tokenizer = numbered_tokenizer(N_WORDS)
    hidden, rows, originals = Masking(tokenizer, share=0.5, as_mask=0, as_random=0)(*batch([100]))
    assert len(rows) == 50 and (hidden[rows] == originals).all()
    hidden, rows, _ = Masking(tokenizer, share=1, as_mask=1, as_random=0)(*batch([100]))
    assert len(rows) == 97 and (hidden[rows] == MASK).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(share=0.0), "mask_share is 0.0; expected more than 0"),
        (dict(share=1.5), "mask_share is 1.5"),
        (dict(as_mask=0.95), "mask_as_mask is 0.95 and mask_as_random is 0.1"),
        (dict(as_random=-0.1), "mask_as_random is -0.1"),
    ],
)
def test_shares_out_of_range(settings, message):
    """Catches a share of zero, with which nothing would ever be masked, and other impossible ones."""
    with pytest.raises(ValueError, match=message):
        Masking(numbered_tokenizer(N_WORDS), **settings)


def test_specials_alone_have_no_masks():
    """Catches an error, or a masked [SEP], where there is no piece to mask."""
    ids = np.array([CLS, SEP, CLS, 7, SEP])
    special = np.array([True, True, True, False, True])
    keys = np.arange(2, dtype=np.uint64)
    for whole_word in (False, True):
        masking = Masking(worded_tokenizer(), whole_word=whole_word)
        assert masking(ids, special, np.array([2, 3]), keys).rows.tolist() == [3]
        assert masking(ids[:2], special[:2], np.array([2]), keys[:1]).rows.tolist() == []


# Whole words


def worded_tokenizer():
    """Every second piece goes on with a word."""
    words = [f"{'##' if i % 2 else ''}{i}" for i in range(N_WORDS)]
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])


@given(lengths_of_sequences, st.integers(0, 99))
def test_words_are_masked_whole(lengths, seed):
    """Catches a word that is masked in part, one that goes on across a [SEP], more masks than
    there is room for, and a sequence without any."""
    tokenizer = worded_tokenizer()
    ids, special, sizes, keys = batch(lengths, seed=seed)
    _, rows, _ = Masking(tokenizer, whole_word=True)(ids, special, sizes, keys)
    chosen = np.isin(np.arange(len(ids)), rows)
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    found = [[] for _ in lengths]
    for row in np.flatnonzero(~special):
        goes_on = tokenizer.pieces[ids[row]].startswith("##") and not special[row - 1]
        if goes_on:
            assert chosen[row] == chosen[row - 1]
            found[sequence[row]][-1] += chosen[row]
        else:
            found[sequence[row]].append(int(chosen[row]))
    for n, taken in zip(lengths, found):
        masked = [size for size in taken if size]
        if taken:
            assert len(masked) == 1 or sum(masked) <= max(1, round(0.15 * n))
            assert masked


@given(
    st.lists(st.lists(st.integers(1, 5), max_size=12), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(0, 999),
)
def test_words_are_those_of_the_original(sizes, wanted, seed):
    """Catches another choice than that of create_pretraining_data.py: words in random order, each
    one that still fits; and where it would mask none, the first."""
    draws = np.random.default_rng(seed)
    flat = np.array([n for words in sizes for n in words], dtype=np.int64)
    sequence = np.repeat(np.arange(len(sizes)), [len(words) for words in sizes])
    order = sequence.astype(np.uint64) << np.uint64(40) | draws.permutation(len(flat)).astype(
        np.uint64
    )
    expected = np.zeros(len(flat), dtype=bool)
    for number in range(len(sizes)):
        candidates = sorted(np.flatnonzero(sequence == number), key=order.__getitem__)
        total = 0
        for word in candidates:
            if total + flat[word] <= wanted:
                expected[word] = True
                total += flat[word]
        if candidates and not total:
            expected[candidates[0]] = True
    found = _words_that_fit(sequence, order, flat, np.full(len(sizes), wanted))
    assert (found == expected).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 5), st.integers(0, 999))
def test_the_first_of_each(sizes, wanted, seed):
    """Catches elements of one sequence that are counted for another."""
    draws = np.random.default_rng(seed)
    sequence = np.repeat(np.arange(len(sizes)), sizes)
    order = sequence.astype(np.uint64) << np.uint64(40) | draws.permutation(sum(sizes)).astype(
        np.uint64
    )
    expected = []
    for number in range(len(sizes)):
        elements = sorted(np.flatnonzero(sequence == number), key=order.__getitem__)
        expected += sorted(elements[:wanted])
    assert _first_of_each(sequence, order, np.full(len(sizes), wanted)).tolist() == expected


def test_next_pieces():
    """Catches a last row that tells the first piece of the next sequence."""
    rows, pieces = next_pieces(np.array([2, 7, 8, 3, 2, 9, 3]), np.array([4, 3]))
    assert rows.tolist() == [0, 1, 2, 4, 5]
    assert pieces.tolist() == [7, 8, 3, 9, 3]
