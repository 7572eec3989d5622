"""Rows of a file with columns: TSV, CSV or JSON lines, compressed with gzip or not."""

import csv
import gzip
import io
import json
import re
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

Column = Union[int, str]

# Ending of a file's name -> its format.
ENDINGS = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
DELIMITERS = {"tsv": "\t", "csv": ","}
QUOTING = ("none", "csv")
SURROGATES = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row of a file.

    line (int): The line of the file that it begins on, counted from 1.
    values (Dict[Column, Any]): The columns that were asked for; strings, or what JSON has.
    """

    line: int
    values: Dict[Column, Any]


class Table:
    """A file with columns.

    path (Union[str, Path]): The file. Read as UTF-8, with or without a byte order mark, with the line
        ends of any system.
    format (Optional[str]): "tsv", "csv" or "jsonl"; by the ending of its name if not given.
    header (bool): Whether the first row names the columns. Without, they are numbered from 0.
    quoting (Optional[str]): "none" if a quotation mark is a character like any other, as in GLUE's
        files, or "csv" if it encloses values, in which it is doubled. If not given: "csv" for CSV,
        "none" for TSV.
    bad_rows (str): What to do with a row that has more or fewer values than there are columns:
        "error", or "skip" it, with a warning.
    RAISES: ValueError for a setting that is none of these.
    """

    def __init__(
        self,
        path: Union[str, Path],
        *,
        format: Optional[str] = None,
        header: bool = True,
        quoting: Optional[str] = None,
        bad_rows: str = "error",
    ) -> None:
        self.path = Path(path)
        self.format = format or self._guess_format()
        _check("format", self.format, [*DELIMITERS, "jsonl"])
        self.header = header
        self.quoting = quoting or ("csv" if self.format == "csv" else "none")
        _check("quoting", self.quoting, QUOTING)
        self.bad_rows = bad_rows
        _check("bad_rows", bad_rows, ("error", "skip"))

    def rows(self, columns: Sequence[Column]) -> List[Row]:
        """Read the file.

        columns (Sequence[Column]): Names of columns, or their numbers, counted from 0.
        RETURNS (List[Row]): All rows that are not blank.
        RAISES: OSError if there is no such file; ValueError, with file and row, if it has no such
            columns or a row is broken.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no file {self.path}. Name a TSV, CSV or JSONL file.")
        text = self._text()
        if self.format == "jsonl":
            rows = list(self._objects(text, columns))
        else:
            rows = self._from_lists(list(self._lists(text)), columns)
        if not rows:
            raise ValueError(f"{self.path} holds no rows. Name a file that does.")
        return rows

    def error(self, line: int, message: str) -> ValueError:
        """line (int): Where a row begins.
        message (str): What is wrong with it, and what to do.
        RETURNS (ValueError): The error to raise."""
        return ValueError(f"{self.path}, line {line}: {message}")

    def _guess_format(self) -> str:
        endings = [ending.lower() for ending in self.path.suffixes]
        ending = next((e for e in reversed(endings) if e != ".gz"), "")
        if ending not in ENDINGS:
            raise ValueError(
                f"The ending of {self.path} tells no format; known are {', '.join(ENDINGS)}, each "
                f"also with .gz. Rename the file, or set format (--format) to tsv, csv or jsonl."
            )
        return ENDINGS[ending]

    def _text(self) -> str:
        data = self.path.read_bytes()
        if self.path.suffix.lower() == ".gz":
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError, zlib.error) as error:
                raise ValueError(
                    f"{self.path} is no whole gzip file: {error}. Fetch it again."
                ) from None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise self.error(
                line, f"not UTF-8 ({error.reason}: byte {data[error.start]:#x}). Convert the file."
            ) from None

    def _objects(self, text: str, columns: Sequence[Column]) -> Iterator[Row]:
        for number, line in enumerate(_lines(text), start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise self.error(
                    number, f"not valid JSON: {error}. Expected one object a line."
                ) from None
            if not isinstance(found, dict):
                raise self.error(number, f"{line[:60]!r} is no JSON object. Expected one a line.")
            missing = [column for column in columns if column not in found]
            if missing:
                raise self.error(
                    number,
                    f"there is no key {missing[0]!r}, but {', '.join(map(repr, found)) or 'none'}. "
                    f"Name the keys that the file has.",
                )
            yield Row(number, {column: _readable(found[column]) for column in columns})

    def _lists(self, text: str) -> Iterator[Tuple[int, List[str]]]:
        delimiter = DELIMITERS[self.format]
        if self.quoting == "none":
            for number, line in enumerate(_lines(text), start=1):
                if line.strip():
                    yield number, line.split(delimiter)
            return
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        limit = csv.field_size_limit(sys.maxsize)
        start = 1
        try:
            for values in reader:
                if values and any(map(str.strip, values)):
                    yield start, values
                start = reader.line_num + 1
        except csv.Error as error:
            raise self.error(
                start,
                f'the quotation marks do not match ({error}). If they enclose nothing, set quoting = "none" (--quoting none).',
            ) from None
        finally:
            csv.field_size_limit(limit)

    def _from_lists(
        self, lists: List[Tuple[int, List[str]]], columns: Sequence[Column]
    ) -> List[Row]:
        if not lists:
            return []
        first = lists[0][1]
        places = {column: self._place(column, first) for column in columns}
        rows, bad = [], []
        for line, values in lists[1:] if self.header else lists:
            if len(values) == len(first):
                rows.append(Row(line, {c: _readable(values[i]) for c, i in places.items()}))
                continue
            bad.append(line)
            if self.bad_rows == "error":
                by = "the header names" if self.header else "the first row has"
                raise self.error(
                    line,
                    f"{len(values)} values, but {by} {len(first)}. The row begins with "
                    f"{values[0][:40]!r}. Repair it; or set quoting (--quoting), which is {self.quoting!r}, to "
                    f'the file\'s own way; or set bad_rows = "skip" (--bad-rows skip).',
                )
        if bad:
            warnings.warn(
                f"{self.path}: {len(bad)} of {len(lists)} rows have another number of values than "
                f"the {len(first)} columns, and are left out. The first is line {bad[0]}.",
                stacklevel=4,
            )
        return rows

    def _place(self, column: Column, first: List[str]) -> int:
        if isinstance(column, int):
            if 0 <= column < len(first):
                return column
            raise ValueError(
                f"Column {column} was asked for, but {self.path} has {len(first)} columns, of which "
                f"the first is column 0."
            )
        if not self.header:
            raise ValueError(
                f"Column {column!r} was asked for, but {self.path} is read without header. Give the "
                f"number of the column, from 0, or set header = true."
            )
        names = [name.strip() for name in first]
        if column not in names and column.isdecimal():
            return self._place(int(column), first)
        if names.count(column) != 1:
            found = ", ".join(map(repr, names))
            n_times = "twice or more" if column in names else "not"
            hint = ""
            if len(names) == 1 and (other := next((c for c in ";\t,|" if c in names[0]), None)):
                hint = f" It seems to be divided by {other!r}, where {DELIMITERS[self.format]!r} is read: save it so."
            raise ValueError(
                f"Column {column!r} is {n_times} in the header of {self.path}, which is {found}.{hint} Name "
                f"a column of it, or its number from 0; without a header, set header = false (--no-header)."
            )
        return names.index(column)


def _lines(text: str) -> List[str]:
    """The lines of a text, of any system."""
    # Not splitlines: it also splits at characters that may be part of a sentence, as may a lone "\r".
    return [line.removesuffix("\r") for line in text.split("\n" if "\n" in text else "\r")]


def _readable(value: Any) -> Any:
    """Lone surrogates, which JSON can spell, cannot stand in a spaCy text."""
    return SURROGATES.sub("\ufffd", value) if isinstance(value, str) else value


def _check(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, but it has to be one of {', '.join(known)}.")
