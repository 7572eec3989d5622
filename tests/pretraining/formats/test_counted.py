"""Counting what is read of a file."""

import bz2
import gzip
import lzma

import pytest

from spacy_bert.pretraining.formats.counted import counting, open_counted
from spacy_bert.pretraining.formats.lines import read_lines


@pytest.mark.parametrize(
    "ending, write", [("", open), (".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open)]
)
def test_counts_bytes_on_the_disk(tmp_path, ending, write):
    """Catches bytes of what was decompressed, of which nobody knows how many there will be, and
    text that is another one where it is counted."""
    path = tmp_path / f"text.txt{ending}"
    lines = [f"{i * 7919 % 100_003} line" for i in range(60_000)]
    with write(path, "wb") as file:
        file.write("\n".join(lines).encode())
    counts = []
    with counting(counts.append):
        found = [line.text for line in read_lines(path)]
    assert found == lines
    assert sum(counts) == path.stat().st_size and len(counts) > 2
    # Nobody is told of what is read later.
    n_counts = len(counts)
    assert [line.text for line in read_lines(path)] == lines and len(counts) == n_counts


def test_the_file_is_closed(tmp_path):
    """Catches a file that stays open for each one that was read."""
    (tmp_path / "a").write_bytes(b"text")
    with counting(lambda n_bytes: None), open_counted(tmp_path / "a") as file:
        raw = file.raw._file
        assert file.read(2) == b"te" and file.seek(0) == 0 and file.read() == b"text"
    assert raw.closed
