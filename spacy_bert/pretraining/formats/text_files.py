"""Plain text: where a paragraph ends, and where a document does, is for the user to say."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from ..documents import MAX_DOCUMENT, MAX_PARAGRAPH, RawDocument
from .lines import Line, check_decoding, clean, read_lines

PARAGRAPHS = ("blank", "line")


@dataclass(frozen=True)
class TextFiles:
    """Reads plain text: a file is a document, unless one of the first two settings is given.

    blank_lines (Optional[int]): So many blank lines in a row, or more, end a document.
    heading (Optional[str]): Regular expression of a line that begins a document; it is no part of
        it. Headings stand between blank lines, as in WikiText: heading = "= [^=].* =".
    heading_alone (bool): Whether a heading has to stand between blank lines.
    paragraphs (str): "blank": paragraphs end at blank lines, and their lines are joined, as in a
        text with hard wraps. "line": every line is a paragraph.
    skip (Optional[str]): Regular expression of lines to leave out, such as headings of sections.
        Both expressions have to match the whole line, without blanks at its ends.
    encoding (str): The encoding of the files.
    errors (str): What is not in that encoding: "strict" for an error that names file, line and
        byte, "replace" for U+FFFD in its place, which the tokenizer drops.
    RAISES (ValueError): A setting cannot be.
    """

    blank_lines: Optional[int] = None
    heading: Optional[str] = None
    heading_alone: bool = True
    paragraphs: str = "blank"
    skip: Optional[str] = None
    encoding: str = "utf8"
    errors: str = "strict"

    def __post_init__(self) -> None:
        if self.blank_lines is not None and self.blank_lines < 1:
            raise ValueError(f"blank_lines is {self.blank_lines}; expected 1 or more.")
        if self.paragraphs not in PARAGRAPHS:
            raise ValueError(
                f"paragraphs is {self.paragraphs!r}; expected one of {', '.join(PARAGRAPHS)}."
            )
        for key in ("heading", "skip"):
            try:
                re.compile(getattr(self, key) or "")
            except re.error as error:
                raise ValueError(
                    f"{key} is {getattr(self, key)!r}, which is no regular expression: {error}."
                ) from None
        check_decoding(self.encoding, self.errors)

    def __call__(self, path: Path) -> Iterator[RawDocument]:
        """path (Path): A file.
        YIELDS (RawDocument): Its documents; none if it has no text.
        RAISES (ValueError): The file is binary, not in the encoding, cut off or damaged."""
        heading = re.compile(self.heading) if self.heading else None
        skip = re.compile(self.skip) if self.skip else None
        document = Assembly(path)
        n_blank = 1  # blank lines before this one; the start of the file counts as one
        for line, blank_follows in _with_next(self._lines(path)):
            if not line.text:
                n_blank += 1
                document.end_paragraph()
                if n_blank == self.blank_lines:
                    yield from document.end()
                continue
            alone = n_blank > 0 and blank_follows
            if heading and (alone or not self.heading_alone) and heading.fullmatch(line.text):
                yield from document.end()
            elif skip and skip.fullmatch(line.text):
                document.end_paragraph()
            else:
                document.add(line)
                if self.paragraphs == "line":
                    document.end_paragraph()
                if document.is_full:
                    yield from document.end()
            n_blank = 0
        yield from document.end()

    def _lines(self, path: Path) -> Iterator[Line]:
        for number, text in read_lines(path, encoding=self.encoding, errors=self.errors):
            yield Line(number, clean(text))


class Assembly:
    """Lines -> paragraphs -> a document.

    path (Path): The file that the lines are of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = 0  # number of the first line
        self.lines: List[str] = []
        self.paragraphs: List[str] = []
        self.n_chars = 0  # of the paragraph
        self.n_document = 0  # of the paragraphs before

    @property
    def is_full(self) -> bool:
        """RETURNS (bool): Whether the document is as long as one may be."""
        return self.n_document + self.n_chars > MAX_DOCUMENT

    def add(self, line: Line) -> None:
        """line (Line): The next line of the paragraph, which is not blank."""
        self.first = self.first or line.number
        self.lines.append(line.text)
        self.n_chars += len(line.text) + 1
        if self.n_chars > MAX_PARAGRAPH:
            self.end_paragraph()

    def end_paragraph(self) -> None:
        """Join its lines, if there are any."""
        if self.lines:
            self.paragraphs.append(" ".join(self.lines))
            self.n_document += self.n_chars
            self.lines, self.n_chars = [], 0

    def end(self) -> Iterator[RawDocument]:
        """YIELDS (RawDocument): The document, if there is anything in it. The next one begins."""
        self.end_paragraph()
        if self.paragraphs:
            yield RawDocument(f"{self.path}:{self.first}", self.paragraphs)
        self.first, self.paragraphs, self.n_document = 0, [], 0


def _with_next(lines: Iterator[Line]) -> Iterator[Tuple[Line, bool]]:
    """Each line, and whether the next one is blank or there is none."""
    line = next(lines, None)
    while line is not None:
        following = next(lines, None)
        yield line, following is None or not following.text
        line = following
