"""spaCy's own commands on pipelines with `bert`. Those that report are called as functions, to save
the time of a process each; a package is installed and loaded by its name."""

import os
import subprocess
import sys

import pytest
import spacy
from spacy.cli.apply import apply
from spacy.cli.debug_data import debug_data
from spacy.cli.evaluate import evaluate
from spacy.cli.package import package
from spacy.tokens import DocBin
from spacy.training import Corpus

import spacy_bert

from .heads import assert_same, equal, listener, ner, pooled_listener, textcat, weights
from .training import config_of, encoder, run_training

PAIRS = [
    ("Alice lives in Paris.", "Bob works.", True),
    ("Bob works in London", "the day of Alice\n\nin Paris", False),
    ("a worker", "a worker's day", True),
    ("In Berlin, Carol lives", "Carol likes Berlin!", False),
]


@pytest.fixture
def saved(joint_nlp, tmp_path):
    joint_nlp.to_disk(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def pairs(tmp_path):
    """A file of pairs."""
    nlp, path = spacy.blank("en"), tmp_path / "pairs.spacy"
    docs = []
    for a, b, same in PAIRS * 2:
        doc = spacy_bert.make_pair(nlp, a, b)
        doc.cats = {"SAME": float(same), "OTHER": float(not same)}
        docs.append(doc)
    DocBin(docs=docs).to_disk(path)
    return path


def score(nlp, path):
    """The scores that the pipeline in this process gets."""
    scores = nlp.evaluate(list(Corpus(path)(nlp)))
    return {key: value for key, value in scores.items() if key != "speed"}


def assert_scores(reported, expected):
    del reported["speed"]
    assert reported.keys() <= expected.keys() and len(reported) > 5
    for key, value in reported.items():
        if isinstance(value, dict):  # label -> precision, recall, F
            assert value.keys() == expected[key].keys()
            for label, scores in value.items():
                assert scores == pytest.approx(expected[key][label], abs=1e-6), (key, label)
        else:
            assert value == pytest.approx(expected[key], abs=1e-6), key


def test_evaluate(saved, joint_nlp, corpus):
    """Catches another score than the one in the process that trained."""
    expected = score(joint_nlp, corpus)
    assert expected["cats_score"] > 0 and expected["ents_f"] is not None
    reported = evaluate(str(saved), corpus, silent=True)
    assert_scores(reported, {**expected, "token_acc": 1.0})


def pair_config(pairs, checkpoint, annotating):
    components = {
        "segments": {"factory": "segments"},
        "bert": {"factory": "bert", "model": encoder(checkpoint)},
        "textcat": {"factory": "textcat", **textcat(pooled_listener(pooling="pooler"))},
    }
    initialize = {"components": {"bert": {"checkpoint": str(checkpoint)}}}
    return config_of(pairs, components, initialize=initialize, annotating=annotating)


def test_pairs(pairs, tiny_checkpoint, tmp_path):
    """Catches pairs that are read as one text once spaCy has rebuilt them from it: in training, in
    evaluation, or after loading."""
    config = pair_config(pairs, tiny_checkpoint, ["segments"])
    nlp = run_training(config, tmp_path)
    expected = score(nlp, pairs)
    reported = evaluate(str(tmp_path / "trained" / "model-last"), pairs, silent=True)
    assert_scores(reported, {**expected, "token_acc": 1.0})
    a, b, _ = PAIRS[1]
    doc = nlp(f"{a}\n\n{b}")
    assert [span.text for span in doc.spans["segments"]] == [a, b]
    assert doc.cats == nlp(spacy_bert.make_pair(nlp, a, b)).cats
    assert doc.cats != nlp(f"{a}\n\n{b}", disable=["segments"]).cats
    # Without the annotation, training reads them as single texts: the weights come out different.
    other = run_training(pair_config(pairs, tiny_checkpoint, []), tmp_path / "other")
    assert not equal(weights(nlp), weights(other))


def test_apply(saved, joint_nlp, tmp_path):
    """Catches annotations that spaCy cannot write with a Doc."""
    texts = ["Alice lives in Paris.", "Bob works in London"]
    (tmp_path / "texts.txt").write_text("Alice lives in Paris.")
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    apply(tmp_path / "texts.jsonl", tmp_path / "out.spacy", str(saved), "text", 2, 1)
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(joint_nlp.vocab))
    for doc, expected in zip(docs, joint_nlp.pipe(texts), strict=True):
        assert doc.cats == pytest.approx(expected.cats, abs=1e-6)
        assert str(doc.ents) == str(expected.ents)
        assert doc._.bert.pieces == expected._.bert.pieces
        assert doc._.bert.cls == pytest.approx(expected._.bert.cls, abs=1e-5)


def test_debug_data(tiny_checkpoint, corpus, tmp_path, capsys):
    """Catches a pipeline that spaCy's check of the data cannot build or look through."""
    components = {
        "bert": {"factory": "bert", "model": encoder(tiny_checkpoint)},
        "ner": {"factory": "ner", **ner(listener())},
        "textcat": {"factory": "textcat", **textcat(pooled_listener())},
    }
    initialize = {"components": {"bert": {"checkpoint": str(tiny_checkpoint)}}}
    config_of(corpus, components, initialize=initialize).to_disk(tmp_path / "train.cfg")
    try:
        debug_data(tmp_path / "train.cfg", silent=False)
    except SystemExit as finished:  # there are too few examples for it
        assert finished.code == 1
    output = capsys.readouterr().out
    assert "Pipeline can be initialized with data" in output
    assert "Low number of examples to train a new pipeline (6)" in output
    assert "Text Classification: 2 label(s)" in output and "\n1 error\n" in output


@pytest.mark.fp32
def test_package(saved, joint_nlp, tmp_path):
    """Catches a pipeline that cannot be installed, does not say that it needs spacy-bert, or does
    not load by its name."""
    package(saved, tmp_path, name="tiny", version="1.0.0", create_sdist=False)
    folder = tmp_path / "en_tiny-1.0.0"
    requirement = f"spacy-bert>={spacy_bert.__version__},<0.2.0"
    assert requirement in (folder / "meta.json").read_text()
    target = tmp_path / "site"
    command = "-m pip install --quiet --no-deps --no-build-isolation --disable-pip-version-check"
    run = subprocess.run(
        [sys.executable, *command.split(), "--target", str(target), str(folder)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    code = """
import spacy
from spacy.tokens import DocBin
nlp = spacy.load("en_tiny")
DocBin(docs=[nlp("Alice lives in Paris.")], store_user_data=True).to_disk("doc.spacy")
print(nlp.meta["requirements"])
"""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert requirement in run.stdout, run.stderr
    (doc,) = DocBin().from_disk(tmp_path / "doc.spacy").get_docs(joint_nlp.vocab)
    expected = joint_nlp("Alice lives in Paris.")
    doc.tensor = expected.tensor  # DocBin drops it
    assert_same([doc], [expected])
