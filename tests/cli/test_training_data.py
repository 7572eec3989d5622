"""`init-config --train`: a config that fits the texts, or what the texts lack."""

import json
from pathlib import Path
from typing import Any, Callable

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.util import load_config, load_model_from_config

from spacy_bert import make_pair
from spacy_bert.cli.pipe_sections import HEADS
from spacy_bert.cli.training_data import NEEDS
from spacy_bert.targets import set_score


def annotated(n: int = 3, **changes: Any) -> Doc:
    """A Doc that any pipe can learn from."""
    nlp = spacy.blank("en")
    nlp.add_pipe("segments")
    doc = make_pair(nlp, "Ada lived in London.", "She did not. " + "So they say " * n)
    doc.ents = [Span(doc, 0, 1, "PERSON")]
    doc.cats = {"A": 1.0, "B": 0.0}
    doc.spans["sc"] = [Span(doc, 0, 2, "X")]
    doc.spans["span_finder"] = [Span(doc, 0, 2, "X")]
    doc.spans["spancat_singlelabel"] = [Span(doc, 0, 2, "X")]
    for token in doc:
        token.tag_, token.lemma_, token.pos_ = "T", "l", "NOUN"
        token.is_sent_start = token.i == 0
    words = [token.text for token in doc]
    full = Doc(
        nlp.vocab, words=words, spaces=[bool(t.whitespace_) for t in doc], tags=["T"] * len(doc),
        lemmas=["l"] * len(doc), pos=["NOUN"] * len(doc), heads=[0] * len(doc), deps=["dep"] * len(doc),
    )  # fmt: skip
    full.ents, full.cats = [Span(full, 0, 1, "PERSON")], doc.cats
    for key, group in doc.spans.items():
        full.spans[key] = [Span(full, span.start, span.end, span.label) for span in group]
    set_score(full, 0.5)
    for name, value in changes.items():
        setattr(full, name, value)
    return full


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save_docs(*docs: Doc, name: str = "train.spacy") -> Path:
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / name)
        return tmp_path / name

    return save_docs


@pytest.fixture
def ask(run: Any, tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function: pipes and options -> what `init-config` says."""

    def call(pipeline: str, *options: Any) -> Any:
        output = tmp_path / "train.cfg"
        return run("init-config", output, "-c", tiny_checkpoint, "-p", pipeline, "-F", *options)

    return call


@pytest.mark.parametrize("n_docs, steps", [(1, 200), (300, 1308)])
def test_steps_fit_the_texts(n_docs: int, steps: int, ask: Any, save: Any, tmp_path: Path) -> None:
    """Catches two thousand steps for two texts, or for two million."""
    doc = annotated(360)
    assert len(doc) == 1090
    train, dev = save(*[doc] * n_docs), save(doc, name="dev.spacy")
    result = ask("ner", "--train", train, "--dev", dev)
    assert result.exit_code == 0, result.output
    assert f"{n_docs:,} texts, {n_docs * 1090:,} words; {steps:,} steps" in result.output
    config = load_config(tmp_path / "train.cfg").interpolate()
    assert config["paths"]["train"] == str(train) and config["paths"]["dev"] == str(dev)
    training = config["training"]
    rate = training["optimizer"]["learn_rate"]
    assert training["max_steps"] == rate["total_steps"] == steps
    assert rate["warmup_steps"] == steps // 20
    assert training["eval_frequency"] == min(100, steps // 10)
    head = (tmp_path / "train.cfg").read_text().split("\n\n")[0]
    assert "--paths" not in head and "spacy train" in head


def test_what_is_not_named_is_in_the_command(ask: Any, save: Any, tmp_path: Path) -> None:
    """Catches a first line that trains without texts to evaluate on."""
    assert ask("ner", "--train", save(annotated())).exit_code == 0
    head = (tmp_path / "train.cfg").read_text().split("\n\n")[0]
    assert "--paths.dev dev.spacy" in head and "--paths.train" not in head


def test_every_pipe_knows_what_it_needs(ask: Any, save: Any) -> None:
    """Catches a pipe that was added without a line on what it learns from, or with one that is never met."""
    pipes = [pipe for pipe in HEADS if pipe != "span_qa"]
    assert {*HEADS} == {*NEEDS} | {pipe for pipe in HEADS if "%spans_key" in HEADS[pipe]}
    result = ask(",".join(["segments", *pipes]), "--train", save(annotated()))
    assert result.exit_code == 0, result.output
    bare = save(spacy.blank("en")("Ada lived in London."), name="bare.spacy")
    for pipe in pipes:
        result = ask(pipe, "--train", bare)
        assert result.exit_code == 1 and f"which '{pipe}' learns from" in " ".join(
            result.stderr.split()
        )
        assert ask(pipe, "--train", save(annotated())).exit_code == 0, pipe


@pytest.mark.parametrize(
    "pipes, changes, message",
    [
        ("textcat", {"cats": {"A": 1.0, "B": 1.0}}, "1 of 2 texts .* textcat_multilabel"),
        ("textcat", {"cats": {"A": 0.0, "B": 0.0}}, "1 of 2 texts .* exactly one"),
        ("ner,textcat", {"cats": {}}, None),
    ],
)
def test_labels(pipes: str, changes: Any, message: Any, ask: Any, save: Any) -> None:
    """Catches labels that end the training, or spoil it in silence; a text without is none of these."""
    result = ask(pipes, "--train", save(annotated(), annotated(**changes)))
    assert (result.exit_code == 0) == (message is None)
    if message:
        (first, second) = message.split(" .* ")
        told = " ".join(result.stderr.split())
        assert first in told and second in told


def test_bad_files(ask: Any, save: Any, tmp_path: Path) -> None:
    """Catches a traceback of spaCy's, or a config that is written for texts that are not there."""
    (tmp_path / "bad.spacy").write_bytes(b"no texts")
    (tmp_path / "texts.jsonl").write_text("{}")
    (tmp_path / "folder").mkdir()
    one = save(annotated(cats={"A": 1.0}), name="one.spacy")
    single = save(spacy.blank("en")("Ada."), name="single.spacy")
    for pipes, path, message in (
        ("ner", tmp_path / "none.spacy", "There is no"),
        ("ner", tmp_path / "bad.spacy", "cannot be read as annotated texts"),
        ("ner", tmp_path / "texts.jsonl", "does not end in .spacy"),
        ("ner", tmp_path / "folder", "holds no texts"),
        ("ner", save(name="empty.spacy"), "holds no texts"),
        ("textcat", one, "the only label in doc.cats is 'A'"),
        ("segments,ner", single, "none of 1 texts has entities"),
        ("segments,span_qa", one, "is no JSON file"),
    ):
        for option in ("--train", "--dev"):
            result = ask(pipes, option, path)
            assert result.exit_code == 1 and message in " ".join(result.stderr.split()), path
            assert "Traceback" not in result.output and not (tmp_path / "train.cfg").exists()


def test_pairs_and_questions(ask: Any, save: Any, tmp_path: Path) -> None:
    """Catches texts that are no pairs for a pipeline of pairs, and questions that are read as texts."""
    doc = spacy.blank("en")("Ada lived in London.")
    doc.cats = {"A": 1.0, "B": 0.0}
    other = doc.copy()
    result = ask("segments,textcat", "--train", save(doc, other))
    assert result.exit_code == 1 and "none of 2 texts is a pair" in result.stderr
    squad = {"data": [{"title": "x", "paragraphs": [{"context": "Ada lived in London. " * 100, "qas": [
        {"id": str(i), "question": "Where?", "answers": [{"text": "London", "answer_start": 13}]}
        for i in range(400)
    ]}]}]}  # fmt: skip
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    result = ask("segments,span_qa", "--train", tmp_path / "squad.json")
    assert result.exit_code == 0 and "400 texts, 160,400 words; 642 steps" in result.output


def with_spans(key: str, *lengths: int) -> Doc:
    doc = spacy.blank("en")(" ".join("abcdefghijklmnopqrst"))
    doc.spans[key] = [Span(doc, 0, length, "X") for length in lengths]
    return doc


@pytest.mark.parametrize(
    "lengths, sizes, n_longer",
    [
        ([1, 2], 3, 0),
        ([2] * 9 + [6], 6, 0),
        ([2] * 9 + [12], 12, 0),
        ([2] * 97 + [9, 9, 12], 9, 1),
        ([2] * 200 + [12], 8, 1),
    ],
)
def test_lengths_of_spans(
    lengths: Any, sizes: int, n_longer: int, ask: Any, save: Any, tmp_path: Path
) -> None:
    """Catches spans that are never proposed, so that they are never found, and nobody is told."""
    result = ask("spancat", "--train", save(with_spans("sc", *lengths)))
    assert result.exit_code == 0, result.output
    suggester = load_config(tmp_path / "train.cfg")["components"]["spancat"]["suggester"]
    assert suggester["sizes"] == [*range(1, sizes + 1)]
    told = " ".join(result.output.split())
    assert (f"{n_longer} spans under 'sc' are longer than {sizes} tokens" in told) == (n_longer > 0)


def test_key_of_spans(ask: Any, save: Any, tmp_path: Path) -> None:
    """Catches annotation that is not found where it is; and scores of another key that count, none of which
    there will be."""
    train = save(spacy.blank("en")("a b"), with_spans("claims", 2), name="claims.spacy")
    result = ask("ner,spancat", "--train", save(annotated()))
    assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "train.cfg")
    assert config["components"]["spancat"]["spans_key"] == "sc"
    result = ask("spancat", "--train", train, "--dev", train)
    assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "train.cfg")
    assert config["components"]["spancat"]["spans_key"] == "claims"
    weights = load_model_from_config(config, auto_fill=True).config["training"]["score_weights"]
    assert {key for key, weight in weights.items() if weight} == {"spans_claims_f"}
    assert "'spancat' learns from the spans under 'claims'" in " ".join(result.output.split())
    # One text with others is enough not to guess.
    mixed = save(with_spans("ruler", 2), with_spans("sc", 2), name="mixed.spacy")
    assert ask("spancat", "--train", mixed).exit_code == 0
    assert load_config(tmp_path / "train.cfg")["components"]["spancat"]["spans_key"] == "sc"
    both = save(with_spans("spancat", 2), with_spans("sc", 2), name="both.spacy")
    assert ask("span_finder,spancat", "--train", both).exit_code == 0
    odd = save(with_spans("a:b", 2), name="odd.spacy")
    assert "spans under 'a:b'" in " ".join(ask("spancat", "--train", odd).stderr.split())
    result = ask("span_finder,spancat", "--train", train)
    told = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "spans under 'claims'" in told and "spans_key" in told


def test_times_are_those_of_steps(ask: Any, save: Any, tmp_path: Path) -> None:
    """Catches a batch that is thought to hold a text a hundred times."""
    assert ask("ner", "--train", save(annotated())).exit_code == 0
    assert "About 200 times through" in (tmp_path / "train.cfg").read_text()
