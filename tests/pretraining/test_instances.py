"""Instances against the original algorithm, and against what must hold of each."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_bert.pretraining import instances as module
from spacy_bert.pretraining.instances import (
    Text,
    cut_long,
    make_pairs,
    make_singles,
    stretches_of,
)

from .numbered import numbered_text

documents_of_sentences = st.lists(
    st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=2, max_size=5
)


def pairs(text, *, seed=0, max_length=35, short_share=0.1):
    return make_pairs(
        text,
        text.documents,
        np.arange(len(text.documents)),
        max_length=max_length,
        short_share=short_share,
        draws=np.random.default_rng(seed),
    )


def singles(text, *, seed=0, max_length=35, short_share=0.1):
    return make_singles(
        text,
        text.documents,
        max_length=max_length,
        short_share=short_share,
        draws=np.random.default_rng(seed),
    )


def owners_of(text, pieces):
    """Of which document each piece is."""
    starts = text.sentence_offsets[text.documents[:, 0]]
    return np.searchsorted(starts, pieces, side="right") - 1


def within(count, n, share, *, sigmas=5):
    return abs(count - n * share) <= sigmas * np.sqrt(n * share * (1 - share))


# What must hold


@given(documents_of_sentences, st.integers(5, 60), st.integers(0, 99))
def test_every_pair_is_one(sizes, max_length, seed):
    """Catches a sequence that is too long, an empty segment, a segment across two documents, a
    random B from the document of A, and a B that is said to be next and comes before A."""
    text = numbered_text(sizes)
    found = pairs(text, seed=seed, max_length=max_length)
    lengths = found.lengths
    assert len(found) and lengths.max() <= max_length
    for ranges in (found.a, found.b):
        assert (ranges[:, 0] < ranges[:, 1]).all()
        assert (owners_of(text, ranges[:, 0]) == owners_of(text, ranges[:, 1] - 1)).all()
    same = owners_of(text, found.a[:, 0]) == owners_of(text, found.b[:, 0])
    assert (same == ~found.not_next).all()
    following = ~found.not_next
    assert (found.a[following, 1] <= found.b[following, 0]).all()
    # Nothing was taken out between them, unless the pair was too long.
    whole = following & (lengths < max_length)
    assert (found.a[whole, 1] == found.b[whole, 0]).all()


@given(documents_of_sentences, st.integers(0, 99))
def test_unused_sentences_are_put_back(sizes, seed):
    """Catches sentences that are skipped after a random B, and sentences that are read twice: what
    is not truncated starts where the last chunk ended, from the first sentence to the last."""
    text = numbered_text(sizes)
    # The pairs that fit, as no sentence is longer than the target: nothing is truncated.
    found = pairs(text, seed=seed, max_length=2000, short_share=1.0)
    read = np.where(found.not_next, found.a[:, 1], found.b[:, 1])
    expected = np.concatenate([[0], read[:-1]])
    assert (found.a[:, 0] == expected).all()
    assert read[-1] == text.sentence_offsets[-1]
    assert np.isin(found.a, text.sentence_offsets).all()


@given(documents_of_sentences, st.integers(4, 60), st.floats(0, 1), st.integers(0, 99))
def test_single_segments_are_the_text(sizes, max_length, short_share, seed):
    """Catches a piece that is lost or read twice, a segment across documents, and a sequence that
    ends too early."""
    text = numbered_text(sizes)
    found = singles(text, seed=seed, max_length=max_length, short_share=short_share)
    pieces = np.concatenate([np.arange(*ranges) for ranges in found.a])
    assert (pieces == text.pieces).all()
    assert found.lengths.max() <= max_length and not found.not_next.any()
    assert (owners_of(text, found.a[:, 0]) == owners_of(text, found.a[:, 1] - 1)).all()
    if short_share == 0:
        last = np.append(np.diff(owners_of(text, found.a[:, 0])) > 0, True)
        assert (found.lengths[~last] == max_length).all()


# The original


def original(document, documents, *, max_num_tokens, short, rng):
    """`create_instances_from_document` of google-research/bert, with a target for each instance,
    and without the tokens: (pieces of A, pieces of B, is random), before truncation."""

    def target():
        return rng.randint(2, max_num_tokens) if rng.random() < short else max_num_tokens

    sentences = documents[document]
    found, chunk, i, wanted = [], [], 0, target()
    while i < len(sentences):
        chunk.append(sentences[i])
        if i == len(sentences) - 1 or sum(chunk) >= wanted:
            a_end = 1 if len(chunk) < 2 else rng.randint(1, len(chunk) - 1)
            a = sum(chunk[:a_end])
            is_random = len(chunk) == 1 or rng.random() < 0.5
            if is_random:
                other = document
                while other == document:
                    other = rng.randint(0, len(documents) - 1)
                b = 0
                for n in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
                    b += n
                    if b >= wanted - a:
                        break
                i -= len(chunk) - a_end
            else:
                b = sum(chunk[a_end:])
            found.append((a, b, is_random))
            chunk, wanted = [], target()
        i += 1
    return found


def truncated(a, b, most, rng):
    """`truncate_seq_pair`: how many pieces go from the front and the back of A, and of B."""
    cut = {"a": [0, 0], "b": [0, 0]}
    while a + b > most:
        longer = "a" if a > b else "b"
        cut[longer][0 if rng.random() < 0.5 else 1] += 1
        a, b = (a - 1, b) if longer == "a" else (a, b - 1)
    return a, b, cut


def test_pairs_are_distributed_as_in_the_original(monkeypatch):
    """Catches any other rule for targets, the end of A, random B's or what they are filled with:
    means over many draws are those of the original's code."""
    monkeypatch.setattr(module, "_truncate", lambda *arguments: None)
    rng = random.Random(0)
    sizes = [[rng.randint(1, 28) for _ in range(rng.randint(1, 40))] for _ in range(6)]
    text = numbered_text(sizes)
    ours, theirs = [], []
    for seed in range(250):
        found = pairs(text, seed=seed, max_length=35, short_share=0.3)
        a, b = (ranges[:, 1] - ranges[:, 0] for ranges in (found.a, found.b))
        ours.append(summary(a, b, found.not_next))
        rows = [
            row
            for document in range(len(sizes))
            for row in original(document, sizes, max_num_tokens=32, short=0.3, rng=rng)
        ]
        theirs.append(summary(*map(np.array, zip(*rows))))
    ours, theirs = np.array(ours), np.array(theirs)
    error = np.sqrt((ours.var(0) + theirs.var(0)) / len(ours))
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 5 * error).all()


def summary(a, b, not_next):
    pair = a + b
    return [
        len(a),
        not_next.mean(),
        a[not_next].mean(),
        a[~not_next].mean(),
        b[not_next].mean(),
        b[~not_next].mean(),
        pair.std(),
        (pair < 16).mean(),
        (pair >= 32).mean(),
        np.corrcoef(a, b)[0, 1],
    ]


@given(st.lists(st.tuples(st.integers(1, 80), st.integers(1, 80)), min_size=1, max_size=20))
def test_truncation_leaves_what_the_original_leaves(lengths):
    """Catches a pair that is shortened too much or too little, or at the wrong segment."""
    a = np.array([[1000, 1000 + n] for n, _ in lengths])
    b = np.array([[5000, 5000 + n] for _, n in lengths])
    module._truncate(a, b, 40, np.random.default_rng(0))
    for (n_a, n_b), new_a, new_b in zip(lengths, a, b):
        left_a, left_b, _ = truncated(n_a, n_b, 40, random.Random(0))
        assert (new_a[1] - new_a[0], new_b[1] - new_b[0]) == (left_a, left_b)
        assert new_a[0] >= 1000 and new_a[1] <= 1000 + n_a
        assert new_b[0] >= 5000 and new_b[1] <= 5000 + n_b


def test_truncation_is_at_a_random_end():
    """Catches truncation always at one end, all of it at one end, or more often at one of them."""
    n = 4000
    a, b = np.tile([0, 60], (n, 1)), np.tile([100, 130], (n, 1))
    module._truncate(a, b, 50, np.random.default_rng(0))
    # 30 pieces of A, until both have 30; then five of each.
    for fronts, removed in ((a[:, 0], 35), (b[:, 0] - 100, 5)):
        assert within(fronts.sum(), n * removed, 0.5)
        assert abs(fronts.var() / (removed / 4) - 1) < 0.15


# Shares


def inner_totals(text, found):
    """Which instances end before their document does, and pieces of each: of sentences of one
    piece, its target."""
    ends = text.sentence_offsets[text.documents[:, 1]]
    inner = ~np.isin(found.a[:, 1], ends) & ~np.isin(found.b[:, 1], ends)
    return inner, found.lengths - 3


def test_shares_of_next_and_short():
    """Catches next-sentence labels that are not half and half, and short targets that are not a
    tenth."""
    text = numbered_text([[1] * 60_000, [1] * 60_000])
    found = pairs(text, max_length=35)
    assert within(found.not_next.sum(), len(found), 0.5)
    inner, totals = inner_totals(text, found)
    assert within((inner & (totals < 32)).sum(), inner.sum(), 0.1 * 30 / 31)


@pytest.mark.parametrize("is_random", [False, True])
def test_short_targets_are_uniform(is_random):
    """Catches short targets that are not uniform from 2 to the longest, and random B's that are
    filled with more or less than the target."""
    text = numbered_text([[1] * 60_000, [1] * 60_000])
    found = pairs(text, max_length=35, short_share=1.0)
    inner, totals = inner_totals(text, found)
    counts = np.bincount(totals[inner & (found.not_next == is_random)], minlength=33)
    assert counts[:2].sum() == 0 and len(counts) == 33
    expected = counts.sum() / 31
    assert ((counts[2:] - expected) ** 2 / expected).sum() < 30 + 5 * np.sqrt(2 * 30)


def test_the_end_of_a_and_random_starts_are_uniform():
    """Catches an A that never ends at some place, and B's that start at the beginning of their
    document, or more often in large documents."""
    text = numbered_text([[1] * 20_000, [1] * 50, [1] * 500])
    found = pairs(text, max_length=35, short_share=0.0)
    inner = found.a[:, 0] < 19_000
    sizes = (found.a[:, 1] - found.a[:, 0])[inner]
    counts = np.bincount(sizes, minlength=32)
    assert len(counts) == 32 and counts[0] == 0
    expected = counts.sum() / 31
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 30 + 5 * np.sqrt(2 * 30)
    starts = found.b[inner & found.not_next, 0] - 20_000
    assert within((starts < 50).sum(), len(starts), 0.5)
    small = starts[starts < 50]
    counts = np.bincount(small, minlength=50)
    expected = counts.sum() / 50
    assert ((counts - expected) ** 2 / expected).sum() < 49 + 5 * np.sqrt(2 * 49)


@pytest.mark.parametrize("sizes", [[[5]], [[5, 5, 5]]])
def test_a_single_document_has_no_random_b(sizes):
    """Catches a random B that is from the document of A, or an endless search for another one."""
    with pytest.raises(ValueError, match=r"another document.*is 1 here.*nsp = false"):
        pairs(numbered_text(sizes))


def test_documents_of_one_sentence():
    """Catches an error, or a B that is said to be next, where no sentence is left for it."""
    text = numbered_text([[5], [6], [1]])
    found = pairs(text)
    assert len(found) == 3 and found.not_next.all()


# Long sentences


def test_every_piece_of_a_long_sentence_is_read():
    """Catches text that is lost because its sentence is longer than a sequence, and pairs of which
    all are random because each chunk is one sentence."""
    text = numbered_text([[3000, 7, 150], [900, 40]])
    seen = np.zeros(len(text.pieces), dtype=int)
    randoms = []
    for epoch in range(24):
        found = pairs(text, seed=epoch, max_length=64)
        randoms.append(found.not_next.mean())
        for ranges in (found.a, found.b[~found.not_next]):
            for start, end in ranges:
                seen[start:end] += 1
    assert seen.min() > 0
    assert 0.4 < np.mean(randoms) < 0.7


def test_random_b_from_all_of_a_long_sentence():
    """Catches B's that always are the beginning of a long paragraph."""
    text = numbered_text([[10] * 500, [5000]])
    found = pairs(text, max_length=64, short_share=0.0)
    b = found.b[found.not_next & (found.a[:, 0] < 5000)] - 5000
    assert np.histogram(b[:, 0], bins=5, range=(0, 5000))[0].min() > len(b) / 10


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(2, 40), st.data())
def test_random_b_is_made_of_the_parts_that_next_ones_are_made_of(lengths, longest, data):
    """Catches B's that begin within a word, or end at exactly as many pieces as are wanted: only
    random ones would, so that lengths alone would give them away."""
    offsets = np.cumsum([0, 5, *lengths])
    n_pieces = int(offsets[-1])
    inside = np.array(data.draw(st.lists(st.booleans(), min_size=n_pieces, max_size=n_pieces)))
    inside[offsets[:-1]] = False
    text = Text(np.arange(n_pieces), offsets, np.array([[0, 1], [1, len(offsets) - 1]]), inside)
    wanted = np.array(data.draw(st.lists(st.integers(-3, longest), min_size=1, max_size=9)))
    b = module._random_b(
        text, np.zeros(len(wanted), dtype=int), wanted, longest, np.random.default_rng(0)
    )
    cuts = cut_long(text, offsets, longest)
    assert np.isin(b, cuts).all()
    enough = np.minimum(b[:, 0] + np.maximum(wanted, 1), n_pieces)
    assert b[:, 1].tolist() == cuts[np.searchsorted(cuts, enough)].tolist()


def test_random_b_begins_at_each_part_as_often():
    """Catches documents of which a paragraph is as likely as a heading, though the pairs that are next
    are mostly out of the paragraph."""
    text = numbered_text([[8], [1, 3000, 9, 70, 9]])
    longest = 32
    cuts = cut_long(text, text.sentence_offsets, longest)
    n = 40_000
    b = module._random_b(
        text, np.zeros(n, dtype=int), np.full(n, 20), longest, np.random.default_rng(0)
    )
    places, counts = np.unique(b[:, 0], return_counts=True)
    assert places.tolist() == cuts[(cuts >= 8) & (cuts < cuts[-1])].tolist()
    expected = n / len(places)
    freedom = len(places) - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("mean", [20, 160, 400])
def test_lengths_do_not_tell_random_from_next(mean):
    """Catches pairs whose order can be told without reading them: that is what the network would
    learn, instead of how sentences go together."""
    draws = np.random.default_rng(0)
    sizes = [
        np.maximum(1, draws.lognormal(np.log(mean), 0.5, 20_000 // mean).astype(int)).tolist()
        for _ in range(40)
    ]
    text = numbered_text(sizes)
    found = [pairs(text, seed=seed, max_length=128) for seed in range(8)]
    not_next = np.concatenate([some.not_next for some in found])
    a, b = (
        np.concatenate([np.diff(getattr(some, part), axis=1)[:, 0] for some in found])
        for part in ("a", "b")
    )
    # What most pairs of about these lengths are, learnt from one half, and tried on the other.
    cell = a // 8 * 100 + b // 8
    learn = draws.random(len(cell)) < 0.5
    votes = np.zeros((cell.max() + 1, 2))
    np.add.at(votes, (cell[learn], not_next[learn].astype(int)), 1)
    right = (votes[cell[~learn], 1] > votes[cell[~learn], 0]) == not_next[~learn]
    assert right.mean() < max(not_next.mean(), 1 - not_next.mean()) + 0.02


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(2, 40), st.data())
def test_long_sentences_are_cut_where_words_begin(lengths, longest, data):
    """Catches cuts within a word, parts that are too long though words are short, sentences that
    are cut without need, and a border of sentences that is lost."""
    offsets = np.cumsum([0, *lengths])
    n_pieces = int(offsets[-1])
    inside = np.array(data.draw(st.lists(st.booleans(), min_size=n_pieces, max_size=n_pieces)))
    inside &= ~np.append(False, inside[:-1])  # words of two pieces at most
    text = Text(np.arange(n_pieces), offsets, np.array([[0, len(lengths)]]), inside)
    cuts = cut_long(text, offsets, longest)
    assert np.isin(offsets, cuts).all() and (np.diff(cuts) > 0).all()
    added = np.setdiff1d(cuts, offsets)
    assert not inside[added].any()
    for start, end in zip(offsets, offsets[1:]):
        parts = np.diff(cuts[(cuts >= start) & (cuts <= end)])
        if end - start <= longest:
            assert len(parts) == 1
        else:
            assert len(parts) > 1 and parts.max() <= max(1, longest // 4) + 1


def test_a_long_word_is_not_cut():
    """Catches an endless loop, or an empty part, where no word begins."""
    offsets = np.array([0, 100])
    inside = np.ones(100, dtype=bool)
    text = Text(np.arange(100), offsets, np.array([[0, 1]]), inside)
    assert cut_long(text, offsets, 20).tolist() == [0, 100]


# Stretches


@given(documents_of_sentences, st.integers(1, 100))
def test_stretches_are_the_documents(sizes, most):
    """Catches a sentence that is in no stretch or in two, a stretch across documents, and one that
    is too large though sentences are small."""
    text = numbered_text(sizes)
    stretches, owners = stretches_of(text.sentence_offsets, text.documents, most=most)
    sentences = np.concatenate([np.arange(*stretch) for stretch in stretches])
    assert (sentences == np.arange(text.documents[-1, 1])).all()
    first, end = text.documents[owners].T
    assert (first <= stretches[:, 0]).all() and (stretches[:, 1] <= end).all()
    offsets = text.sentence_offsets[stretches]
    assert (offsets[:, 1] - offsets[:, 0]).max() <= most + 30
