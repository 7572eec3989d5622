"""How far long work has come: a bar on a terminal, else a plain line now and then."""

import sys
import time
from contextlib import contextmanager
from typing import Callable, Iterator

# Seconds between the lines of a log.
EVERY = 30.0


@contextmanager
def bytes_read(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show how much of some files has been read.

    total (int): Size of all of them, in bytes.
    label (str): What is being done.
    YIELDS (Callable[[int], None]): Takes a number of bytes each time that some were read.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=label, unit="B", unit_scale=True, dynamic_ncols=True) as bar:
            # The beginning of a file may be read twice, to see what it is.
            yield lambda n_bytes: bar.update(min(n_bytes, total - bar.n)) and None
    else:
        yield _Lines(total, label)


class _Lines:
    def __init__(self, total: int, label: str) -> None:
        self.total, self.label, self.done = total, label, 0
        self.started = self.shown = time.monotonic()

    def __call__(self, n_bytes: int) -> None:
        self.done = min(self.done + n_bytes, self.total)
        now = time.monotonic()
        if now - self.shown < EVERY:
            return
        self.shown = now
        rate = self.done / (now - self.started)
        left = time.strftime("%H:%M:%S", time.gmtime((self.total - self.done) / max(rate, 1)))
        print(
            f"{self.label}: {self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB, "
            f"{rate / 1e6:.2f} MB/s, {left} left",
            file=sys.stderr,
            flush=True,
        )
