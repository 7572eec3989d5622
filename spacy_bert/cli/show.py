"""Text for a terminal: tables, and characters that could not be seen otherwise."""

import unicodedata
from typing import List, Sequence


def visible(text: str) -> str:
    """text (str): Any text, lone surrogates included.
    RETURNS (str): The same, with an escape such as \\x00 or \\u200b for all that has no shape."""
    shown = [char if char.isprintable() else _escape(char) for char in text]
    if text and unicodedata.category(text[0]).startswith("M"):  # a mark with nothing below it
        shown[0] = _escape(text[0])
    return "".join(shown)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def table(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Lay out a table. The last column is not padded, so it may hold long text.

    rows (Sequence[Sequence[object]]): The cells of each row.
    header (Sequence[str]): Names of the columns, if they need some.
    RETURNS (str): Its lines.
    """
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    if header:
        cells.insert(0, list(header))
    widths = [max(map(columns, column)) for column in zip(*cells)]
    if header:
        cells.insert(1, ["-" * width for width in widths])
    return "\n".join(_line(row, widths) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded: List[str] = [
        cell + " " * (width - columns(cell)) for cell, width in zip(row[:-1], widths)
    ]
    return "  ".join([*padded, row[-1]]).rstrip()


def columns(text: str) -> int:
    """text (str): Visible text.
    RETURNS (int): How many columns of a terminal it takes: two for an ideograph, none for an accent."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me")
        else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
