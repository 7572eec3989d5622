"""Books of Project Gutenberg: the text between the marks, its hard wraps joined, no headings."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from ..documents import RawDocument
from .lines import Line, check_decoding, clean, read_blocks, read_lines
from .text_files import Assembly

START = re.compile(r"\*\*\* ?START OF (THE|THIS) PROJECT GUTENBERG", re.IGNORECASE)
END = re.compile(r"\*\*\* ?END OF (THE|THIS) PROJECT GUTENBERG", re.IGNORECASE)
# So far at most is the mark from the start of the file, in bytes.
HEADER = 1 << 16
LAST_WORDS = re.compile(r"End of (the |this )?Project Gutenberg", re.IGNORECASE)

# Of volunteers, before the book begins.
CREDITS = re.compile(
    r"(Produced|Prepared|Transcribed|Scanned|Edited|E-?text prepared|Updated editions?) by\b"
    r"|(This|The) e-?(text|book) (was|is)\b|(Original )?Transcriber.s notes?\b"
    r"|This text is a combination of e-?texts",
    re.IGNORECASE,
)
N_FRONT = 300  # paragraphs: some books list the chapters one by one before the credits end

NUMBER = r"([IVXLCDM]+|[ivxlcdm]+|\d+|the \w+|one|two|three|four|five|six|seven|eight|nine|ten)"
PLACES = "chapter chap book volume vol part letter act scene canto section stave adventure"
NAMES = (
    "contents|preface|foreword|introduction|prologue|epilogue|conclusion|dedication|appendix|"
    "index|notes|footnotes|illustrations|list of illustrations|table of contents|finis|the end|"
    "etymology|extracts|postscript|by"
)
HEADINGS = (
    # "Chapter 1", "BOOK THE SECOND", "CHAPTER 50. Ahab's Boat and Crew. Fedallah."
    re.compile(rf"({PLACES.replace(' ', '|')})\.? {NUMBER}([.:—–-].*|\]?)", re.IGNORECASE),
    re.compile(rf"({NAMES})\W*", re.IGNORECASE),
    re.compile(r"[IVXLCDM]+(\.?|\. .*[^.])"),  # "XII", "II. The Red-headed League"
    # "By Herman Melville", "by Miguel de Cervantes"; not "By degrees it grew dark."
    re.compile(r"[Bb]y [A-Z][\w.'’-]*( ([A-Z][\w.'’-]*|and|of|the|de|du|la|van|von|der))*(?<!\.)"),
    re.compile(r"[^a-z]*\(Supplied by .*\)\.?"),
    re.compile(r"[\W\d_]*"),  # "* * * * *"
)
HEADING_CHARS = 120
QUOTES = tuple("\"'“‘«„")
ENDINGS = tuple(".!?:;,—–-\"'”’»)]")
ILLUSTRATION = re.compile(r"\[(Illustration|Frontispiece)[^\]]*\]", re.IGNORECASE)
ITALICS = re.compile(r"(?<!\w)_([^_]+)_(?!\w)")


@dataclass(frozen=True)
class Gutenberg:
    """Reads plain-text books of Project Gutenberg, one or several in a file, each a document. Headers
    and licences are left out, and so are credits, headings, tables of contents, illustrations and the
    marks of italics.

    encoding (str): The encoding of the files.
    errors (str): What is not in that encoding: "strict" for an error that names file, line and
        byte, "replace" for U+FFFD in its place, which the tokenizer drops.
    RAISES (ValueError): A setting cannot be.
    """

    encoding: str = "utf8"
    errors: str = "strict"

    def __post_init__(self) -> None:
        check_decoding(self.encoding, self.errors)

    def __call__(self, path: Path) -> Iterator[RawDocument]:
        """path (Path): A file.
        YIELDS (RawDocument): The books; a book that is longer than a document may be is several.
        RAISES (ValueError): The marks are missing; or the file is binary, not in the encoding, cut
            off or damaged."""
        document = Assembly(path)
        paragraph: List[Line] = []
        n_blank, n_before, n_paragraphs = 0, 0, 0
        for line in self._books(path):
            if line is None:
                yield from document.end()
                n_blank, n_paragraphs = 0, 0
            elif line.text:
                if not paragraph:
                    n_before = n_blank
                paragraph.append(line)
                n_blank = 0
            else:
                n_blank += 1
                if paragraph:
                    n_paragraphs += 1
                    _add(document, paragraph, n_before, front=n_paragraphs <= N_FRONT)
                    paragraph = []
                    if document.is_full:
                        yield from document.end()

    def _books(self, path: Path) -> Iterator[Optional[Line]]:
        """The lines between the marks, without whitespace at their ends; after each book a blank
        one, and None."""
        inside = mark = False  # in a book; in a mark that takes several lines
        number = n_books = n_lines = 0
        for number, text in read_lines(path, encoding=self.encoding, errors=self.errors):
            line = clean(text)
            if START.search(line) and not n_lines:  # some have the mark twice
                inside, mark = True, not line.endswith("***")
            elif inside and START.search(line):
                break  # the next book, though this one has not ended
            elif inside and END.search(line):
                yield Line(number, "")
                yield None
                inside, n_lines = False, 0
                n_books += 1
            elif mark:
                mark = bool(line) and "***" not in line
            elif inside:
                n_lines += bool(line)
                yield Line(number, line)
        if n_books and not inside:
            return
        missing = "END" if inside else "START"
        place = f"{path}, book {n_books + 1}" if n_books else str(path)
        raise ValueError(
            f"{place}: there is no line '*** {missing} OF THE PROJECT GUTENBERG EBOOK ...' up to line "
            f"{number}; expected plain-text books of Project Gutenberg. Fetch it again if it is cut off, or "
            f"read it as plain text (spacy-bert.TextFiles.v1)."
        )


def is_gutenberg(path: Path) -> bool:
    """path (Path): A file.
    RETURNS (bool): Whether it begins as a plain-text book of Project Gutenberg does."""
    start = b""
    try:
        for block in read_blocks(path):
            start += block
            if len(start) >= HEADER:
                break
    except ValueError:  # cut off or damaged: for the one who reads it to say
        pass
    return START.search(start[:HEADER].decode("latin-1")) is not None


def is_heading(lines: List[str], n_before: int) -> bool:
    """Whether a paragraph is no prose but a heading, or a list of them.

    lines (List[str]): Its lines.
    n_before (int): Blank lines before it.
    RETURNS (bool): Whether it looks so.
    """
    text = " ".join(lines)
    if len(text) <= HEADING_CHARS and _is_title(text):
        return True
    if len(lines) > 1:
        return all(len(line) <= HEADING_CHARS and _is_title(line) for line in lines)
    # Set apart, on one line, and no sentence.
    return n_before > 1 and len(text) <= HEADING_CHARS // 2 and not text.endswith(ENDINGS)


def _is_title(text: str) -> bool:
    if text == text.upper() and text != text.lower() and not text.startswith(QUOTES):
        return not text.endswith(("!", "?"))
    return any(heading.fullmatch(text) for heading in HEADINGS)


def _add(document: Assembly, paragraph: List[Line], n_before: int, *, front: bool) -> None:
    """Add what of a paragraph is prose."""
    joined = " ".join(line.text for line in paragraph)
    text = clean(ITALICS.sub(r"\1", ILLUSTRATION.sub(" ", joined)))
    lines = [line.text for line in paragraph]
    if (
        text
        and not is_heading(lines if text == joined else [text], n_before)
        and not LAST_WORDS.match(text)
        and not (front and CREDITS.match(text))
    ):
        document.add(Line(paragraph[0].number, text))
        document.end_paragraph()
