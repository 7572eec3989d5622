"""Batches that are made ahead are the same, and none is lost."""

from typing import List, Tuple

import numpy as np
import pytest
import torch

from spacy_bert.pretraining.batches import Position, PretrainingBatch, PretrainingStream
from spacy_bert.pretraining.config import Objective
from spacy_bert.pretraining.feed import Feed, to_device
from spacy_bert.pretraining.store import TokenStore

from .runs import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return make_store(tmp_path_factory.mktemp("corpus") / "store")


def make_feed(store: TokenStore, *, ahead: int, position: Position = Position(), max_length: int = 24) -> Feed:  # fmt: skip
    def open_stream(at: Position, length: int) -> PretrainingStream:
        return PretrainingStream(
            store,
            store.documents,
            objective=Objective(),
            max_length=length,
            batch_pieces=96,
            seed=0,
            position=at,
        )

    return Feed(
        open_stream,
        position=position,
        max_length=max_length,
        device=torch.device("cpu"),
        ahead=ahead,
    )


def read(feed: Feed, lengths: List[int]) -> List[Tuple[List[int], Position]]:
    """RETURNS (List): Pieces of each batch, and the position after it."""
    batches = []
    for length in lengths:
        feed.set_max_length(length)
        batches.append((feed.next().pieces.ids.tolist(), feed.position))
    feed.close()
    return batches


@pytest.mark.parametrize("ahead", [1, 3])
def test_reading_ahead_changes_nothing(ahead: int, store: TokenStore) -> None:
    """Catches batches that are lost when the length of sequences changes, and a position that is
    that of what was read ahead: a resume would skip batches."""
    lengths = [24] * 5 + [40] * 3 + [32] * 2
    plain = read(make_feed(store, ahead=0), lengths)
    assert read(make_feed(store, ahead=ahead), lengths) == plain
    assert len({str(ids) for ids, _ in plain}) == 10
    # From any position on, the same again.
    for n in (3, 6, 8):
        feed = make_feed(store, ahead=ahead, position=plain[n - 1][1], max_length=lengths[n])
        assert read(feed, lengths[n:]) == plain[n:]


def test_a_fault_comes_through(store: TokenStore) -> None:
    """Catches an error in the thread that nobody hears of."""
    feed = make_feed(store, ahead=2)
    feed._stream.position = Position(0, 0, 10**6, 24)
    with pytest.raises(ValueError, match="no place"):
        feed.next()
    feed.close()


def test_on_the_processor_nothing_is_copied(store: TokenStore) -> None:
    """Catches copies for nothing."""
    batch = make_feed(store, ahead=0).next()
    same = to_device(batch, torch.device("cpu"))
    for before, after in ((batch, same), (batch.pieces, same.pieces)):
        tensors = [(a, b) for a, b in zip(before, after) if isinstance(a, torch.Tensor)]
        assert len(tensors) > 2 and all(a is b for a, b in tensors)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_everything_is_there(store: TokenStore) -> None:
    """Catches a tensor that stays on the host."""
    batch = make_feed(store, ahead=0).next()
    moved: PretrainingBatch = to_device(batch, torch.device("cuda"))
    for name in ("masked_rows", "masked_ids", "not_next"):
        assert getattr(moved, name).is_cuda
        np.testing.assert_array_equal(getattr(moved, name).cpu(), getattr(batch, name))
    for name in ("ids", "type_ids", "positions", "cu_seqlens"):
        assert getattr(moved.pieces, name).is_cuda
