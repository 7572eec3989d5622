"""Files -> documents, in order, with the dear half of reading in several processes."""

import multiprocessing
import signal
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Deque, Iterable, Iterator, List, Optional

from .documents import RawDocument, Reader, parse_part, reader_for, split_file

# Characters of markup that one process gets at a time: a tenth of a second or so.
TASK_CHARACTERS = 1 << 18


def read_in_processes(
    files: Iterable[Path], reader: Optional[Reader] = None, *, n_process: int = 1
) -> Iterator[RawDocument]:
    """Read files, one after the other. Only a reader that has a dear half, that of MediaWiki dumps,
    is given processes: for the others, to send the text would take longer than to read it.

    files (Iterable[Path]): Files, as `find_files` returns them.
    reader (Optional[Reader]): What reads them; without it, each is read by its ending.
    n_process (int): How many processes parse.
    YIELDS (RawDocument): The documents, in the same order whatever the number of processes.
    RAISES (ValueError): As the reader, after the documents before.
    """
    for file in files:
        chosen = reader or reader_for(file)
        if n_process > 1 and hasattr(chosen, "parse"):
            yield from _in_order(chosen, file, n_process)
        else:
            yield from chosen(file)


def _in_order(reader: Reader, file: Path, n_process: int) -> Iterator[RawDocument]:
    # Spawned: the process that trains has threads, and a fork of those may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_process, mp_context=context, initializer=_start)
    under_way: Deque[Future[List[RawDocument]]] = deque()
    damage: Optional[ValueError] = None
    try:
        parts = _tasks(reader, file)
        while True:
            try:
                task = next(parts, None)
            except ValueError as error:  # what is before it is read first
                damage, task = error, None
            if task is None:
                break
            under_way.append(pool.submit(_parse, reader, task))
            if len(under_way) > 2 * n_process:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()
        if damage:
            raise damage
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tasks(reader: Reader, file: Path) -> Iterator[List[Any]]:
    task: List[Any] = []
    n_characters = 0
    try:
        for part in split_file(reader, file):
            task.append(part)
            n_characters += sum(len(field) for field in part if isinstance(field, str))
            if n_characters >= TASK_CHARACTERS:
                yield task
                task, n_characters = [], 0
    except ValueError:
        if task:
            yield task
        raise
    if task:
        yield task


def _parse(reader: Reader, task: List[Any]) -> List[RawDocument]:
    return [document for part in task for document in parse_part(reader, part)]


def _start() -> None:
    # Ctrl-C goes to all processes: the first one ends the others in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
