"""Plain text: where paragraphs and documents end."""

import pickle

import pytest

from spacy_bert.pretraining.formats import text_files as module
from spacy_bert.pretraining.formats.text_files import TextFiles

TEXT = """one
two

three

\f

four
five
"""


@pytest.fixture
def read(tmp_path):
    def read(text, **settings):
        path = tmp_path / "a.txt"
        path.write_bytes(text.encode("utf8"))
        return [document.paragraphs for document in TextFiles(**settings)(path)]

    return read


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, [["one two", "three", "four five"]]),
        ({"paragraphs": "line"}, [["one", "two", "three", "four", "five"]]),
        ({"blank_lines": 1}, [["one two"], ["three"], ["four five"]]),
        # A form feed alone on its line is blank.
        ({"blank_lines": 2}, [["one two", "three"], ["four five"]]),
        ({"blank_lines": 4}, [["one two", "three", "four five"]]),
        ({"skip": "t.*"}, [["one", "four five"]]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_boundaries(read, settings, expected, end):
    """Catches a boundary that is missed or made up, with the line ends of any system."""
    assert read(TEXT.replace("\n", end), **settings) == expected


WIKITEXT = """ \n = Lobster = \n \n A lobster . \n = 1 kg = \n \n = = Habitat = = \n \n The sea . \n \n = Crab = \n \n A crab . \n"""


def test_headings(read):
    """Catches WikiText's headings taken for prose, and prose that looks like one taken for one."""
    settings = {"heading": "= [^=].* =", "skip": "= = .* = =", "paragraphs": "line"}
    assert read(WIKITEXT, **settings) == [["A lobster .", "= 1 kg =", "The sea ."], ["A crab ."]]
    settings["heading_alone"] = False
    assert read(WIKITEXT, **settings) == [["A lobster ."], ["The sea ."], ["A crab ."]]


def test_source(tmp_path):
    """Catches a document that cannot be found again."""
    path = tmp_path / "a.txt"
    path.write_text("\n\none\n\n\ntwo\n")
    assert [d.source for d in TextFiles(blank_lines=2)(path)] == [f"{path}:3", f"{path}:6"]


@pytest.mark.parametrize("text", ["", "\n\n", " \t\n\ufeff\n"])
def test_empty(read, text):
    """Catches a document without text."""
    assert read(text) == []


def test_large_files_are_several_documents(read, monkeypatch):
    """Catches a file that is held in memory whole because it is one document."""
    monkeypatch.setattr(module, "MAX_DOCUMENT", 20)
    found = read("\n\n".join(f"paragraph {i}" for i in range(100)))
    assert len(found) == 50
    assert [p for document in found for p in document] == [f"paragraph {i}" for i in range(100)]


def test_reading_is_lazy(tmp_path):
    """Catches a reader that reads all before it gives the first document."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n\n" * 100_000 + b"\xff")
    assert next(TextFiles(blank_lines=1)(path)).paragraphs == ["good"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"blank_lines": 0}, "blank_lines is 0"),
        ({"paragraphs": "lines"}, "paragraphs is 'lines'; expected one of blank, line"),
        ({"heading": "("}, r"heading is '\(', which is no regular expression"),
        ({"skip": "["}, "skip is"),
        ({"encoding": "nope"}, "encoding"),
    ],
)
def test_settings(settings, message):
    """Catches a setting that is found to be wrong only while reading."""
    with pytest.raises(ValueError, match=message):
        TextFiles(**settings)


def test_pickle():
    """Catches a reader that cannot go into a worker process."""
    reader = TextFiles(heading="= .* =")
    assert pickle.loads(pickle.dumps(reader)) == reader
