"""`convert-pairs`, and `spacy train` and `spacy evaluate` on what it writes."""

import subprocess
import sys
from typing import Any

import pytest
import spacy
import srsly
from spacy.tokens import DocBin

from spacy_bert.readers.pairs import PairsCorpus

ROWS = [
    ("Alice likes Paris", "Alice likes \"Paris", "1"),
    ("Bob works in London", "Carol lives in Berlin", "0"),
    ("Bob liked London", "Bob liked London", "1"),
    ("Carol lives", "Alice likes", "0"),
]  # fmt: skip
LABELS = {"0": "OTHER", "1": "SAME"}


@pytest.fixture
def tsv(tmp_path: Any) -> Any:
    path = tmp_path / "pairs.tsv"
    lines = ["a\tb\ty", *("\t".join(row) for row in ROWS)]
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf8")
    return path


def test_trained_and_evaluated_by_spacy(
    run: Any, tsv: Any, tmp_path: Any, tiny_checkpoint: Any, train_pipeline: Any
) -> None:
    """Catches a score of `spacy evaluate` on a file of pairs that is not the score in Python: spaCy
    drops the spans of pairs on the way."""
    binary, config = tmp_path / "pairs.spacy", tmp_path / "train.cfg"
    names = [part for pair in LABELS.items() for part in ("--rename", "=".join(pair))]
    result = run("convert-pairs", tsv, binary, "-a", "a", "-b", "b", "--label", "y", *names)
    assert result.exit_code == 0, result.output
    assert "Wrote 4 pairs" in result.output and "not annotated" not in result.output
    bare = run("convert-pairs", tsv, tmp_path / "bare.spacy", "-a", "a", "-b", "b")
    assert bare.exit_code == 0 and "Wrote 4 pairs" in bare.output and "not annotated" in bare.output
    result = run("init-config", config, "-c", tiny_checkpoint, "-p", "segments,textcat")
    assert result.exit_code == 0, result.output
    nlp = train_pipeline(config, binary, {"training.max_steps": 6})
    corpus = PairsCorpus(tsv, text_a="a", text_b="b", label="y", labels=LABELS)
    gold = list(corpus(nlp))
    assert all(len(example.predicted.spans["segments"]) == 2 for example in gold)
    expected = nlp.evaluate(gold)
    saved, scores = tmp_path / "trained" / "model-last", tmp_path / "scores.json"
    command = [sys.executable, "-m", "spacy", "evaluate", saved, binary, "--output", scores]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = srsly.read_json(scores)
    assert found["cats_macro_auc"] == pytest.approx(expected["cats_macro_auc"], abs=1e-6)
    assert found["cats_score"] == pytest.approx(expected["cats_score"], abs=1e-6)
    # The same texts without the pair are another input, with other scores.
    pair = spacy.load(saved)("Bob liked London\n\nBob liked London")
    single = spacy.load(saved)("Bob liked London Bob liked London")
    assert pair.cats["SAME"] != single.cats["SAME"]


def test_numbers_without_header(run: Any, tmp_path: Any) -> None:
    """Catches columns that are read by name where they have only numbers."""
    (tmp_path / "a.csv").write_text('x,"y, z",1.5\n')
    options = ["--no-header", "--text-a", "0", "--text-b", "1", "--score", "2"]
    result = run("convert-pairs", tmp_path / "a.csv", tmp_path / "a.spacy", *options)
    assert result.exit_code == 0, result.output
    from spacy.training import Corpus

    nlp = spacy.blank("en")
    (example,) = Corpus(tmp_path / "a.spacy")(nlp)
    assert example.reference._.score == 1.5 and example.text == "x\n\ny, z"
    result = run("convert-pairs", tmp_path / "a.csv", tmp_path / "b.spacy", "--no-header")
    assert result.exit_code == 1 and "'text_a' was asked for without header" in result.stderr


def test_refuses_in_one_message(run: Any, tsv: Any, tmp_path: Any) -> None:
    """Catches a traceback, or half a file."""
    result = run("convert-pairs", tsv, tmp_path / "a.spacy", "-a", "c")
    assert result.exit_code == 1 and "Column 'c' is not in the header" in result.stderr
    result = run("convert-pairs", tsv, tmp_path / "a.spacy", "-a", "a", "--rename", "x")
    assert result.exit_code == 1 and "OLD=NEW" in result.stderr
    result = run("convert-pairs", tsv, tmp_path / "a.spacy", "-a", "a", "--label", "y", "-r", "x=y")
    assert result.exit_code == 1 and "no label 'x'. It has" in result.stderr
    result = run("convert-pairs", tsv, tmp_path / "a", "-a", "a")
    assert result.exit_code == 1 and "by their ending. Name it" in result.stderr
    result = run("convert-pairs", tsv, tsv, "-a", "a")
    assert result.exit_code == 1 and "--force" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [tsv.name]


def test_some_labels_renamed_and_columns_by_number(run: Any, tsv: Any, tmp_path: Any) -> None:
    """Catches a label that has to be renamed because another is, and a number that is refused where
    there are names, too."""
    old, new = next(iter(LABELS.items()))
    options = ["--text-a", "0", "--text-b", "1", "--label", "2", "--rename", f"{old}={new}"]
    result = run("convert-pairs", tsv, tmp_path / "a.spacy", *options)
    assert result.exit_code == 0, result.output
    docs = DocBin().from_disk(tmp_path / "a.spacy").get_docs(spacy.blank("en").vocab)
    assert {label for doc in docs for label in doc.cats} == {new, *list(LABELS)[1:]}


def test_json_lines_by_the_ending(run: Any, tmp_path: Any) -> None:
    """Catches keys of objects that are asked for by number because there is no header."""
    (tmp_path / "a.jsonl").write_text('{"text": "x", "y": 1}\n')
    options = ["--no-header", "--text-a", "text", "--label", "y"]
    result = run("convert-pairs", tmp_path / "a.jsonl", tmp_path / "a.spacy", *options)
    assert result.exit_code == 0, result.output


def test_first_row_that_was_taken_for_names(run: Any, tmp_path: Any) -> None:
    """Catches a file without header that loses its first row without a word."""
    path = tmp_path / "cola.tsv"
    path.write_text("x\t1\tAlice lives\nx\t0\tlives Alice\n")
    columns = ["--text-a", "2", "--label", "1"]
    result = run("convert-pairs", path, tmp_path / "a.spacy", *columns)
    assert "Wrote 1 texts" in result.output and "--no-header" in result.output
    result = run("convert-pairs", path, tmp_path / "b.spacy", *columns, "--no-header")
    assert "Wrote 2 texts" in result.output and "--no-header" not in result.output
