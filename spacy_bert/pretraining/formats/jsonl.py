"""JSON lines: one document a line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List

from ..documents import MAX_DOCUMENT, RawDocument
from .lines import check_decoding, clean, cut, read_lines
from .text_files import PARAGRAPHS


@dataclass(frozen=True)
class JsonlDocuments:
    """Reads JSON lines, such as {"text": "...", "author": "..."}.

    text (str): Key of the text: a string; or a list of paragraphs, or of lists of sentences. To
        keep sentences as they are, choose the splitter `spacy-bert.Paragraphs.v1`.
    paragraphs (str): In a string, "blank": paragraphs end at blank lines, and their lines are
        joined; or "line": every line is a paragraph.
    encoding (str): The encoding of the files.
    errors (str): What is not in that encoding: "strict" for an error that names file, line and
        byte, "replace" for U+FFFD in its place, which the tokenizer drops.
    RAISES (ValueError): A setting cannot be.
    """

    text: str = "text"
    paragraphs: str = "blank"
    encoding: str = "utf8"
    errors: str = "strict"

    def __post_init__(self) -> None:
        if self.paragraphs not in PARAGRAPHS:
            raise ValueError(
                f"paragraphs is {self.paragraphs!r}; expected one of {', '.join(PARAGRAPHS)}."
            )
        check_decoding(self.encoding, self.errors)

    def __call__(self, path: Path) -> Iterator[RawDocument]:
        """path (Path): A file.
        YIELDS (RawDocument): Its documents; none for blank lines, null and empty texts.
        RAISES (ValueError): A line is no JSON object with such a text; or the file is binary, not
            in the encoding, cut off or damaged."""
        lines = read_lines(path, encoding=self.encoding, errors=self.errors, whole=True)
        for number, line in lines:
            if line.strip():
                source = f"{path}:{number}"
                paragraphs = list(self._paragraphs(_value(line, self.text, source), source))
                for part in _portions(paragraphs):
                    yield RawDocument(source, part)

    def _paragraphs(self, value: Any, source: str) -> Iterator[str]:
        if isinstance(value, str):
            for text in split_text(value, self.paragraphs):
                yield from filter(None, map(str.strip, cut(clean(text))))
        elif isinstance(value, list):
            for item in value:
                yield from self._paragraphs(item, source)
        elif value is not None:
            raise ValueError(
                f"{source}: {self.text!r} holds a {type(value).__name__}; expected a string, or a "
                f"list of strings. Name the key of the text (text)."
            )


def split_text(text: str, paragraphs: str) -> List[str]:
    """text (str): A text with line breaks.
    paragraphs (str): "blank" or "line", as in `JsonlDocuments`.
    RETURNS (List[str]): Its paragraphs, which may be empty or have line breaks."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if paragraphs == "line":
        return lines
    # A line of nothing but whitespace is blank.
    return "\n".join(line if line.strip() else "" for line in lines).split("\n\n")


def _portions(paragraphs: List[str]) -> Iterator[List[str]]:
    """No document is longer than `MAX_DOCUMENT`."""
    portion: List[str] = []
    n_chars = 0
    for paragraph in paragraphs:
        portion.append(paragraph)
        n_chars += len(paragraph) + 1
        if n_chars > MAX_DOCUMENT:
            yield portion
            portion, n_chars = [], 0
    if portion:
        yield portion


def _value(line: str, key: str, source: str) -> Any:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{source} is not valid JSON: {error}. Expected one JSON object a line, with the text "
            f"under {key!r}."
        ) from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{source} holds a JSON {type(found).__name__}; expected an object, with the text "
            f"under {key!r}."
        )
    if key not in found:
        keys = ", ".join(map(repr, found)) or "none"
        raise ValueError(
            f"{source} has no key {key!r}; found {keys[:200]}. Name the key of the text (text)."
        )
    return found[key]
