"""Micro-batches at once: in their places, in their sizes, and leaving no trace in the process."""

import threading
from typing import Iterator

import numpy as np
import pytest
import torch

from spacy_bert.encoder import pack
from spacy_bert.encoder.packing import PackedPieces
from spacy_bert.encoder.side_by_side import CPU_ROWS, WORTH_SPLITTING, encode_all, rows_of_batches


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def make_batches():
    numbers = np.random.default_rng(0)
    return [pack([numbers.integers(0, 200, n)] * 2) for n in (3, 5, 8, 13, 21, 34)]


def rows_of(batch: PackedPieces) -> torch.Tensor:
    """As many rows as an encoder makes, and as telling."""
    return torch.nn.functional.one_hot(batch.ids, 200).float()


def test_each_in_its_place() -> None:
    """Catches batches that change places, and threads that leave the process with fewer of them."""
    used = set()

    def encode(batch: PackedPieces) -> torch.Tensor:
        used.add(
            (threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled())
        )
        return rows_of(batch)

    batches = make_batches()
    found = dict(encode_all(encode, batches))
    assert torch.get_num_threads() == 2
    assert sorted(found) == list(range(6))
    assert all(torch.equal(rows, rows_of(batches[i])) for i, rows in found.items())
    assert threading.get_ident() not in {thread for thread, _, _ in used}
    assert {(threads, inference) for _, threads, inference in used} == {(1, True)}


def test_new_threads_have_all_theirs() -> None:
    """Catches a thread of a server that uses torch for the first time while another one encodes, and has
    one thread for good."""
    found = []

    def encode(batch: PackedPieces) -> torch.Tensor:
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
        return rows_of(batch)

    list(encode_all(encode, make_batches()))
    assert found == [2] * 6


def test_threads_come_back_after_an_error() -> None:
    """Catches a failing batch that is lost in its thread, or that costs the process its threads."""

    def encode(batch: PackedPieces) -> torch.Tensor:
        raise ValueError(f"{batch.max_seqlen} pieces are too many")

    with pytest.raises(ValueError, match="34 pieces"):
        list(encode_all(encode, make_batches()))
    assert torch.get_num_threads() == 2


def test_one_batch_has_all_threads() -> None:
    """Catches a single text that is left to one thread."""
    found = list(encode_all(lambda batch: torch.get_num_threads(), make_batches()[:1]))  # type: ignore[arg-type, return-value]
    assert found == [(0, 2)]


@pytest.mark.parametrize("n_rows", [0, 10, WORTH_SPLITTING, 1500, 2 * CPU_ROWS, 5000, 100_000])
def test_sizes(n_rows: int) -> None:
    """Catches batches beyond the cache, or one thread with nothing to do at the end."""
    size = rows_of_batches(n_rows)
    assert 0 < size <= CPU_ROWS
    n_batches = -(-n_rows // size)
    assert n_batches <= 1 if n_rows < WORTH_SPLITTING else n_batches % 2 == 0
