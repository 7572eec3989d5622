"""Files -> token store, by several processes.

    files ─ split_file ─> parts ─┬─ worker: parse, split, encode ─┬─> StoreWriter, in order
          this process           ├─ worker                        │   this process
                                 └─ ...                           ┘

A task is some text, whatever documents it is of: small documents together, a large one in several
tasks. Results are written in the order of the tasks, and sentences are encoded one by one, so the
store is the same, byte by byte, whatever the number of processes. Only so many tasks are under way
that memory stays flat.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import (
    Any,
    Callable,
    Deque,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np

from ..wordpiece import WordPieceTokenizer
from .documents import (
    RawDocument,
    Reader,
    Splitter,
    parse_part,
    reader_for,
    split_file,
    split_paragraphs,
)
from .formats.counted import counting
from .manifest import Source
from .store import TokenStore
from .store_writer import Encoded, StoreWriter

# Characters of a task: a fifth of a second or so. Larger ones gain nothing, and the last of them
# would keep one process busy while the others have nothing to do.
TASK_CHARACTERS = 1 << 18
# Files of less than this are read by one process before others would have started: each loads what
# its splitter needs.
SMALL_CORPUS = 5_000_000
# A fork starts at once, and takes any splitter along; elsewhere it has to be pickled.
START_METHOD = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


class Task(NamedTuple):
    """Some text to encode.

    reader (Reader): Of the file.
    parts (List[Any]): Parts that the reader has yet to parse; or RawDocuments.
    continues (bool): Whether the next task belongs to the last of these documents.
    """

    reader: Reader
    parts: List[Any]
    continues: bool


Encode = Callable[[Task], Encoded]


def prepare(
    path: Union[str, Path],
    files: Sequence[Path],
    tokenizer: WordPieceTokenizer,
    *,
    reader: Optional[Reader] = None,
    splitter: Optional[Splitter] = None,
    reader_name: str = "by file ending",
    splitter_name: str = "",
    n_process: Optional[int] = None,
    force: bool = False,
    progress: Optional[Callable[[int], None]] = None,
) -> TokenStore:
    """Make a store of files.

    path (Union[str, Path]): The folder; there must be none, or an empty one.
    files (Sequence[Path]): The files, as `find_files` returns them.
    tokenizer (WordPieceTokenizer): The vocabulary.
    reader (Optional[Reader]): What reads them; without it, each is read by its ending.
    splitter (Optional[Splitter]): What makes sentences of a paragraph; without it, paragraphs are
        sentences.
    reader_name (str): What the manifest says of the reader.
    splitter_name (str): What the manifest says of the splitter.
    n_process (Optional[int]): How many processes encode; None: one for each core, or one where
        there is little text. Where the system cannot fork, reader and splitter must be picklable.
    force (bool): Replace a store that is there.
    progress (Optional[Callable[[int], None]]): Called with a number of bytes each time that some
        of a file were read.
    RETURNS (TokenStore): The store.
    RAISES (ValueError): There is no text, or a file cannot be read.
    RAISES (FileExistsError): There is something at `path`.
    RAISES (OSError): The disk does not take it, or a process died. Nothing is left behind then.
    """
    if n_process is not None and n_process < 1:
        raise ValueError(f"n_process is {n_process}; expected 1 or more, or None for all cores.")
    files = [Path(file) for file in files]
    # A name on the disk may be no text.
    names = [os.fsencode(file).decode("utf8", "backslashreplace") for file in files]
    sources = [Source(name, file.stat().st_size) for name, file in zip(names, files)]
    if n_process is None:
        small = sum(source.bytes for source in sources) < SMALL_CORPUS
        n_process = 1 if small else available_cores()
    listen = nullcontext() if progress is None else counting(progress)
    with listen, StoreWriter(path, tokenizer, force=force) as writer:
        tasks = make_tasks(files, reader)
        with _results(tasks, tokenizer, splitter, n_process) as results:
            for encoded in results:
                writer.add(encoded)
        return writer.finish(sources=sources, reader=reader_name, splitter=splitter_name)


def make_tasks(files: Sequence[Path], reader: Optional[Reader] = None) -> Iterator[Task]:
    """files (Sequence[Path]): The files.
    reader (Optional[Reader]): What reads them; without it, each is read by its ending.
    YIELDS (Task): All that is in them, in order."""
    for file in files:
        chosen = reader or reader_for(file)
        parts: List[Any] = []
        size = 0
        for part in split_file(chosen, file):
            for piece, n_characters, continues in _pieces(part):
                parts.append(piece)
                size += n_characters
                if size >= TASK_CHARACTERS:
                    yield Task(chosen, parts, continues)
                    parts, size = [], 0
        if parts:
            yield Task(chosen, parts, False)


def _pieces(part: Any) -> Iterator[Tuple[Any, int, bool]]:
    """A part, or if it is a large document, portions of it; the size of each, and whether the
    document goes on."""
    if not isinstance(part, RawDocument):
        yield part, sum(len(field) for field in part if isinstance(field, str)), False
        return
    start, size = 0, 0
    for end, paragraph in enumerate(part.paragraphs, 1):
        size += len(paragraph)
        if size >= TASK_CHARACTERS and end < len(part.paragraphs):
            yield RawDocument(part.source, part.paragraphs[start:end]), size, True
            start, size = end, 0
    yield RawDocument(part.source, part.paragraphs[start:]), size, False


def encode(task: Task, tokenizer: WordPieceTokenizer, splitter: Optional[Splitter]) -> Encoded:
    """task (Task): Some text.
    tokenizer (WordPieceTokenizer): The vocabulary.
    splitter (Optional[Splitter]): What makes sentences of a paragraph.
    RETURNS (Encoded): The same in pieces."""
    documents: List[RawDocument] = []
    for part in task.parts:
        if isinstance(part, RawDocument):
            documents.append(part)
        else:
            documents += parse_part(task.reader, part)
    paragraphs = [text for document in documents for text in document.paragraphs]
    counts = [len(document.paragraphs) for document in documents]
    if splitter is None:
        sentences = paragraphs
    else:
        split = split_paragraphs(splitter, paragraphs)
        sentences = [sentence for paragraph in split for sentence in paragraph]
        ends = np.cumsum([0, *map(len, split)])[np.cumsum([0, *counts])]
        counts = np.diff(ends).tolist()
    # Sentence by sentence: a paragraph's pieces are those of its sentences only where all of them
    # end at a blank, and a splitter may cut anywhere.
    ids, lengths = tokenizer.encode_ids_batch(sentences)
    return Encoded(ids, lengths, np.array(counts, dtype=np.int64), task.continues)


@contextmanager
def _results(
    tasks: Iterable[Task],
    tokenizer: WordPieceTokenizer,
    splitter: Optional[Splitter],
    n_process: int,
) -> Iterator[Iterator[Encoded]]:
    """What comes of tasks, in their order."""
    if n_process == 1:
        yield (encode(task, tokenizer, splitter) for task in tasks)
        return
    pool = ProcessPoolExecutor(
        n_process,
        mp_context=multiprocessing.get_context(START_METHOD),
        initializer=_start_worker,
        initargs=(tokenizer, splitter),
    )
    try:
        yield _in_order(pool, tasks, 2 * n_process + 2)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"One of {n_process} processes died: it was killed, or memory was short. Try again "
            "with fewer (--n-process)."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, tasks: Iterable[Task], most: int) -> Iterator[Encoded]:
    under_way: Deque[Future[Encoded]] = deque()
    for task in tasks:
        under_way.append(pool.submit(_work, task))
        if len(under_way) >= most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


# Of a worker process.
_encode: Optional[Encode] = None


def _start_worker(tokenizer: WordPieceTokenizer, splitter: Optional[Splitter]) -> None:
    global _encode
    # Each process is one thread; the library would start as many as there are cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Ctrl-C goes to all processes: the first one ends the others in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _encode = lambda task: encode(task, tokenizer, splitter)  # noqa: E731


def _die_with_parent() -> None:
    """A worker of a parent that was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Encoded:
    assert _encode is not None
    return _encode(task)


def available_cores() -> int:
    """RETURNS (int): How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
