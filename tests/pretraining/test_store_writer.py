"""Writing a store: all of it or nothing."""

import errno
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from spacy_bert.pretraining import store_writer as module
from spacy_bert.pretraining.store import TokenStore
from spacy_bert.pretraining.store_writer import Encoded, StoreWriter, write_store

from .numbered import numbered_documents, numbered_store, numbered_tokenizer


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_the_same_bytes_however_it_is_cut(tmp_path):
    """Catches sentences of a document that goes on which are counted wrongly: where text is cut
    into tasks must not be seen."""
    documents = [[3, 0, 2], [], [5], [0, 0], [1, 1, 1, 4]]
    tokenizer = numbered_tokenizer(17)
    whole = numbered_store(tmp_path / "whole", documents)
    draws = np.random.default_rng(0)
    for number in range(20):
        with StoreWriter(tmp_path / str(number), tokenizer) as writer:
            for encoded in cut_at_random(numbered_documents(documents), tokenizer, draws):
                writer.add(encoded)
            writer.finish()
        assert files(tmp_path / str(number)) == files(whole.path)
    assert whole.manifest.n_without_pieces == 2


def cut_at_random(documents, tokenizer, draws):
    """The sentences of documents, some at a time."""
    units = [
        (text, last) for d in documents for text, last in [*((t, False) for t in d), (None, True)]
    ]
    while units:
        n = int(draws.integers(1, 6))
        taken, units = units[:n], units[n:]
        counts, sentences = [0], []
        for text, last in taken:
            if last:
                counts.append(0)
            else:
                sentences.append(text)
                counts[-1] += 1
        goes_on = not taken[-1][1]
        if not goes_on:
            counts.pop()
        ids, lengths = tokenizer.encode_ids_batch(sentences)
        yield Encoded(ids, lengths, np.array(counts, dtype=np.int64), goes_on)


def test_a_document_must_end(tmp_path):
    """Catches the end of a corpus that is lost in silence."""
    with StoreWriter(tmp_path / "store", numbered_tokenizer(9)) as writer:
        writer.add(Encoded(np.array([7]), np.array([1]), np.array([1]), True))
        with pytest.raises(ValueError, match="The last document goes on"):
            writer.finish()
    assert os.listdir(tmp_path) == []


def test_what_fails_leaves_nothing(tmp_path):
    """Catches a temporary folder that stays behind, or half a store."""

    def documents():
        yield ["1 2", "3"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "store", documents(), numbered_tokenizer(9))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [0, 10_000, 100_000])
def test_a_full_disk(tmp_path, limit):
    """Catches a disk that takes no more and half a store that stays there, or an error that does
    not say what is too small. (The limit is on the size of a file; pieces take 200 KB.)"""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    tokenizer = numbered_tokenizer(100_000)
    text = [" ".join(map(str, range(n, n + 100))) for n in range(0, 100_000, 100)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match="could not be written after .* pieces: .*make room") as e:
            write_store(
                tmp_path / "store", [text[i : i + 50] for i in range(0, 1000, 50)], tokenizer
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert e.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == []
    assert len(write_store(tmp_path / "store", [text], tokenizer).pieces) == 100_000


def test_a_folder_that_is_not_empty_is_not_touched(tmp_path):
    """Catches a stranger's files that are replaced, with or without force."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("x")
    for force in (False, True):
        with pytest.raises(FileExistsError, match="is not empty: found thesis.txt"):
            write_store(tmp_path / "store", [["1"]], numbered_tokenizer(9), force=force)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file, but a store is a folder"):
        write_store(tmp_path / "file", [["1"]], numbered_tokenizer(9), force=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "store"]


def test_an_earlier_store_is_replaced_only_by_force(tmp_path):
    """Catches a store that is lost: without asking, or as its replacement fails."""
    tokenizer = numbered_tokenizer(9)
    write_store(tmp_path / "store", [["1 2 3"]], tokenizer)
    with pytest.raises(FileExistsError, match=r"There is a store at .*--force"):
        write_store(tmp_path / "store", [["4"]], tokenizer)
    with pytest.raises(ValueError, match="no text"):
        write_store(tmp_path / "store", [], tokenizer, force=True)
    assert len(TokenStore.open(tmp_path / "store").pieces) == 3
    write_store(tmp_path / "store", [["4"]], tokenizer, force=True)
    assert len(TokenStore.open(tmp_path / "store").pieces) == 1
    assert os.listdir(tmp_path) == ["store"]


@pytest.mark.parametrize("force", [False, True])
def test_two_into_one_folder(tmp_path, force):
    """Catches a store that is lost to another, begun while there was none, though both said that all
    went well; with force, that is asked for."""
    path = tmp_path / "store"
    with StoreWriter(path, numbered_tokenizer(9), force=force) as writer:
        writer.add(Encoded(np.array([7]), np.array([1]), np.array([1])))
        first = write_store(path, [["1 2 3"]], numbered_tokenizer(9)).fingerprint
        if force:
            assert writer.finish().fingerprint != first
        else:
            with pytest.raises(FileExistsError, match="There is a store at .* was not there when"):
                writer.finish()
    assert (TokenStore.open(path).fingerprint == first) != force
    assert os.listdir(tmp_path) == ["store"]


def test_no_folder_to_write_into(tmp_path):
    """Catches advice to make room where a file is in the way."""
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "store", tmp_path / "file" / "a" / "store"):
        with pytest.raises(NotADirectoryError, match="file is a file, but a folder is needed") as e:
            write_store(path, [["1"]], numbered_tokenizer(9))
        assert "make room" not in str(e.value)
    with pytest.raises(OSError, match="could not be written .*File name too long") as e:
        write_store(tmp_path / ("a" * 250), [["1"]], numbered_tokenizer(9))
    assert "make room" not in str(e.value) and "Choose another folder" in str(e.value)
    assert os.listdir(tmp_path) == ["file"]


def test_an_empty_folder_is_taken(tmp_path):
    """Catches a folder that someone made beforehand, which is refused."""
    (tmp_path / "store").mkdir()
    assert len(write_store(tmp_path / "store", [["1"]], numbered_tokenizer(9))) == 1
    assert len(write_store(tmp_path / "a" / "b" / "store", [["1"]], numbered_tokenizer(9))) == 1


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from tests.pretraining.numbered import numbered_tokenizer
from spacy_bert.pretraining.store_writer import StoreWriter
writer = StoreWriter({path!r}, numbered_tokenizer(9)).__enter__()
if {wait}:
    print("ready", flush=True)
    sys.stdin.read()
os.kill(os.getpid(), 9)
"""


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(path, *, wait):
    code = KILLED.format(root=ROOT, path=str(path), wait=wait)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(module.fcntl is None, reason="no locks on this system")
def test_what_a_killed_run_left_is_removed(tmp_path):
    """Catches gigabytes that stay for ever, and the folder of a run that is still going on which
    is taken for such."""
    run(tmp_path / "store", wait=False).wait()
    [left] = os.listdir(tmp_path)
    assert left.startswith(".store-")
    with run(tmp_path / "store", wait=True) as alive:
        assert alive.stdout.readline() == "ready\n"
        [going_on] = os.listdir(tmp_path)
        assert going_on != left
        write_store(tmp_path / "store", [["1"]], numbered_tokenizer(9))
        assert sorted(os.listdir(tmp_path)) == [going_on, "store"]
        alive.stdin.close()
    # Those of another store are none of its business.
    write_store(tmp_path / "other", [["1"]], numbered_tokenizer(9))
    assert sorted(os.listdir(tmp_path)) == [going_on, "other", "store"]
    write_store(tmp_path / "store", [["2"]], numbered_tokenizer(9), force=True)
    assert sorted(os.listdir(tmp_path)) == ["other", "store"]


REPLACED = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.pretraining.numbered import numbered_tokenizer
from spacy_bert.pretraining.store_writer import write_store
rename = Path.rename
def stop_at_the_second(self, target):
    if not self.name.endswith(".tmp"):
        return rename(self, target)
    Path.rename = rename
    {how}
Path.rename = stop_at_the_second
write_store({path!r}, [["2"]], numbered_tokenizer(9), force=True)
"""


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"])
@pytest.mark.skipif(module.fcntl is None, reason="no locks on this system")
def test_stopped_while_a_store_takes_the_place_of_another(tmp_path, how):
    """Catches that neither is left when the process ends between the two names."""
    path = tmp_path / "store"
    before = write_store(path, [["1"]], numbered_tokenizer(9)).fingerprint
    code = REPLACED.format(root=ROOT, path=str(path), how=how)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert path.exists() == ("raise" in how), done.stderr
    # The next one that is prepared there has no text: what was there is there again.
    with pytest.raises(ValueError, match="There is no text"):
        write_store(path, [], numbered_tokenizer(9), force=True)
    assert TokenStore.open(path).fingerprint == before
    assert os.listdir(tmp_path) == ["store"]
    # What got its name back is not replaced by somebody who saw nothing there.
    path.rename(tmp_path / ".store-1a2b3c4d.old.tmp")
    with pytest.raises(FileExistsError):
        write_store(path, [["2"]], numbered_tokenizer(9))
    assert TokenStore.open(path).fingerprint == before
