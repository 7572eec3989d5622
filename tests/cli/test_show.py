"""Tables and characters for a terminal."""

import pytest

from spacy_bert.cli.show import columns, table, visible


@pytest.mark.parametrize(
    "text, expected",
    [
        ("café 日本 👩", "café 日本 👩"),
        ("a\x00\x1b\n\t", r"a\x00\x1b\n\t"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("\u200b\u202e\u00a0\ue000", r"\u200b\u202e\xa0\ue000"),
        ("\U000e0001", r"\U000e0001"),
        ("\ufe0f", r"\ufe0f"),
        ("e\u0301\u0301", "e\u0301\u0301"),
    ],
)
def test_visible(text, expected):
    """Catches characters that a terminal obeys, hides or cannot encode."""
    assert visible(text) == expected
    visible(text).encode("utf8")


def test_columns_line_up():
    """Catches columns that are counted in characters: ideographs take two places, accents none."""
    assert [columns(text) for text in ("日本", "e\u0301", "☀\ufe0f", "ab")] == [4, 1, 1, 2]
    lines = table([("日本", 1), ("e\u0301x", 2)], ("a", "b")).split("\n")
    assert lines == ["a     b", "----  -", "日本  1", "e\u0301x    2"]


def test_table_without_rows_or_header():
    """Catches a table that needs either."""
    assert table([], ("a", "b")) == "a  b\n-  -"
    assert table([("a", "b\n")]) == r"a  b\n"
    assert table([]) == ""
