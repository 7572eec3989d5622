"""How far long work has come: a bar on a terminal, else a plain line now and then."""

import sys
import time
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, Tuple

from tqdm import tqdm

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
        left = tqdm.format_interval((self.total - self.done) / max(rate, 1))
        print(
            f"{self.label}: {self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB, "
            f"{rate / 1e6:.2f} MB/s, {left} left",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def steps_done(total: int, label: str, *, unit: str = "step") -> Iterator[Callable[[int], None]]:
    """Show how many steps have been taken, of a training or of anything else.

    total (int): How many there will be.
    label (str): What is being done.
    unit (str): What a step is.
    YIELDS (Callable[[int], None]): Takes a number of steps each time that some were taken.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True) as bar:
            yield lambda n_steps: bar.update(n_steps) and None
        return
    done, started = 0, time.monotonic()
    shown = started

    def advance(n_steps: int) -> None:
        nonlocal done, shown
        done += n_steps
        now = time.monotonic()
        if now - shown >= EVERY or done == total:
            shown = now
            rate = done / max(now - started, 1e-9)
            left = tqdm.format_interval((total - done) / rate)
            print(
                f"{label}: {done:,} of {total:,} {unit}s, {rate:.2f} {unit}s/s, {left} left",
                file=sys.stderr,
                flush=True,
            )

    yield advance


def StepsLogger(total: int, label: str = "training") -> Callable[..., Tuple[Callable, Callable]]:
    """A logger for spaCy's training loop that shows how many steps have been taken, and no scores.

    total (int): How many steps there will be.
    label (str): What is being trained.
    RETURNS (Callable): What `[training.logger]` is to be.
    """

    def setup(nlp: Any, stdout: Any = None, stderr: Any = None) -> Tuple[Callable, Callable]:
        stack = ExitStack()
        advance = stack.enter_context(steps_done(total, label))
        return lambda info: advance(1), stack.close

    return setup
