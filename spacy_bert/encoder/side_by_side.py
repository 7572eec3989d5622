"""Micro-batches on a processor: how large they are, and how several are encoded at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, Sequence, Tuple

import torch
from torch import Tensor

from .packing import PackedPieces

# Rows of a micro-batch: what a layer makes of them stays in the cache.
CPU_ROWS = 1024
# Fewer rows than this are not worth a second thread of their own.
WORTH_SPLITTING = 256


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


def encode_all(
    encode: Callable[[PackedPieces], Tensor], batches: Sequence[PackedPieces]
) -> Iterator[Tuple[int, Tensor]]:
    """Encode batches side by side, each on one thread: threads that share a product wait for one
    another at its end, and for what is between products only one of them works.

    encode (Callable[[PackedPieces], Tensor]): An engine.
    batches (Sequence[PackedPieces]): The batches, shortest sequences first.
    YIELDS (Tuple[int, Tensor]): The number of a batch and its rows, the last batch first: the
        longest sequences take longest, so that threads end at the same time.
    """
    order = range(len(batches) - 1, -1, -1)
    threads = torch.get_num_threads()
    on_cpu = all(batch.ids.device.type == "cpu" for batch in batches)
    if threads < 2 or len(batches) < threads or not on_cpu:
        for i in order:
            yield i, encode(batches[i])
        return

    def work(batch: PackedPieces) -> Tensor:
        with torch.inference_mode():
            return encode(batch)

    everyone = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # the first call takes the default, whatever was set before
        torch.set_num_threads(1)
        everyone.wait()  # all have theirs
        everyone.wait()  # the default is what it was

    # The number of threads is a setting of each thread. This one gets one, too, for what it does with
    # the rows: helpers that it wakes spin for a while, on cores that the others need.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=begin) as pool:
            try:
                encoded = pool.map(work, (batches[i] for i in order))
                everyone.wait()
                set_default(threads)
                everyone.wait()
            except BaseException:
                everyone.abort()
                raise
            yield from zip(order, encoded)
    finally:
        torch.set_num_threads(threads)


def set_default(threads: int) -> None:
    """Set what threads begin with that have not used torch yet: `torch.set_num_threads` sets it as well
    as the calling thread's own number, and a thread of somebody else would keep it for good.

    threads (int): The number of threads.
    """
    passing = threading.Thread(target=torch.set_num_threads, args=(threads,))
    passing.start()
    passing.join()
