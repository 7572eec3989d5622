"""Which files a corpus has, and what reads each."""

import os
import pickle
from pathlib import Path

import pytest

from spacy_bert.pretraining import documents as module
from spacy_bert.pretraining.documents import (
    Paragraphs,
    RawDocument,
    find_files,
    make_registered,
    parse_part,
    read_documents,
    reader_for,
    split_file,
    split_paragraphs,
)
from spacy_bert.pretraining.formats.gutenberg import Gutenberg
from spacy_bert.pretraining.formats.jsonl import JsonlDocuments
from spacy_bert.pretraining.formats.text_files import TextFiles
from spacy_bert.pretraining.formats.wiki_dump import WikiDump


@pytest.fixture
def folder(tmp_path):
    for name in ("b.txt", "a/z.TXT", "a/c.jsonl.gz", "a.txt", ".x.txt", ".git/d.txt", "e.png"):
        file = tmp_path / "corpus" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text\n")
    return tmp_path / "corpus"


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_folders(folder):
    """Catches an order that depends on the file system, hidden files, and what is no text."""
    with pytest.warns(UserWarning, match=r"Left out: 1 of the 5 files in .*e\.png first"):
        found = find_files([folder])
    assert names(found, folder) == ["a/c.jsonl.gz", "a/z.TXT", "a.txt", "b.txt"]
    assert "e.png" in names(find_files([folder], any_ending=True), folder)


def test_links(folder, tmp_path):
    """Catches a folder behind a link that is not read, and links that lead round in a circle."""
    (folder / "e.png").unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.txt").write_text("text\n")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    assert names(find_files([folder]), folder)[-1] == "link/far.txt"
    assert len(find_files([folder])) == 5
    (folder / "0").symlink_to(folder / "a")  # comes before what it leads to
    assert names(find_files([folder]), folder)[0] == "0/c.jsonl.gz"


def test_pipes(folder, tmp_path):
    """Catches a command that waits for ever for somebody to write to a pipe."""
    (folder / "e.png").unlink()
    os.mkfifo(folder / "c.txt")
    (folder / "d.txt").symlink_to(folder / "c.txt")
    (folder / "e.txt").symlink_to(folder / "b.txt")
    assert names(find_files([folder]), folder) == ["a/c.jsonl.gz", "a/z.TXT", "a.txt", "b.txt"]
    assert "c.txt" not in names(find_files([folder], any_ending=True), folder)
    with pytest.raises(
        ValueError, match=r"c\.txt is a device or a pipe; expected a file or a folder"
    ):
        find_files([folder / "c.txt"])
    # Whoever names a reader reads it once.
    assert find_files([folder / "c.txt"], any_ending=True) == [folder / "c.txt"]


def test_order_and_repeats(folder):
    """Catches a file that counts twice, and inputs in another order than they were given."""
    (folder / "e.png").unlink()
    files = find_files([folder / "b.txt", str(folder), folder / "a" / ".." / "a.txt"])
    assert names(files, folder) == ["b.txt", "a/c.jsonl.gz", "a/z.TXT", "a.txt"]


def test_nothing_to_read(folder, tmp_path):
    """Catches an empty corpus that is found only when training has nothing to do."""
    with pytest.raises(ValueError, match="nothing to read"):
        find_files([])
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist \(looked from"):
        find_files([folder, tmp_path / "nowhere"])
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match="has no file to read: found nothing"):
        find_files([tmp_path / "pictures"])
    (tmp_path / "pictures" / "a.png").write_text("")
    with pytest.raises(ValueError, match=r"found a\.png; expected files that end in \.txt"):
        find_files([tmp_path / "pictures"])


@pytest.mark.parametrize(
    "name, reader",
    [
        ("a.txt", TextFiles()),
        ("a.tokens.xz", TextFiles()),
        ("a.JSONL", JsonlDocuments()),
        ("a.jsonl.gz", JsonlDocuments()),
        ("a.xml", WikiDump()),
        ("a.xml.bz2", WikiDump()),
    ],
)
def test_reader_for(tmp_path, name, reader):
    """Catches a format that is read by another's reader."""
    (tmp_path / name).write_bytes(b"")
    assert reader_for(tmp_path / name) == reader


def test_reader_for_a_book(tmp_path):
    """Catches the licence of Project Gutenberg in a corpus of novels."""
    path = tmp_path / "a.txt"
    path.write_text("x\n" * 500 + "*** START OF THE PROJECT GUTENBERG EBOOK A ***\nText.\n")
    assert reader_for(path) == Gutenberg()


@pytest.mark.parametrize("name", ["a.png", "a", "a.gz", "a.json"])
def test_no_reader(name):
    """Catches a file that is guessed to be text."""
    with pytest.raises(ValueError, match=rf"how to read {name}: .*--reader"):
        reader_for(Path(name))


def test_made_by_name():
    """Catches a name that spaCy knows and this does not, and settings that go nowhere."""
    assert make_registered("spacy_readers", "spacy-bert.TextFiles.v1", blank_lines=2) == TextFiles(
        2
    )
    assert make_registered("spacy_readers", "WikiDump") == WikiDump()
    assert isinstance(make_registered("spacy_misc", "Paragraphs"), Paragraphs)
    with pytest.raises(
        ValueError, match=r"'Text' is not registered in spacy_readers; found .*Wiki"
    ):
        make_registered("spacy_readers", "Text")
    with pytest.raises(ValueError, match="TextFiles.v1 does not take these settings: .*'colour'"):
        make_registered("spacy_readers", "TextFiles", colour="blue")


def test_mixed_files(tmp_path):
    """Catches files of a folder that are all read by the reader of the first."""
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "Three."}\n{"text": "Four."}\n')
    found = read_documents(find_files([tmp_path]))
    assert [d.paragraphs for d in found] == [["One.", "Two."], ["Three."], ["Four."]]


def test_stages_of_a_plain_reader(tmp_path):
    """Catches a reader without stages of its own that cannot be used where they are asked for."""
    (tmp_path / "a.txt").write_text("One.\n")
    [part] = split_file(TextFiles(), tmp_path / "a.txt")
    assert parse_part(TextFiles(), part) == [RawDocument(f"{tmp_path}/a.txt:1", ["One."])]


def test_splitters():
    """Catches a batch method that is not used, and paragraphs in which sentences get lost."""

    class Batched:
        def batch(self, paragraphs):
            return [[f"<{text}>"] for text in paragraphs]

    assert split_paragraphs(Batched(), ["a", "b"]) == [["<a>"], ["<b>"]]
    assert split_paragraphs(Paragraphs(), ["a b. ", "", " "]) == [["a b."], [], []]
    assert split_paragraphs(str.split, ["a b"]) == [["a", "b"]]
    assert pickle.loads(pickle.dumps(Paragraphs()))("x") == ["x"]


def test_limits():
    """Catches a paragraph that spaCy refuses as too long a text."""
    assert module.MAX_PARAGRAPH <= 1_000_000 and module.MAX_PARAGRAPH < module.MAX_DOCUMENT
