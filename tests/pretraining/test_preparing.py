"""Files to a store, by one process or several."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import spacy_bert
from spacy_bert.pretraining import preparing as module
from spacy_bert.pretraining.documents import Paragraphs, RawDocument
from spacy_bert.pretraining.preparing import make_tasks, prepare
from spacy_bert.wordpiece import WordPieceTokenizer

from .numbered import SPECIALS

PUNCTUATION = [".", "-", "'"]


def tokenizer():
    return WordPieceTokenizer([*SPECIALS, *PUNCTUATION, *map(str, range(300))])


def full_stops(paragraph):
    """A splitter: a sentence ends with a full stop, wherever."""
    return [part + "." for part in paragraph.split(".") if part.strip()]


class Texts:
    """A reader whose every line is a document; paragraphs are divided by bars."""

    def __call__(self, path):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield RawDocument(f"{path}:{number}", [p for p in line.split("|") if p.strip()])


class Pages(Texts):
    """The same, in two halves."""

    def split(self, path):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield (f"{path}:{number}", line)

    def parse(self, part):
        source, line = part
        for text in line.split("||"):  # pages of several documents, or of none
            if text != "none":
                yield RawDocument(source, [p for p in text.split("|") if p.strip()])


@pytest.fixture
def corpus(tmp_path):
    """Two files: short documents, long ones, and such without text."""
    draws = np.random.default_rng(0)

    def paragraph():
        return " ".join(
            f"{draws.integers(300)}{draws.choice([' ', '.', ' - ', '. '])}" for _ in range(30)
        )

    lines = ["|".join(paragraph() for _ in range(n)) for n in (1, 40, 0, 3, 1, 1, 90, 2)]
    for name, part in (("a.txt", lines[:3]), ("b.txt", lines[3:])):
        (tmp_path / name).write_text("\n".join(part) + "\n")
    return [tmp_path / "a.txt", tmp_path / "b.txt"]


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(module, "TASK_CHARACTERS", 500)


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def documents_of(store):
    """The ids of each document, sentence by sentence."""
    return [[store.sentence(i).tolist() for i in range(*ends)] for ends in store.documents]


@pytest.mark.parametrize("splitter", [None, full_stops, Paragraphs()])
def test_what_is_read_is_what_is_written(corpus, tmp_path, splitter, small_tasks):
    """Catches text that is lost or comes twice where documents are cut into tasks, and sentences
    that are encoded as a part of something larger."""
    pieces = tokenizer()
    store = prepare(
        tmp_path / "store", corpus, pieces, reader=Texts(), splitter=splitter, n_process=1
    )
    expected = [
        [
            pieces.encode(sentence).ids.tolist()
            for paragraph in document.paragraphs
            for sentence in (full_stops(paragraph) if splitter is full_stops else [paragraph])
        ]
        for file in corpus
        for document in Texts()(file)
    ]
    assert documents_of(store) == [document for document in expected if document]
    assert len(store) == 7 and store.manifest.n_without_pieces == 1


@pytest.mark.parametrize("reader", [Texts(), Pages()])
def test_processes_write_the_same_bytes(corpus, tmp_path, reader, small_tasks):
    """Catches results in the order in which they came, and anything that hangs on the process."""
    stores = {}
    for n in (1, 2, 3):
        path = tmp_path / f"store{n}"
        prepare(path, corpus, tokenizer(), reader=reader, splitter=full_stops, n_process=n)
        stores[n] = files(path)
    assert stores[1] == stores[2] == stores[3]
    assert len(list(make_tasks(corpus, reader))) > 4  # else there is nothing to confuse


def test_large_documents_are_cut(corpus, small_tasks):
    """Catches a novel that one process works on while the others wait, and tasks so small that
    handing them over takes longer than the work."""
    tasks = list(make_tasks(corpus, Texts()))
    sizes = [sum(len(p) for part in task.parts for p in part.paragraphs) for task in tasks]
    assert max(sizes) < 2 * 500 and sum(size < 500 for size in sizes) <= len(corpus)
    assert any(task.continues for task in tasks) and not tasks[-1].continues


def test_the_sources_are_named(corpus, tmp_path):
    """Catches a manifest that does not say what the store was made of."""
    store = prepare(
        tmp_path / "store", corpus, tokenizer(), reader=Texts(), reader_name="R", splitter_name="S"
    )
    assert store.manifest.sources == tuple((str(f), f.stat().st_size) for f in corpus)
    assert (store.manifest.reader, store.manifest.splitter) == ("R", "S")


def test_a_name_that_is_no_text(tmp_path):
    """Catches hours of work that end because a file was named in another encoding."""
    file = tmp_path / os.fsdecode(b"caf\xe9.txt")
    try:
        file.write_text("1 2 3\n")
    except OSError:
        pytest.skip("this file system has no such names")
    store = prepare(tmp_path / "store", [file], tokenizer())
    assert store.manifest.sources[0].name.endswith(r"caf\xe9.txt")


@pytest.mark.parametrize("n_process", [1, 2])
def test_progress_is_in_bytes_of_the_files(tmp_path, n_process):
    """Catches a bar that counts what comes out of a compressed file, or that does not move before
    the file is at its end."""
    file = tmp_path / "texts.jsonl.gz"
    draws = np.random.default_rng(0)
    with gzip.open(file, "wt") as stream:
        for _ in range(300):
            numbers = draws.integers(300, size=2000)
            stream.write(json.dumps({"text": " ".join(map(str, numbers))}) + "\n")
    read = []
    prepare(tmp_path / "store", [file], tokenizer(), n_process=n_process, progress=read.append)
    assert sum(read) == file.stat().st_size
    assert len(read) > 10 and max(read) < file.stat().st_size / 5


# What goes wrong


class Failing(Texts):
    def __call__(self, path):
        yield from Texts.__call__(self, path)
        raise ValueError(f"{path}: found something")


def failing(paragraph):
    raise ValueError(f"cannot split {paragraph[:2]}")


def dying(paragraph):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("n_process", [1, 2])
@pytest.mark.parametrize(
    "reader, splitter, message",
    [(Failing(), None, "found something"), (Texts(), failing, "cannot split")],
)
def test_errors_leave_nothing(corpus, tmp_path, n_process, reader, splitter, message, small_tasks):
    """Catches a file that cannot be read, after which half a store stays there, or processes that
    wait for ever."""
    with pytest.raises(ValueError, match=message):
        prepare(
            tmp_path / "store",
            corpus,
            tokenizer(),
            reader=reader,
            splitter=splitter,
            n_process=n_process,
        )
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_a_process_that_dies(corpus, tmp_path):
    """Catches waiting for ever for the result of a process that the system has killed."""
    with pytest.raises(ChildProcessError, match="One of 2 processes died.*--n-process"):
        prepare(
            tmp_path / "store", corpus, tokenizer(), reader=Texts(), splitter=dying, n_process=2
        )
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_no_text(tmp_path):
    """Catches an empty store, which every later step would stumble over."""
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="no text: no piece came of 0 documents.*Check the inputs"):
        prepare(tmp_path / "store", [tmp_path / "empty.txt"], tokenizer())
    assert os.listdir(tmp_path) == ["empty.txt"]


def test_n_process_out_of_range(corpus, tmp_path):
    """Catches a pool of no processes."""
    with pytest.raises(ValueError, match="n_process is 0; expected 1 or more"):
        prepare(tmp_path / "store", corpus, tokenizer(), n_process=0)


# Stopped from outside

RUN = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from spacy_bert.pretraining import preparing
from tests.pretraining.test_preparing import Texts, tokenizer
preparing.TASK_CHARACTERS = 100
def slow_split(paragraph):
    time.sleep(0.1)
    return [paragraph]
def slow_read(path):
    for document in Texts()(path):
        yield document
        time.sleep(5)
reader, splitter = (slow_read, None) if {slow_reader} else (Texts(), slow_split)
preparing.prepare(
    {path!r}, [Path({file!r})], tokenizer(), reader=reader, splitter=splitter, n_process={n}
)
"""


@pytest.fixture
def start(corpus, tmp_path):
    """A function: number of processes, and whether they wait for text -> a run that has begun to
    write, in a group of its own."""
    root = str(Path(spacy_bert.__file__).parents[1])
    started = []

    def run(n, slow_reader=False):
        path, file = str(tmp_path / "out" / "store"), str(corpus[1])
        code = RUN.format(root=root, path=path, file=file, n=n, slow_reader=slow_reader)
        process = subprocess.Popen(
            [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        until(lambda: list((tmp_path / "out").glob(".store-*.tmp/documents.bin")))
        time.sleep(0.3)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def group_of(process):
    """The processes that run in its group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == process.pid and fields[0] != "Z":
            found.append(entry.parent.name)
    return found


@pytest.mark.parametrize("n, slow_reader", [(1, False), (2, False), (2, True)])
def test_ctrl_c_leaves_nothing(start, tmp_path, n, slow_reader):
    """Catches a temporary folder or processes that stay after Ctrl-C, which goes to all of them;
    and a traceback of each."""
    process = start(n, slow_reader)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode != 0 and errors.count("KeyboardInterrupt") == 1
    assert os.listdir(tmp_path / "out") == []
    assert group_of(process) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_do_not_outlive_a_killed_parent(start, tmp_path):
    """Catches processes that wait for tasks for ever once the one that gave them was killed."""
    process = start(2)
    assert len(group_of(process)) == 3
    process.kill()
    process.wait()
    until(lambda: group_of(process) == [], seconds=20)
    assert not (tmp_path / "out" / "store").exists()


def test_spawned_processes(corpus, tmp_path, monkeypatch):
    """Catches what only works where processes can be forked."""
    prepare(
        tmp_path / "forked", corpus, tokenizer(), reader=Texts(), splitter=full_stops, n_process=2
    )
    monkeypatch.setattr(module, "START_METHOD", "spawn")
    prepare(
        tmp_path / "spawned", corpus, tokenizer(), reader=Texts(), splitter=full_stops, n_process=2
    )
    assert files(tmp_path / "forked") == files(tmp_path / "spawned")
