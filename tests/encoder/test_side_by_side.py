"""Micro-batches at once: in their places, in their sizes, and leaving no trace in the process."""

import os
import subprocess
import sys
import threading
import weakref
from typing import Iterator, List

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


def encoded(encode, batches):
    """RETURNS: Number of a batch -> its rows, in the order in which they were written."""
    found = {}
    encode_all(encode, batches, found.__setitem__)
    return found


def test_each_in_its_place() -> None:
    """Catches batches that change places, and threads that leave the process with fewer of them."""
    used = set()

    def encode(batch: PackedPieces) -> torch.Tensor:
        used.add(
            (threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled())
        )
        return rows_of(batch)

    batches = make_batches()
    found = encoded(encode, batches)
    assert torch.get_num_threads() == 2
    assert list(found) == [5, 4, 3, 2, 1, 0]
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

    encoded(encode, make_batches())
    assert found == [2] * 6


def test_threads_come_back_after_an_error() -> None:
    """Catches a failing batch that is lost in its thread, or that costs the process its threads."""

    def encode(batch: PackedPieces) -> torch.Tensor:
        raise ValueError(f"{batch.max_seqlen} pieces are too many")

    with pytest.raises(ValueError, match="34 pieces"):
        encoded(encode, make_batches())
    assert torch.get_num_threads() == 2


def test_errors_of_the_writer_are_raised() -> None:
    """Catches vectors that are missing because writing them down failed in its thread."""

    def write(i: int, rows: torch.Tensor) -> None:
        raise MemoryError(f"no room for batch {i}")

    with pytest.raises(MemoryError, match="batch 5"):
        encode_all(rows_of, make_batches(), write)
    assert len(encoded(rows_of, make_batches())) == 6


def test_what_is_written_is_let_go() -> None:
    """Catches a long document whose batches are all kept until the last of them is written."""
    made: List[weakref.ref] = []
    alive = []

    def encode(batch: PackedPieces) -> torch.Tensor:
        rows = rows_of(batch)
        made.append(weakref.ref(rows))
        return rows

    def write(i: int, rows: torch.Tensor) -> None:
        alive.append(sum(rows() is not None for rows in made))

    encode_all(encode, make_batches() * 5, write)
    assert len(made) == 30 and max(alive) <= 2 + 2 + 2  # one for each thread, two ahead; and turns


def test_several_at_once() -> None:
    """Catches results of one caller that end with another, and callers that wait for one another's end."""
    results = {}

    def call(name: int) -> None:
        results[name] = encoded(lambda batch: rows_of(batch) + name, make_batches())

    callers = [threading.Thread(target=call, args=(name,)) for name in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    expected = {i: rows_of(batch) for i, batch in enumerate(make_batches())}
    for name in range(8):
        assert all(torch.equal(rows, expected[i] + name) for i, rows in results[name].items())
        assert len(results[name]) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_after_a_fork() -> None:
    """Catches a child that waits for threads that only its parent has."""
    encoded(rows_of, make_batches())
    # In a process of its own: a fork of a program that has threads is what Python warns of.
    code = (
        "import os, sys, torch; from tests.encoder import test_side_by_side as t; "
        "torch.set_num_threads(2); t.encoded(t.rows_of, t.make_batches()); pid = os.fork()\n"
        "if not pid:\n    n = len(t.encoded(t.rows_of, t.make_batches())); os._exit(n)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "6", done.stderr


def test_one_batch_has_all_threads() -> None:
    """Catches a single text that is left to one thread."""
    found = encoded(lambda batch: torch.get_num_threads(), make_batches()[:1])  # type: ignore[arg-type, return-value]
    assert found == {0: 2}


@pytest.mark.parametrize("n_rows", [0, 10, WORTH_SPLITTING, 1500, 2 * CPU_ROWS, 5000, 100_000])
def test_sizes(n_rows: int) -> None:
    """Catches batches beyond the cache, or one thread with nothing to do at the end."""
    size = rows_of_batches(n_rows)
    assert 0 < size <= CPU_ROWS
    n_batches = -(-n_rows // size)
    assert n_batches <= 1 if n_rows < WORTH_SPLITTING else n_batches % 2 == 0
