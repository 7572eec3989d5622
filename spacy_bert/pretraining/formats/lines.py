"""A file -> its lines, decompressed and decoded; what is wrong with it, with file, line and byte."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator, List, NamedTuple, Union

from ..documents import MAX_PARAGRAPH
from .counted import open_counted

BLOCK = 1 << 18  # bytes
ERRORS = ("strict", "replace")
SURROGATES = re.compile("[\ud800-\udfff]")
# What a text may hold of the first 32 characters and DEL: whitespace, and the escape of terminals.
CONTROLS = bytes({*range(32), 127} - {9, 10, 11, 12, 13, 27})
BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Line(NamedTuple):
    """A line of a file, without its end; or a part of one that is longer than `MAX_PARAGRAPH`.

    number (int): Its number, from 1.
    text (str): What it says, with U+FFFD for lone surrogates and without U+0000.
    """

    number: int
    text: str


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """path (Path): A file, compressed if its name ends in .gz, .bz2 or .xz.
    YIELDS (BinaryIO): Its content, until the context ends."""
    kinds = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    kind = kinds.get(path.suffix.lower())
    with open_counted(path) as file:
        if kind is None:
            yield file
        else:
            with kind(file, "rb") as unpacked:  # type: ignore[operator]
                yield unpacked


def read_blocks(path: Path) -> Iterator[bytes]:
    """Read a file, decompressed, in blocks.

    path (Path): The file.
    YIELDS (bytes): What it holds, `BLOCK` bytes at a time.
    RAISES (ValueError): It is cut off or damaged; after what could be read.
    """
    done = 0
    with open_bytes(path) as file:
        while True:
            try:
                # One read of the compressed file at most, so that all that is whole gets out.
                block = file.read1(BLOCK)  # type: ignore[attr-defined]
            except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk's, not the content's
                what = "is cut off" if isinstance(error, EOFError) else "is damaged"
                raise ValueError(
                    f"{path} {what}: {done:,} bytes of text could be read, then: {error}. "
                    f"Copy or download it again."
                ) from None
            if not block:
                return
            done += len(block)
            yield block


def read_lines(
    path: Path, *, encoding: str = "utf8", errors: str = "strict", whole: bool = False
) -> Iterator[Line]:
    """Read a file line by line. Lines end with LF, CRLF or CR; a BOM is left out.

    path (Path): The file, compressed if its name says so.
    encoding (str): Any that Python knows.
    errors (str): What cannot be decoded: "strict" for an error, "replace" for U+FFFD in its place.
    whole (bool): Never cut a line.
    YIELDS (Line): The lines. One that is longer than `MAX_PARAGRAPH` comes in several parts, cut
        at blanks where there are any.
    RAISES (ValueError): The file is binary, in another encoding, cut off or damaged.
    """
    check_decoding(encoding, errors)
    number = 1
    rest: List[str] = []  # of the line that has not ended
    n_rest = 0
    for text in _decode(path, encoding, errors):
        first, *more = text.split("\n")
        rest.append(first)
        n_rest += len(first)
        for line in more:
            ended, rest = "".join(rest), [line]
            n_rest = len(line)
            for part in (ended,) if whole else cut(ended):
                yield Line(number, _clean(part))
            number += 1
        if n_rest > MAX_PARAGRAPH and not whole:
            *parts, last = cut("".join(rest))
            for part in parts:
                yield Line(number, _clean(part))
            rest, n_rest = [last], len(last)
    if n_rest:
        for part in ("".join(rest),) if whole else cut("".join(rest)):
            yield Line(number, _clean(part))


def cut(text: str) -> Iterator[str]:
    """text (str): A text of any length.
    YIELDS (str): The same in parts no longer than `MAX_PARAGRAPH`, cut after a blank where there is
        one; one part at least."""
    while len(text) > MAX_PARAGRAPH:
        at = text.rfind(" ", 0, MAX_PARAGRAPH) + 1 or MAX_PARAGRAPH
        yield text[:at]
        text = text[at:]
    yield text


def check_decoding(encoding: str, errors: str) -> None:
    """encoding (str): The name of an encoding.
    errors (str): What to do about what is not in it.
    RAISES (ValueError): One of them is none."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(
            f"encoding is {encoding!r}, which is not known; expected one such as 'utf8', "
            f"'latin-1' or 'cp1252'."
        ) from None
    if errors not in ERRORS:
        raise ValueError(f"errors is {errors!r}; expected one of {', '.join(ERRORS)}.")


def clean(text: str) -> str:
    """text (str): Any text.
    RETURNS (str): The same on one line: whitespace of any kind and number is one blank, none at
        the ends; without U+0000 and U+FEFF, and with U+FFFD for lone surrogates."""
    return " ".join(_clean(text).replace("\ufeff", "").split())


def _clean(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else SURROGATES.sub("\ufffd", text)


def _decode(path: Path, encoding: str, errors: str) -> Iterator[str]:
    """Decoded blocks, with "\\n" at the end of all lines."""
    # "utf-8-sig" differs in nothing but the BOM.
    name = codecs.lookup(encoding).name
    decoder = codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)(errors)
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    n_bytes, n_lines = 0, 0
    for block in read_blocks(path):
        if n_bytes == 0:
            _check_start(path, block, name)
        try:
            text = newlines.decode(block)
        except UnicodeDecodeError as error:
            raise _undecodable(path, error, name, n_bytes + len(block), n_lines) from None
        n_bytes += len(block)
        n_lines += text.count("\n")
        yield text
    try:
        yield newlines.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(path, error, name, n_bytes, n_lines) from None


def _check_start(path: Path, block: bytes, encoding: str) -> None:
    """Recognise by its first block what is no text in this encoding, though it may decode."""
    if encoding.startswith(("utf-16", "utf-32")):
        return
    if block.startswith(tuple(BOMS)):
        raise ValueError(
            f"{path}, line 1: found the mark of UTF-16 at byte 0; expected {encoding}. Give the "
            f"encoding (utf-16), or convert the file (iconv -f utf-16 -t utf-8)."
        )
    start = block[:8192]
    n_controls = len(start) - len(start.translate(None, CONTROLS))
    if n_controls > len(start) // 100:
        at = next(index for index, byte in enumerate(start) if byte in CONTROLS)
        raise ValueError(
            f"{path}, line {start.count(10, 0, at) + 1}: found byte {start[at]:#04x} at byte {at}, "
            f"and {n_controls} like it among the first {len(start):,}: the file is binary. "
            f"Expected text; leave it out of the inputs, or convert it."
        )


def _undecodable(
    path: Path, error: UnicodeDecodeError, encoding: str, end: int, n_lines: int
) -> ValueError:
    # The decoder puts what is left of the last block before the new one.
    content: Union[bytes, bytearray] = error.object
    at = end - len(content) + error.start
    line = n_lines + 1 + content.count(b"\n", 0, error.start)
    return ValueError(
        f"{path}, line {line}: found byte {content[error.start]:#04x} at byte {at}, which is not "
        f"{encoding} ({error.reason}). Expected {encoding}: give the reader the encoding of the file "
        f"(--reader TextFiles:encoding=latin-1), convert it (iconv -t utf-8), or set errors to 'replace' to "
        f"read on without such bytes."
    )
