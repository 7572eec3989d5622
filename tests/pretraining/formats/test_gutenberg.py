"""Books of Project Gutenberg."""

import pytest

from spacy_bert.pretraining.formats.gutenberg import Gutenberg, is_gutenberg, is_heading

BOOK = """\ufeffThe Project Gutenberg EBook of A Tale, by Nobody

This eBook is for the use of anyone anywhere.

*** START OF THIS PROJECT GUTENBERG EBOOK A TALE; OR, THE
LONG TITLE ***

Produced by Somebody and the Proofreaders


A TALE

By Nobody


CONTENTS

CHAPTER 1. A Beginning.

CHAPTER 2. Ahab's Boat and Crew.
An End.

   I. The First Part
  II. The Second Part


CHAPTER 1. A Beginning.

It was a _very_ dark night, and
the rain fell_hard_ly at all.

"NO!"

[Illustration: A dark
night]

I was cold. I. e., not warm.

* * * * *

II.

She said:

The End

End of the Project Gutenberg EBook of A Tale

*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***

*** START: FULL LICENSE ***

You may copy it.
"""
PROSE = [
    "It was a very dark night, and the rain fell_hard_ly at all.",
    '"NO!"',
    "I was cold. I. e., not warm.",
    "She said:",
]


@pytest.fixture
def write(tmp_path):
    def write(text, name="book.txt"):
        path = tmp_path / name
        path.write_bytes(text.replace("\n", "\r\n").encode("utf8"))
        return path

    return write


def test_book(write):
    """Catches boilerplate, a heading, a credit or a picture among the prose; prose that is lost;
    hard wraps that stay."""
    path = write(BOOK)
    assert [d.paragraphs for d in Gutenberg()(path)] == [PROSE]
    assert is_gutenberg(path)


def test_several_books(write):
    """Catches books after the first that are lost, a licence between them that is read, and a
    second one that is cut off and read as if it were whole."""
    second = BOOK.replace("I was cold", "You were cold").lstrip("\ufeff")
    books = [d.paragraphs for d in Gutenberg()(write(BOOK + second))]
    assert books == [PROSE, [text.replace("I was cold", "You were cold") for text in PROSE]]
    twice = BOOK.replace(
        "Produced by", "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\nProduced by"
    )
    assert [d.paragraphs for d in Gutenberg()(write(twice))] == [PROSE]
    cut = BOOK + second[: second.index("*** END OF")]
    with pytest.raises(ValueError, match=r"book 2: there is no line '\*\*\* END OF"):
        list(Gutenberg()(write(cut)))
    with pytest.raises(ValueError, match=r"no line '\*\*\* END OF"):
        list(Gutenberg()(write(BOOK[: BOOK.index("*** END OF")] + second)))


@pytest.mark.parametrize("mark", ["START", "END"])
def test_missing_mark(write, mark):
    """Catches a book that is cut off, or no such book, and is read as if it were whole."""
    text = BOOK.replace(f"*** {mark} OF", "")
    with pytest.raises(
        ValueError, match=rf"book\.txt: there is no line '\*\*\* {mark} OF THE PROJECT"
    ):
        list(Gutenberg()(write(text)))


@pytest.mark.parametrize(
    "text",
    [
        "CHAPTER XII", "Chapter 3: In Which", "Book the Second", "Volume II.", "XIV", "IV. Dawn",
        "PREFACE.", "The End.", "by", "By Jane Austen", "by Miguel de Cervantes",
        "By H. G. Wells", "* * * * *", "Epilogue",
        "A SCANDAL IN BOHEMIA", "ADVENTURE I. A SCANDAL",
    ],
)  # fmt: skip
def test_headings(text):
    """Catches a heading that becomes a sentence."""
    assert is_heading([text], 1)


@pytest.mark.parametrize(
    "text",
    [
        "Part of the way was dark.", "I saw him.", "By the river stood a house; it was old.",
        "By the end of the week all was settled.", "By degrees he grew calm.", "By Friday.",
        "by and by she went home", "By what right",
        '"STOP!"', "STOP!", "Book clubs are fun.", "It rained", "I. A fish belongs to the party.",
        "Letter after letter came.", "MY DEAR, you are late.",
    ],
)  # fmt: skip
def test_prose(text):
    """Catches prose that is left out as a heading."""
    assert not is_heading([text], 1)


def test_set_apart():
    """Catches titles of stories, which nothing but blank lines and a missing full stop tell."""
    assert is_heading(["The Speckled Band"], 3)
    assert not is_heading(["The Speckled Band"], 1)
    assert not is_heading(["“What?”"], 3)
    assert not is_heading(["He went home.", "It rained."], 3)


def test_other_texts(write, tmp_path):
    """Catches a text that only speaks of Project Gutenberg and is taken for one of its books."""
    assert not is_gutenberg(write("I like *** and Project Gutenberg.\n"))
    broken = tmp_path / "a.txt.gz"
    broken.write_bytes(b"no gzip")
    assert not is_gutenberg(broken)
