"""Files to lines: encodings, line ends, compression, and what is wrong with a file."""

import bz2
import gzip
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_bert.pretraining.formats import lines as module
from spacy_bert.pretraining.formats.lines import clean, read_lines


def texts_of(path, **settings):
    return [line.text for line in read_lines(path, **settings)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few bytes: every character and line end comes to lie across two of them."""
    monkeypatch.setattr(module, "BLOCK", 3)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text(tmp_path_factory, text):
    """Catches a character or a line that is lost, doubled or torn at the border of two blocks."""
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(text.encode("utf8"))
    expected = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # A file of nothing but one kind of control character is binary, and refused as such.
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "BLOCK", 3)
            patch.setattr(module, "CONTROLS", b"")
            found = list(read_lines(path))
    finally:
        path.unlink()
    assert [line.text for line in found] == (expected if expected[-1] else expected[:-1])
    assert [line.number for line in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("encoding", ["utf8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings(tmp_path, small_blocks, encoding):
    """Catches an encoding whose line ends or BOM are not understood."""
    path = tmp_path / "a.txt"
    path.write_bytes("né\r\nzwei\rdrei\n\nü".encode(encoding))
    given_encoding = "utf8" if encoding == "utf-8-sig" else encoding
    assert texts_of(path, encoding=given_encoding) == ["né", "zwei", "drei", "", "ü"]


@pytest.mark.parametrize("ending, compress", [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])  # fmt: skip
def test_compressed(tmp_path, ending, compress):
    """Catches a compressed file that is read as it is, and one of several streams, as large dumps
    are, of which only the first is read."""
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(compress(b"one\ntw") + compress(b"o\n"))
    assert texts_of(path) == ["one", "two"]


@pytest.mark.parametrize("ending, compress", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_cut_off(tmp_path, ending, compress):
    """Catches a truncated file that passes for a whole one, or takes with it what could be read."""
    path = tmp_path / f"a.txt{ending}"
    whole = b"".join(compress(b"%d\n" % i * 50_000) for i in range(3))
    path.write_bytes(whole[:-20])
    found = []
    with pytest.raises(ValueError, match=r"a\.txt\S+ is cut off: [\d,]+ bytes .*download it again"):
        for line in read_lines(path):
            found.append(line.text)
    assert found[0] == "0" and len(found) > 50_000


def test_damaged(tmp_path):
    """Catches an error about compression that does not say which file."""
    path = tmp_path / "a.txt.bz2"
    path.write_bytes(b"no bzip2 at all")
    with pytest.raises(ValueError, match=r"a\.txt\.bz2 is damaged: 0 bytes"):
        texts_of(path)


def test_undecodable(tmp_path, small_blocks):
    """Catches an error that does not say where: the file, the line and the byte, even in another
    block than the line began in."""
    path = tmp_path / "a.txt"
    path.write_bytes("één\ntwee\nna".encode() + b"\xefve\nvier\n")
    message = r"a\.txt, line 3: found byte 0xef at byte 13, which is not utf-8 .*'replace'"
    with pytest.raises(ValueError, match=message):
        texts_of(path)
    assert texts_of(path, errors="replace") == ["één", "twee", "na\ufffdve", "vier"]


def test_undecodable_end(tmp_path):
    """Catches half a character at the end that is left out without a word."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntw\xc3")
    with pytest.raises(ValueError, match="line 2: found byte 0xc3 at byte 6"):
        texts_of(path)
    assert texts_of(path, errors="replace") == ["one", "tw\ufffd"]


def test_what_came_before(tmp_path):
    """Catches an error that comes before the lines of earlier blocks."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a line\n" * 100_000 + b"\xff\n")
    found = []
    with pytest.raises(ValueError, match="line 100001: found byte 0xff at byte 700000"):
        for line in read_lines(path):
            found.append(line)
    assert len(found) > 60_000


def test_binary(tmp_path):
    """Catches a picture that is read as text, and a text with one NUL that is refused."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"text\n" + bytes(range(32)) * 10)
    with pytest.raises(ValueError, match=r"a\.txt, line 2: found byte 0x00 at byte 5.* is binary"):
        texts_of(path)
    path.write_bytes(b"so\0me text\n" * 5 + b"text\n" * 500)
    assert texts_of(path)[0] == "some text"


def test_utf16_is_recognised(tmp_path):
    """Catches a message about byte 0xff that leaves the user to guess the encoding."""
    path = tmp_path / "a.txt"
    path.write_bytes("text".encode("utf-16"))
    with pytest.raises(ValueError, match="mark of UTF-16 .*encoding"):
        texts_of(path)


def test_long_lines_are_cut(tmp_path, monkeypatch):
    """Catches a file without line breaks that is read into memory whole, and a cut within a word."""
    monkeypatch.setattr(module, "MAX_PARAGRAPH", 10)
    path = tmp_path / "a.txt"
    path.write_bytes(b"one two three four\nabcdefghijklmnopqrstuvwxyz")
    found = list(read_lines(path))
    assert [line.text for line in found[:2]] == ["one two ", "three four"]
    assert [line.text for line in found[2:]] == ["abcdefghij", "klmnopqrst", "uvwxyz"]
    assert [line.number for line in found] == [1, 1, 2, 2, 2]
    assert texts_of(path, whole=True)[0] == "one two three four"


@pytest.mark.parametrize("settings, message", [({"encoding": "utf9"}, "encoding is 'utf9'"), ({"errors": "ignore"}, "errors is 'ignore'")])  # fmt: skip
def test_settings(tmp_path, settings, message):
    """Catches a misspelt setting that is found only after an hour of reading."""
    with pytest.raises(ValueError, match=message):
        texts_of(tmp_path, **settings)


@given(st.text())
def test_clean(text):
    """Catches whitespace, a NUL or a lone surrogate that gets into a document."""
    found = clean(text)
    assert found == " ".join(found.split())
    assert not set(found) & {"\0", "\ufeff", *map(chr, range(0xD800, 0xE000))}
    found.encode("utf8")
