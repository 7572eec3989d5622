"""`fill-mask`: what it prints is what the component says."""

import pytest

from spacy_bert import from_checkpoint, make_pair

TEXT = "Alice [MASK] in un[MASK]ed Paris."


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint):
    """The folder of a random BERT with a masked-LM head."""
    return make_checkpoint(parts=("pooler", "mlm"), seed=3)


def tables(output):
    """The rows of each table, as lists of words, under the line above it."""
    blocks = [block.splitlines() for block in output.split("\n\n")[:-1]]
    return [(lines[0], [line.split() for line in lines[3:]]) for lines in blocks]


def expected(masks):
    return [
        [[str(i), f"{p.probability:.2%}", f"{p.logit:.2f}", p.piece] for i, p in enumerate(mask.predictions, 1)]
        for mask in masks
    ]  # fmt: skip


def test_shows_the_component_s_answers(run, checkpoint):
    """Catches another order, other figures or places than the component's."""
    result = run("fill-mask", checkpoint, TEXT)
    masks = from_checkpoint(checkpoint, component="fill_mask")(TEXT)._.fill_mask
    shown = tables(result.stdout)
    assert [head for head, _ in shown] == [
        "[MASK], characters 6 to 11",
        "[MASK], characters 18 to 23",
    ]
    assert [rows for _, rows in shown] == expected(masks)
    assert all(len(rows) == 5 for _, rows in shown)


def test_last_line_is_the_text_with_the_best(run, make_checkpoint):
    """Catches the best for one mask in the place of another, and a piece that continues a word but
    stands apart from it. The decoder's bias decides, here."""
    import torch

    from spacy_bert import load_checkpoint, save_checkpoint

    folder = make_checkpoint(parts=("mlm",), seed=11)
    loaded = load_checkpoint(folder)
    for piece, line in (("paris", "In paris."), ("##ing", "Ining.")):
        bias = torch.full_like(loaded.weights["mlm.bias"], -1000.0)
        bias[loaded.tokenizer.pieces.index(piece)] = 0.0
        loaded.weights["mlm.bias"] = bias
        save_checkpoint(folder, loaded)
        result = run("fill-mask", folder, "In [MASK].", "--top", 1)
        assert result.stdout.splitlines()[-1] == f"With the best for each: {line}"


def test_top(run, checkpoint):
    """Catches an option that is ignored."""
    assert [
        len(rows) for _, rows in tables(run("fill-mask", checkpoint, TEXT, "--top", 7).stdout)
    ] == [7, 7]
    assert run("fill-mask", checkpoint, TEXT, "--top", 0).exit_code == 2


def test_pair(run, checkpoint):
    """Catches a pair that is read as one text."""
    result = run("fill-mask", checkpoint, "Alice [MASK]", "--pair", "in [MASK]")
    nlp = from_checkpoint(checkpoint, component="fill_mask")
    doc = nlp(make_pair(nlp, "Alice [MASK]", "in [MASK]"))
    assert [rows for _, rows in tables(result.stdout)] == expected(doc._.fill_mask)


def test_saved_pipeline(run, checkpoint, tmp_path):
    """Catches a pipeline that is taken for a checkpoint, or whose component is not found."""
    nlp = from_checkpoint(checkpoint)
    nlp.to_disk(tmp_path / "without")
    result = run("fill-mask", tmp_path / "without", TEXT)
    assert result.exit_code == 1 and "has no `fill_mask`; found bert" in result.stderr
    nlp.add_pipe("fill_mask", source=from_checkpoint(checkpoint, component="fill_mask"))
    nlp.to_disk(tmp_path / "with")
    assert (
        run("fill-mask", tmp_path / "with", TEXT).stdout
        == run("fill-mask", checkpoint, TEXT).stdout
    )
    result = run("fill-mask", tmp_path / "with", TEXT, "--lang", "de")
    assert result.exit_code == 1 and "Leave it out" in result.stderr


@pytest.mark.parametrize(
    "text, words",
    [
        ("Alice lives", "has no [MASK] in it"),
        ("Alice [mask] here", "It has '[mask]', but case counts"),
        ("", "The text ''"),
    ],
)
def test_text_without_a_mask(run, checkpoint, text, words):
    """Catches a command that prints nothing and leaves its user to guess why."""
    result = run("fill-mask", checkpoint, text)
    assert (result.exit_code, result.stdout) == (1, "") and words in result.stderr
    assert 'as in "Paris is the [MASK] of France."' in result.stderr


def test_checkpoint_without_the_head(run, tiny_checkpoint):
    """Catches a traceback, or answers by a random head."""
    result = run("fill-mask", tiny_checkpoint, TEXT)
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(tiny_checkpoint) in result.stderr and "holds an encoder, a pooler" in result.stderr


def test_bytes_that_are_no_text(run, checkpoint):
    """Catches a lone surrogate, which real command lines can have, that breaks spaCy's strings."""
    result = run("fill-mask", checkpoint, "a\ud800\x1b [MASK]")
    assert result.exit_code == 0, result.exception
    assert "Lone surrogates, read as U+FFFD: 1" in result.stdout and "\x1b" not in result.stdout
    assert "characters 4 to 9" in result.stdout


def test_mask_across_two_texts(run, checkpoint):
    """Catches half a mask at the end of one text and half at the start of the other being taken for one."""
    result = run("fill-mask", checkpoint, "Alice [MA", "--pair", "SK] here")
    assert (result.exit_code, result.stdout) == (1, "") and "has no [MASK]" in result.stderr


def test_two_texts_as_the_pipeline_reads_them(run, checkpoint, tmp_path):
    """Catches a pair that the pipeline's own rule makes, and that the command reads as one text."""
    nlp = from_checkpoint(checkpoint, component="fill_mask")
    nlp.add_pipe("segments", first=True)
    nlp.to_disk(tmp_path / "nlp")
    text = "Alice lives.\n\nIn [MASK]."
    shown = tables(run("fill-mask", tmp_path / "nlp", text).stdout)
    assert [rows for _, rows in shown] == expected(nlp(text)._.fill_mask)
    nlp.remove_pipe("segments")
    assert [rows for _, rows in shown] != expected(nlp(text)._.fill_mask)
