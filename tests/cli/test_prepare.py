"""`prepare`, and `info` on what it made."""

import os
import sys

import pytest

from spacy_bert.cli import progress as progress_module
from spacy_bert.cli.info import describe
from spacy_bert.cli.progress import bytes_read
from spacy_bert.cli.registered import make_named
from spacy_bert.pretraining.store import TokenStore

TEXT = "Alice lives in Paris. Bob works in London!\n\nCarol likes Berlin.\n"


@pytest.fixture
def corpus(tmp_path):
    """A folder with two texts."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.txt").write_text("The bob was in Paris.\n")
    return folder


@pytest.fixture
def prepare(run, corpus, tiny_checkpoint, tmp_path):
    """A function: options -> what the command printed."""

    def command(*options, inputs=(corpus,)):
        where = ("--vocab", tiny_checkpoint, "--output", tmp_path / "store")
        return run("prepare", *inputs, *where, *options)

    return command


def sentences_of(store):
    return [
        " ".join(store.tokenizer.pieces[i] for i in store.sentence(n))
        for n in range(len(store.sentence_offsets) - 1)
    ]


def test_prepares(prepare, tmp_path, tiny_checkpoint):
    """Catches options that do not reach the store, and a summary with other numbers than its."""
    result = prepare()
    assert (result.exit_code, result.stderr) == (0, "")
    store = TokenStore.open(tmp_path / "store")
    assert sentences_of(store) == [
        "alice lives in paris .",
        "bob works in london !",
        "carol likes berlin .",
        "the bob was in paris .",
    ]
    assert len(store) == 2
    assert "20 pieces, 4 sentences, 2 documents, of 2 files" in result.stdout
    assert store.manifest.splitter == "Sentencizer(lang='en')"


def test_splitters_and_readers(prepare, tmp_path, corpus):
    """Catches a choice that is not used, and settings of a reader that do not reach it."""
    assert prepare("--splitter", "Paragraphs").exit_code == 0
    store = TokenStore.open(tmp_path / "store")
    assert sentences_of(store)[0] == "alice lives in paris . bob works in london !"
    lines = corpus / "c.jsonl"
    lines.write_text('{"content": "Bob works."}\n{"content": "Carol likes Bob."}\n')
    reader = "spacy-bert.JsonlDocuments.v1:text=content"
    result = prepare("--reader", reader, "--force", inputs=[lines])
    assert (result.exit_code, result.stderr) == (0, "")
    store = TokenStore.open(tmp_path / "store")
    assert sentences_of(store) == ["bob works .", "carol likes bob ."] and len(store) == 2
    assert store.manifest.reader.startswith("JsonlDocuments(text='content'")


def test_languages(prepare, tmp_path, corpus):
    """Catches a language that is not the sentencizer's."""
    assert prepare("--lang", "hi").exit_code == 0
    assert "lang='hi'" in TokenStore.open(tmp_path / "store").manifest.splitter


def test_processes(prepare, tmp_path):
    """Catches an option that is not used: the store is the same."""
    assert prepare("--n-process", 1).exit_code == 0
    one = TokenStore.open(tmp_path / "store")
    result = prepare("--n-process", 2, "--force")
    assert (result.exit_code, result.stderr) == (0, "")
    assert TokenStore.open(tmp_path / "store").manifest == one.manifest


def test_warns_of_a_single_document(prepare, corpus):
    """Catches a store with which pretraining will refuse to begin, without a word about it."""
    result = prepare(inputs=[corpus / "b.txt"])
    assert result.exit_code == 0
    assert "single document" in result.stderr and "--objective.nsp false" in result.stderr


def test_warns_of_a_vocabulary_for_another_text(prepare, corpus):
    """Catches a store of [UNK]s, which is found after a week of pretraining."""
    (corpus / "a.txt").write_text("Жили-были старик со старухой. " * 5)
    result = prepare()
    assert result.exit_code == 0
    assert "of the pieces are [UNK]" in result.stderr and "train-vocab" in result.stderr


def test_info(prepare, tmp_path, run, corpus):
    """Catches facts about a store that are wrong."""
    prepare()
    [(heading, facts)] = describe(tmp_path / "store")
    assert heading == f"Token store {tmp_path / 'store'}"
    assert facts["documents"] == "2"
    assert facts["sentences"] == "4, of 5.0 pieces on average"
    assert facts["pieces"] == "20, 2 bytes each"
    assert facts["unknown"] == "0, 0.00%"
    assert facts["most frequent"].startswith("., 15.00%") or facts["most frequent"].startswith("in")
    assert facts["begins"].startswith("alice lives in paris . bob")
    assert facts["sources"].endswith(f"{corpus / 'a.txt'}, {corpus / 'b.txt'}")
    assert "checksums are right" in facts["size"]
    result = run("info", tmp_path / "store")
    assert result.exit_code == 0 and all(str(value) in result.stdout for value in facts.values())


def test_info_of_a_damaged_store(prepare, tmp_path, run):
    """Catches a store that `info` calls good without having read it."""
    prepare()
    file = tmp_path / "store" / "pieces.bin"
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    result = run("info", tmp_path / "store")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pieces.bin is damaged: its SHA-256 is" in result.stderr


def binary(folder):
    (folder / "b.txt").write_bytes(bytes(range(256)) * 20)


def another_format(folder):
    (folder / "a.txt").unlink()
    (folder / "b.txt").rename(folder / "b.pdf")


def no_text(folder):
    for name in "ab":
        (folder / f"{name}.txt").write_text("\n \n")


@pytest.mark.parametrize(
    "change, options, expected",
    [
        (binary, [], ["b.txt", "binary"]),
        (another_format, [], ["no file to read", "b.pdf", "--reader"]),
        (no_text, [], ["There is no text", "Check the inputs"]),
        (None, ["--n-process", 0], ["n_process is 0"]),
        (None, ["--splitter", "Sentences"], ["'Sentences' is not registered", "Sentencizer"]),
        (None, ["--splitter", "Paragraphs", "--lang", "de"], ["--lang is 'de'", "Leave it out"]),
        (None, ["--lang", "qq"], ["'qq'"]),
        (None, ["--reader", "TextFiles:blank"], ["'blank'", "KEY=VALUE"]),
        (None, ["--reader", "TextFiles:{x"], ["not valid JSON"]),
        (None, ["--reader", "TextFiles:colour=red"], ["does not take", "colour"]),
    ],
)
def test_refuses_in_one_message(prepare, corpus, tmp_path, change, options, expected):
    """Catches a mistake that ends in a traceback, in half a store, or in a message without
    remedy."""
    if change is not None:
        change(corpus)
    result = prepare(*options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    for part in expected:
        assert part in result.stderr
    assert os.listdir(tmp_path) == ["corpus"]


def test_refuses_to_overwrite(prepare, tmp_path):
    """Catches an hour's work that is lost to a repeated command, or an hour's work before it is
    seen that the store cannot be written."""
    assert prepare().exit_code == 0
    result = prepare(inputs=[tmp_path / "missing"])
    assert result.exit_code == 1 and "There is a store at" in result.stderr
    assert prepare("--force").exit_code == 0


def test_named():
    """Catches settings that are read as another type than they are."""
    exclude = make_named("spacy_misc", 'PipelineSentences:{"pipeline": "x", "exclude": ["ner"]}')
    assert (exclude.pipeline, exclude.exclude) == ("x", ("ner",))
    sized = make_named("spacy_misc", "PipelineSentences:pipeline=x,batch_size=5", batch_size=6)
    assert (sized.pipeline, sized.batch_size) == ("x", 5)


def test_progress_on_a_terminal(monkeypatch, capsys):
    """Catches a bar that is not shown, or goes beyond its end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with bytes_read(2_000_000, "Preparing") as progress:
        progress(1_500_000)
        progress(1_500_000)
    shown = capsys.readouterr().err
    assert "Preparing" in shown and "2.00M/2.00M" in shown and "3.00M" not in shown


def test_progress_in_a_log(monkeypatch, capsys):
    """Catches a bar's control characters in a log, and a log without rate and time left."""
    monkeypatch.setattr(progress_module, "EVERY", 0)
    with bytes_read(4_000_000, "Preparing") as progress:
        progress(1_000_000)
    assert capsys.readouterr().err.startswith("Preparing: 1 of 4 MB, ")
    monkeypatch.setattr(progress_module, "EVERY", 30)
    with bytes_read(4_000_000, "Preparing") as progress:
        progress(1_000_000)
    assert capsys.readouterr().err == ""
