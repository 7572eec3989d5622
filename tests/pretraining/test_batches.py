"""The stream: what a batch is, and that it is a function of its position."""

import gc
import json
import threading
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_bert.pretraining.batches import Position, PretrainingStream

from .numbered import N_SPECIALS, numbered_store, objective

CLS, SEP, MASK = 2, 3, 4


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A dozen documents, some with sentences that are longer than a sequence."""
    draws = np.random.default_rng(0)
    sizes = [draws.integers(1, 25, draws.integers(1, 30)).tolist() for _ in range(12)]
    sizes[3].append(150)
    return numbered_store(tmp_path_factory.mktemp("stores") / "store", sizes)


@pytest.fixture
def make(store):
    """A function: changes of the settings -> a stream."""

    def make_stream(*, documents=store.documents, max_length=32, **changes):
        arguments = dict(batch_pieces=200, seed=0, block_pieces=400)
        names = {"position", "epochs", *arguments}
        given = {name: changes.pop(name) for name in names & set(changes)}
        return PretrainingStream(
            store,
            documents,
            objective=objective(**changes),
            max_length=max_length,
            **{**arguments, **given},
        )

    return make_stream


def assert_same(found, expected):
    for name in ("ids", "type_ids", "positions", "cu_seqlens"):
        assert torch.equal(getattr(found.pieces, name), getattr(expected.pieces, name)), name
    assert found.pieces.lengths == expected.pieces.lengths
    for name in ("masked_rows", "masked_ids", "not_next"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def is_same(found, expected):
    try:
        assert_same(found, expected)
    except (AssertionError, RuntimeError):
        return False
    return True


def restored(batch):
    """The sequences as they were before masking."""
    ids = batch.pieces.ids.clone()
    ids[batch.masked_rows] = batch.masked_ids
    return [row.numpy() for row in torch.split(ids, list(batch.pieces.lengths))]


def text_of(batch):
    """All pieces that are no specials, before masking."""
    ids = np.concatenate(restored(batch))
    return ids[ids >= N_SPECIALS] - N_SPECIALS


# A batch


@pytest.mark.parametrize("whole_word", [False, True])
def test_a_batch_of_pairs(make, store, whole_word):
    """Catches [CLS] and [SEP] at the wrong place, segment types or positions that do not go with
    them, labels that are turned round, masks on specials, and sequences out of order."""
    starts = store.sentence_offsets[store.documents[:, 0]]
    labels = []
    for batch in islice(make(whole_word=whole_word), 40):
        pieces = batch.pieces
        assert pieces.ids.dtype == batch.masked_rows.dtype == batch.not_next.dtype == torch.int64
        assert pieces.cu_seqlens.dtype == torch.int32
        assert sum(pieces.lengths) == len(pieces.ids) <= 200
        assert list(pieces.lengths) == sorted(pieces.lengths) and pieces.max_seqlen <= 32
        assert (pieces.ids[batch.masked_rows] == MASK).any()
        types = torch.split(pieces.type_ids, list(pieces.lengths))
        places = torch.split(pieces.positions, list(pieces.lengths))
        for ids, kinds, positions, label in zip(restored(batch), types, places, batch.not_next):
            [middle, last] = np.flatnonzero(ids == SEP)
            assert ids[0] == CLS and last == len(ids) - 1 and middle > 1
            assert kinds.tolist() == [0] * (middle + 1) + [1] * (last - middle)
            assert positions.tolist() == list(range(len(ids)))
            a, b = ids[1:middle] - N_SPECIALS, ids[middle + 1 : last] - N_SPECIALS
            assert len(b) and (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
            [of_a, of_b] = np.searchsorted(starts, [a[0], b[0]], side="right")
            assert (of_a != of_b) == bool(label)
            labels.append(int(label))
    assert set(labels) == {0, 1}


def test_a_batch_of_single_segments(make):
    """Catches a segment type or a second [SEP] that came along from the pairs."""
    for batch in islice(make(nsp=False), 20):
        assert not batch.pieces.type_ids.any() and not batch.not_next.any()
        assert len(batch.not_next) == batch.pieces.n_seqs
        for ids in restored(batch):
            assert (ids[0], ids[-1]) == (CLS, SEP) and (ids[1:-1] >= N_SPECIALS).all()
            assert (np.diff(ids[1:-1]) == 1).all()


def test_a_causal_batch(make):
    """Catches masks in a causal batch, and rows that tell a piece of another sequence."""
    for batch in islice(make(nsp=False, causal=True), 10):
        ids, rows = batch.pieces.ids, batch.masked_rows
        last = batch.pieces.cu_seqlens[1:].long() - 1
        assert not (ids == MASK).any()
        assert len(rows) == len(ids) - len(last) and not torch.isin(rows, last).any()
        assert torch.equal(batch.masked_ids, ids[rows + 1])


@pytest.mark.parametrize("batch_pieces", [32, 100, 1000])
def test_as_many_instances_as_fit(make, batch_pieces):
    """Catches a batch over its budget, and one with room for the next instance; also across the
    borders of blocks and epochs, and where an epoch is smaller than a batch."""
    stream = make(batch_pieces=batch_pieces, nsp=False)
    sizes = [sum(batch.pieces.lengths) for batch in islice(stream, 60)]
    assert max(sizes) <= batch_pieces and min(sizes) > batch_pieces - 32
    assert stream.position.epoch > 0 or batch_pieces < 100


def test_short_sequences_come_first_and_keep_their_labels(make):
    """Catches labels that stay where they were when sequences are sorted by length."""
    for seed in range(5):
        batch = next(make(batch_pieces=2000, seed=seed))
        assert len(set(batch.pieces.lengths)) > 3  # what is sorted is not all alike
        assert list(batch.pieces.lengths) == sorted(batch.pieces.lengths)


# An epoch


def test_an_epoch_is_every_document_once(make, store):
    """Catches documents that a plan of blocks leaves out or has twice, in any epoch."""
    stream = make(nsp=False, epochs=3)
    assert stream._blocks.count(0) > 3  # else there are no borders to go wrong at
    counts = Counter(np.concatenate([text_of(batch) for batch in stream]).tolist())
    assert counts == {piece: 3 for piece in range(len(store.pieces))}
    assert stream.position == (3, 0, 0, 32)
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.n_pieces == len(store.pieces)


def test_epochs_differ(make):
    """Catches an epoch with the order, the pairs or the masks of the one before."""
    [first] = make(batch_pieces=100_000, epochs=1)
    stream = make(batch_pieces=100_000, position=Position(epoch=1), epochs=2)
    second = next(stream)
    by_instance = [
        {row.tobytes(): ids.tobytes() for row, ids in zip(restored(batch), hidden(batch))}
        for batch in (first, second)
    ]
    shared = by_instance[0].keys() & by_instance[1].keys()
    assert len(shared) < len(by_instance[0]) / 2
    assert any(by_instance[0][key] != by_instance[1][key] for key in shared) or not shared


def hidden(batch):
    return [row.numpy() for row in torch.split(batch.pieces.ids, list(batch.pieces.lengths))]


@pytest.mark.parametrize("whole_word", [False, True])
def test_static_masks_come_round(make, whole_word):
    """Catches static masking with other instances or other masks the second time, and with the
    same ones in every epoch; and an order that is never new."""
    changes = dict(masking="static", duplicates=2, whole_word=whole_word, batch_pieces=5000)
    epochs = [
        Counter(
            row.tobytes()
            for batch in make(position=Position(epoch=epoch), epochs=epoch + 1, **changes)
            for row in hidden(batch)
        )
        for epoch in range(4)
    ]
    assert epochs[0] == epochs[2] and epochs[1] == epochs[3]
    assert epochs[0] != epochs[1]
    first = make(**{**changes, "batch_pieces": 64})
    third = make(position=Position(epoch=2), **{**changes, "batch_pieces": 64})
    assert not all(is_same(next(first), next(third)) for _ in range(5))


def test_masks_do_not_depend_on_the_batch_size(make):
    """Catches masks that are drawn for a batch: with another number of pieces, or of processes
    that share an epoch, the data would be another."""
    [all_rows, few_rows] = [
        Counter(row.tobytes() for batch in make(batch_pieces=n, epochs=1) for row in hidden(batch))
        for n in (10_000, 64)
    ]
    assert all_rows == few_rows


def test_other_seeds_are_other_data(make):
    """Catches a seed that is not part of some key."""
    [a, b, c] = [next(make(seed=seed, epochs=1, batch_pieces=10_000)) for seed in (0, 1, 0)]
    assert_same(a, c)
    assert {row.tobytes() for row in restored(a)} != {row.tobytes() for row in restored(b)}
    # The same instance is masked in another way.
    [one] = make(nsp=False, short_share=0.0, batch_pieces=100_000, epochs=1)
    [two] = make(nsp=False, short_share=0.0, batch_pieces=100_000, epochs=1, seed=1)
    masks = [
        dict(zip(map(bytes, restored(batch)), map(bytes, hidden(batch)))) for batch in (one, two)
    ]
    assert masks[0].keys() == masks[1].keys() and masks[0] != masks[1]


def test_another_length_has_other_masks(tmp_path):
    """Catches phases of other lengths that hide the same pieces again: of documents that fit into
    either, the instances are equal."""
    store = numbered_store(tmp_path / "store", [[20]] * 30)
    masks = []
    for max_length in (32, 64):
        stream = PretrainingStream(
            store,
            store.documents,
            objective=objective(nsp=False, short_share=0.0),
            max_length=max_length,
            batch_pieces=10_000,
            seed=0,
            epochs=1,
        )
        [batch] = stream
        masks.append(dict(zip(map(bytes, restored(batch)), map(bytes, hidden(batch)))))
    assert masks[0].keys() == masks[1].keys()
    assert sum(masks[0][key] == masks[1][key] for key in masks[0]) < 5


# Resuming


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 25),
    st.sampled_from([60, 333, 2500]),
    st.sampled_from([100, 1000, 10**9]),
    st.sampled_from([{}, {"masking": "static", "duplicates": 2}, {"nsp": False}]),
    st.booleans(),
)
def test_resuming_changes_nothing(make, n_before, batch_pieces, block_pieces, changes, whole_word):
    """Catches anything that hangs on the way to a position: a stream that begins at the position
    of a batch gives the same ones from there on, bit for bit, across blocks and epochs."""
    arguments = dict(batch_pieces=batch_pieces, block_pieces=block_pieces, **changes)
    stream = make(whole_word=whole_word, **arguments)
    for _ in range(n_before):
        next(stream)
    saved = Position(*json.loads(json.dumps(stream.position)))
    resumed = make(whole_word=whole_word, position=saved, **arguments)
    for _ in range(6):
        assert resumed.position == stream.position
        assert_same(next(resumed), next(stream))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 20), st.integers(0, 10), st.booleans())
def test_resuming_around_a_change_of_length(make, n_short, n_long, at_border):
    """Catches a phase of longer sequences that a resumed run reads in another way: before the
    change, right at it, or after it."""
    stream = make(batch_pieces=120)
    for _ in range(n_short):
        next(stream)
    border = stream.position
    stream.set_max_length(64)
    assert stream.position == (border.epoch, border.block, 0, 64)
    for _ in range(n_long):
        next(stream)
    if at_border:
        stream = make(batch_pieces=120)
        for _ in range(n_short):
            next(stream)
        stream.set_max_length(64)
        resumed = make(batch_pieces=120, max_length=64, position=border)
    else:
        resumed = make(batch_pieces=120, max_length=64, position=stream.position)
    for _ in range(5):
        batch = next(stream)
        assert_same(next(resumed), batch)
    assert resumed.position == stream.position


def test_a_new_length_is_used(make):
    """Catches a change of length that the block which is built ahead does not see."""
    stream = make(short_share=0.0, batch_pieces=300)
    next(stream)
    stream.set_max_length(100)
    assert max(next(stream).pieces.max_seqlen for _ in range(5)) == 100
    before = stream.position
    stream.set_max_length(100)
    assert stream.position == before
    stream.set_max_length(16)
    assert max(next(stream).pieces.max_seqlen for _ in range(20)) == 16


def test_the_position_is_that_of_the_next_batch(make):
    """Catches a position that runs ahead with what is built ahead."""
    stream = make()
    positions = []
    batches = []
    for _ in range(30):
        positions.append(stream.position)
        batches.append(next(stream))
    for position, batch in list(zip(positions, batches))[::7]:
        assert_same(next(make(position=position)), batch)


def test_streams_leave_no_threads(make):
    """Catches a thread for each stream that is never given up: an evaluation makes a stream."""
    before = threading.active_count()
    for _ in range(5):
        list(make(epochs=1))
    gc.collect()
    assert threading.active_count() <= before + 1


# What cannot be


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(causal=True), "causal = true and nsp = true contradict each other.*Set nsp = false"),
        (dict(masking="often"), 'masking is \'often\'.*"dynamic" or "static"'),
        (dict(masking="static", duplicates=0), "duplicates is 0; expected at least 1"),
        (dict(short_share=1.5), "short_share is 1.5.*expected 0 to 1"),
        (dict(mask_share=0.0), "mask_share is 0.0"),
        (dict(batch_pieces=31), "batch_pieces is 31; expected at least 32"),
        (dict(max_length=4), "max_length is 4; expected at least 5"),
        (dict(max_length=3, nsp=False), "max_length is 3; expected at least 4"),
        (dict(seed=-1), "seed is -1; expected at least 0"),
        (dict(position=Position(0, 99, 0)), "no place of this stream: epoch 0 has"),
        (dict(position=Position(-1, 0, 0)), "no place of this stream: some"),
    ],
)
def test_settings_that_cannot_be(make, changes, message):
    """Catches a mistake that is found late, or in a message that does not say what to change."""
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_position_beyond_its_block(make):
    """Catches a position of other settings that is taken for one of these."""
    stream = make(position=Position(0, 0, 10_000))
    with pytest.raises(ValueError, match="no place of this stream: the block has"):
        next(stream)


def test_a_longer_length_than_a_batch(make):
    """Catches a phase of sequences that no batch can hold: the stream would never end."""
    stream = make(batch_pieces=40)
    with pytest.raises(ValueError, match="batch_pieces is 40; expected at least 41"):
        stream.set_max_length(41)
    assert max(next(stream).pieces.lengths) <= 32


def test_a_single_document(make, store):
    """Catches next-sentence prediction without another document; and its refusal where there is
    no need of one."""
    one = store.documents[:1]
    with pytest.raises(ValueError, match=r"1 document of the store .* of 12.*nsp = false"):
        make(documents=one)
    assert text_of(next(make(documents=one, nsp=False))).max() < store.sentence_offsets[one[0, 1]]


@pytest.mark.parametrize(
    "documents, message",
    [
        (np.zeros((0, 2), dtype=np.int64), "no documents to read.*is empty"),
        (np.arange(4), r"shape \(4,\).*store.split"),
        (np.ones((4, 2)), "type float64"),
    ],
)
def test_documents_that_are_none(make, documents, message):
    """Catches numbers of documents, or nothing, in the place of ranges of sentences."""
    with pytest.raises(ValueError, match=message):
        make(documents=documents)


def test_held_out_documents_stay_out(make, store):
    """Catches training text in an evaluation: a random B out of all documents."""
    train, held_out = store.split(0.3, seed=0)
    pieces = [
        {piece for batch in make(documents=part, epochs=2) for piece in text_of(batch).tolist()}
        for part in (train, held_out)
    ]
    assert pieces[0] and pieces[1] and not pieces[0] & pieces[1]
