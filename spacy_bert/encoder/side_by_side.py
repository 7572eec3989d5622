"""Micro-batches on a processor: how large they are, and how several are encoded at once."""

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Callable, Deque, Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .packing import PackedPieces

# Rows of a micro-batch: what a layer makes of them stays in the cache.
CPU_ROWS = 1024
# Fewer rows than this are not worth a second thread of their own.
WORTH_SPLITTING = 256
# How many batches wait for a thread.
AHEAD = 2


def rows_of_batches(n_rows: int) -> int:
    """How large to make the batches of some rows on a processor, so that they fit in its cache and
    all threads have as many of them.

    n_rows (int): Rows in all.
    RETURNS (int): Rows of a batch, at most.
    """
    threads = torch.get_num_threads()
    if n_rows < WORTH_SPLITTING:
        return CPU_ROWS
    return -(-n_rows // (threads * -(-n_rows // (threads * CPU_ROWS))))


class Team:
    """Threads that stay, each with one thread of torch: some encode a batch each, one writes down what
    they make. So the numbers of threads that others have are left alone.

    size (int): How many encode.
    """

    def __init__(self, size: int) -> None:
        everyone = threading.Barrier(size + 2)

        def begin() -> None:
            torch.get_num_threads()  # the first call takes the default, whatever was set before
            torch.set_num_threads(1)
            everyone.wait()

        default = torch.get_num_threads()
        self.encoders = ThreadPoolExecutor(size, "spacy-bert-encoder", initializer=begin)
        self.writer = ThreadPoolExecutor(1, "spacy-bert-writer", initializer=begin)
        try:
            # Each of them, while it waits for the others, lets the next one start.
            for pool, n in ((self.encoders, size), (self.writer, 1)):
                for _ in range(n):
                    pool.submit(int)
            everyone.wait()
        except BaseException:  # no thread can be started, or Ctrl-C
            everyone.abort()
            raise
        finally:
            set_default(default)


_teams: Dict[int, Team] = {}
_lock = threading.Lock()


def _team(size: int) -> Optional[Team]:
    """The threads; None where none can be started."""
    with _lock:
        if size not in _teams:
            try:
                _teams[size] = Team(size)
            except RuntimeError:
                return None
        return _teams[size]


def _begin_anew() -> None:
    """A forked child has none of its parent's threads, and perhaps a lock that one of them held."""
    global _lock
    _lock = threading.Lock()
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def encode_all(
    encode: Callable[[PackedPieces], Tensor],
    batches: Sequence[PackedPieces],
    write: Callable[[int, Tensor], None],
) -> None:
    """Encode batches side by side, each on one thread: threads that share a product wait for one
    another at its end, and for what is between products only one of them works.

    encode (Callable[[PackedPieces], Tensor]): An engine.
    batches (Sequence[PackedPieces]): The batches, shortest sequences first.
    write (Callable[[int, Tensor], None]): Is given the number of a batch and its rows, one batch at a
        time, the last first: the longest sequences take longest, so that threads end at the same time.
    """
    order = range(len(batches) - 1, -1, -1)
    threads = torch.get_num_threads()
    on_cpu = all(batch.ids.device.type == "cpu" for batch in batches)
    alone = threads < 2 or len(batches) < threads or not on_cpu
    team = None if alone else _team(threads)
    if team is None:
        for i in order:
            write(i, encode(batches[i]))
        return
    to_do = iter(order)
    encoded: Deque[Tuple[int, Future]] = deque()

    def submit() -> None:
        if (i := next(to_do, None)) is not None:
            encoded.append((i, hand_over(team.encoders, _infer, encode, batches[i])))

    try:
        for _ in range(threads + AHEAD):
            submit()
        while encoded:
            i, future = encoded.popleft()
            rows = future.result()
            # Before it is written down; what was written is not kept, however many batches there are.
            submit()
            # Not here: the helpers of this thread, once awake, spin on cores that the others need.
            hand_over(team.writer, _infer, write, i, rows).result()
            del future, rows
    finally:
        for _, future in encoded:
            future.cancel()
        wait([future for _, future in encoded])


def hand_over(pool: ThreadPoolExecutor, function: Callable[..., Any], *args: Any) -> Future:
    """Have another thread do something; or do it here, if there will be no other one: Python sends its
    pools home when the main thread ends, whichever threads go on.

    pool (ThreadPoolExecutor): The threads.
    function (Callable[..., Any]): What to do.
    *args (Any): What with.
    RETURNS (Future): What comes of it.
    """
    try:
        return pool.submit(function, *args)
    except RuntimeError:
        done: Future = Future()
        done.set_result(function(*args))
        return done


def _infer(function: Callable[..., Any], *args: Any) -> Any:
    with torch.inference_mode():
        return function(*args)


def set_default(threads: int) -> None:
    """Set what threads begin with that have not used torch yet: `torch.set_num_threads` sets it as well
    as the calling thread's own number, and a thread of somebody else would keep it for good.

    threads (int): The number of threads.
    """
    passing = threading.Thread(target=torch.set_num_threads, args=(threads,))
    passing.start()
    passing.join()
