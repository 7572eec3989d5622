"""`debug-pieces`: what it shows is what the encoder would read."""

import os

import pytest
from typer.testing import CliRunner

from spacy_bert import from_checkpoint, load_checkpoint
from spacy_bert.cli.app import app


def section(output, heading):
    """The rows of a section of the output, as lists of words."""
    lines = output.split(f"\n{heading}\n", 1)[1].split("\n\n")[0].splitlines()
    return [line.split() for line in lines if not line.startswith("-")]


def test_shows_tokens_pieces_ids_and_characters(run, tiny_checkpoint):
    """Catches ids, characters or an alignment that are not the tokenizer's: "n't" and "do" share
    a piece, as BERT reads `don ' t`."""
    result = run("debug-pieces", tiny_checkpoint, "Don't work")
    tokenizer = load_checkpoint(tiny_checkpoint).tokenizer
    ids = tokenizer.encode("Don't work").ids.tolist()
    pieces = section(result.stdout, "Pieces")[1:]
    assert [row[1] for row in pieces] == [tokenizer.pieces[i] for i in ids]
    assert [int(row[2]) for row in pieces] == ids
    assert pieces[0] == ["0", "d", str(ids[0]), "0", "D", "0"]
    assert section(result.stdout, "Tokens")[1:] == [
        ["0", "Do", "0-1", "0-1", "d", "##o"],
        ["1", "n't", "2-4", "2-4", "##n", "'", "t"],
        ["2", "work", "6-9", "5-8", "w", "##o", "##r", "##k"],
    ]


def test_windows_are_those_of_the_options(run, tiny_checkpoint):
    """Catches options that are not used, and a window that is shown other than it is read."""
    result = run(
        "debug-pieces", tiny_checkpoint, "a b c d e f g h i", "--window", "8", "--stride", "4"
    )
    windows = section(result.stdout, "Windows")[1:]
    assert windows[0] == ["0", "8", "-", "0-5", "0-4", *"[CLS] a b c d e f [SEP]".split()]
    assert windows[1] == ["1", "7", "-", "4-8", "5-8", *"[CLS] e f g h i [SEP]".split()]
    assert "2, of up to 8 pieces, stride 4" in result.stdout


def test_windows_are_otherwise_those_of_init_config(run, tiny_checkpoint):
    """Catches windows longer than the encoder has positions: it has 64."""
    result = run("debug-pieces", tiny_checkpoint, "a " * 100)
    assert "2, of up to 64 pieces, stride 56" in result.stdout


@pytest.mark.parametrize("window", [8, 9, 16, 64])
def test_any_window_has_a_stride(run, tiny_checkpoint, window):
    """Catches a stride of our own choice that our own check refuses."""
    result = run("debug-pieces", tiny_checkpoint, "a b c", "--window", window)
    assert result.exit_code == 0, result.output


def test_pair(run, tiny_checkpoint):
    """Catches a pair that is shown as one text."""
    result = run("debug-pieces", tiny_checkpoint, "a b", "--pair", "c d")
    [window] = section(result.stdout, "Windows")[1:]
    assert window[2:] == ["0-1", "read", "2-3", "2-3", *"[CLS] a b [SEP] c d [SEP]".split()]


def test_pipeline_reads_as_it_was_saved(run, tiny_checkpoint, tmp_path):
    """Catches a pipeline that is read with default windows, or without its `segments`."""
    nlp = from_checkpoint(tiny_checkpoint, config={"model": {"window": 16, "stride": 8}})
    nlp.add_pipe("segments", first=True, config={"separator": "\t"})
    nlp.to_disk(tmp_path / "pipeline")
    result = run("debug-pieces", tmp_path / "pipeline", "a \t b")
    assert "1, of up to 16 pieces, stride 8" in result.stdout
    assert "[CLS] a [SEP] b [SEP]" in result.stdout
    pair = run("debug-pieces", tmp_path / "pipeline", "a", "--pair", "b")
    assert "[CLS] a [SEP] b [SEP]" in pair.stdout


def test_masks_are_shown_as_they_are_read(run, make_checkpoint, tmp_path):
    """Catches a mask that is shown as plain text where a `fill_mask` reads it, or the other way
    round: to a `bert` it is plain text."""
    folder = make_checkpoint(parts=("mlm",))
    from_checkpoint(folder, component="fill_mask").to_disk(tmp_path / "pipeline")
    shown = run("debug-pieces", tmp_path / "pipeline", "a [MASK]").stdout
    assert "[CLS] a [MASK] [SEP]" in shown
    assert "m ##a ##s ##k" in run("debug-pieces", folder, "a [MASK]").stdout


def test_vocabulary_alone_will_do(run, tiny_checkpoint, tmp_path):
    """Catches weights that are read although they are not needed."""
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_checkpoint / name).read_bytes())
    result = run("debug-pieces", tmp_path, "work")
    assert "1, of up to 512 pieces" in result.stdout


def test_names_tokens_without_pieces(run, tiny_checkpoint):
    """Catches tokens that silently get zero vectors; whitespace is no such token."""
    result = run("debug-pieces", tiny_checkpoint, "a \x07 b \u200b  c")
    assert section(result.stdout, "Tokens without pieces")[:2] == [["1", r"\x07"], ["3", r"\u200b"]]
    none = run("debug-pieces", tiny_checkpoint, "a  b")
    assert section(none.stdout, "Tokens without pieces")[0][0] == "none,"


def test_what_has_no_shape_is_escaped(run, tiny_checkpoint):
    """Catches control characters that reach the terminal, and a lone surrogate that breaks
    spaCy's strings; both can be in a text."""
    result = run("debug-pieces", tiny_checkpoint, "a\x1b[31mb\x00\ud800c")
    assert result.exit_code == 0, result.exception
    assert r"\x1b" in result.stdout and "\x1b" not in result.stdout
    assert "\x00" not in result.stdout
    assert "lone surrogates  1, each read as U+FFFD" in result.stdout


def test_bytes_that_are_no_text_on_a_terminal_that_is_latin(tiny_checkpoint):
    """Catches what real command lines have: a byte that is no UTF-8, which arrives as a lone
    surrogate, and a terminal that cannot show every character."""
    arguments = ["debug-pieces", str(tiny_checkpoint), os.fsdecode(b"caf\xff \xe6\x97\xa5")]
    result = CliRunner(charset="latin-1").invoke(app, arguments)
    assert result.exit_code == 0, result.exception
    assert "\\u65e5" in result.stdout and "lone surrogates  1" in result.stdout


def test_empty_text(run, tiny_checkpoint):
    """Catches a table that cannot be empty."""
    result = run("debug-pieces", tiny_checkpoint, "")
    assert result.exit_code == 0, result.exception
    assert section(result.stdout, "Windows")[1][-2:] == ["[CLS]", "[SEP]"]


def test_long_windows_are_shortened(run, tiny_checkpoint):
    """Catches a sequence of hundreds of pieces on one line."""
    result = run("debug-pieces", tiny_checkpoint, "a b c d e f g h i j k l m n")
    assert "[CLS] a b c d e f ... i j k l m n [SEP]" in result.stdout


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--window", "7"], ["window is 7", "at least 8"]),
        (["--window", "8", "--stride", "7"], ["stride is 7", "from 1 to 6"]),
        (["--stride", "0"], ["stride is 0"]),
        (["--window", "0"], ["window is 0"]),
        (["--window", "65"], ["--window is 65", "64 positions"]),
        (["--lang", "qq"], ["--lang is 'qq'"]),
    ],
)
def test_refuses_in_one_message(run, tiny_checkpoint, options, expected):
    """Catches a mistake that ends in a traceback, or an option that is ignored."""
    result = run("debug-pieces", tiny_checkpoint, "a", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    for part in expected:
        assert part in result.stderr


def test_refuses_other_folders(run, tmp_path):
    """Catches a folder without a vocabulary, and a pipeline without a BERT."""
    import spacy

    assert "no directory" in run("debug-pieces", tmp_path / "no/such", "a").stderr
    assert "No tokenizer" in run("debug-pieces", tmp_path, "a").stderr
    spacy.blank("en").to_disk(tmp_path / "blank")
    result = run("debug-pieces", tmp_path / "blank", "a")
    assert "holds a BERT" in result.stderr and result.exit_code == 1
    result = run("debug-pieces", tmp_path / "blank", "a", "--lang", "de")
    assert "Leave it out" in result.stderr
