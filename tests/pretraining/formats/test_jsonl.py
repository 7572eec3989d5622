"""JSON lines."""

import gzip
import json
import pickle

import pytest

from spacy_bert.pretraining.formats import jsonl as module
from spacy_bert.pretraining.formats import lines
from spacy_bert.pretraining.formats.jsonl import JsonlDocuments


@pytest.fixture
def read(tmp_path):
    def read(content, **settings):
        path = tmp_path / "a.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))
        return list(JsonlDocuments(**settings)(path))

    return read


@pytest.mark.parametrize(
    "value, expected",
    [
        ("one\ntwo\n \nthree", ["one two", "three"]),
        ("one\r\n\r\ntwo", ["one", "two"]),
        (["one\ntwo", "three", ""], ["one two", "three"]),
        ([["A b.", "C d."], ["E."]], ["A b.", "C d.", "E."]),
        ("a\0b \ud83d c", ["ab \ufffd c"]),
    ],
)
def test_paragraphs(read, value, expected):
    """Catches paragraphs or sentences run together, and what no text can hold."""
    line = json.dumps({"text": value, "id": 1})
    assert [d.paragraphs for d in read(line)] == [expected]


def test_lines_as_paragraphs(read):
    """Catches a setting that has no effect."""
    line = json.dumps({"body": "one\ntwo"})
    assert read(line, text="body", paragraphs="line")[0].paragraphs == ["one", "two"]


def test_documents(read, tmp_path):
    """Catches blank and empty lines that become documents or errors, and wrong line numbers."""
    content = ['\ufeff{"text": "a"}', "", '{"text": null}', '{"text": ""}', '{"text": "b"}\r', ""]
    found = read("\n".join(content))
    assert [d.paragraphs for d in found] == [["a"], ["b"]]
    assert [d.source.rpartition(":")[2] for d in found] == ["1", "5"]


def test_compressed(tmp_path):
    """Catches a whole book on one line, longer than a block, that is cut."""
    path = tmp_path / "novels.jsonl.gz"
    book = "\n\n".join(f"Paragraph {i}." for i in range(60_000))
    path.write_bytes(gzip.compress(json.dumps({"text": book}).encode()))
    [document] = JsonlDocuments()(path)
    assert len(document.paragraphs) == 60_000


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": "a"', r"a\.jsonl:2 is not valid JSON"),
        ("[1]", "a.jsonl:2 holds a JSON list; expected an object"),
        ('{"body": "a"}', "a.jsonl:2 has no key 'text'; found 'body'"),
        ('{"text": 1}', "a.jsonl:2: 'text' holds a int"),
        ('{"text": ["a", {"b": 1}]}', "a.jsonl:2: 'text' holds a dict"),
        ("[" * 100_000, "a.jsonl:2 is not valid JSON"),
    ],
)
def test_bad_lines(read, line, message):
    """Catches an error that does not say which line."""
    with pytest.raises(ValueError, match=message):
        read('{"text": "good"}\n' + line)


def test_bad_bytes(read):
    """Catches bytes that are no UTF-8 and go unnoticed, as JSON parsers may guess encodings."""
    with pytest.raises(ValueError, match="line 2: found byte 0xe9 at byte 24"):
        read(b'{"text": "a"}\n{"text": "' + b"\xe9" + b'"}')


def test_long_documents(read, monkeypatch):
    """Catches a paragraph or a document without end."""
    monkeypatch.setattr(lines, "MAX_PARAGRAPH", 10)
    monkeypatch.setattr(module, "MAX_DOCUMENT", 20)
    text = " ".join(["word"] * 20)
    found = read(json.dumps({"text": text}))
    assert " ".join(p for d in found for p in d.paragraphs) == text
    assert all(len(p) <= 10 for d in found for p in d.paragraphs) and len(found) > 3


def test_settings():
    """Catches a wrong setting that is found only while reading."""
    with pytest.raises(ValueError, match="paragraphs is 'x'"):
        JsonlDocuments(paragraphs="x")


def test_pickle():
    """Catches a reader that cannot go into a worker process."""
    reader = JsonlDocuments(text="body")
    assert pickle.loads(pickle.dumps(reader)) == reader
