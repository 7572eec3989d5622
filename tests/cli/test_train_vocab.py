"""train-vocab."""

import bz2
import gzip
import json

import pytest
import torch

from spacy_bert import load_checkpoint, wordpiece
from spacy_bert.wordpiece import WordPieceTokenizer

TEXT = "The walker walked. The talker talked, walking and talking to Paris. Ärger!\n" * 30


@pytest.fixture
def raw(tmp_path):
    """A corpus in several formats."""
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    lines = "".join(json.dumps({"text": TEXT, "body": "other words " * 9}) + "\n" for _ in range(2))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    page = "<page><title>T</title><ns>0</ns><revision><text>A wikilink [[shown]].{{no|t}}</text></revision></page>"
    dump = f"<mediawiki>{page * 99}</mediawiki>"
    (folder / "c.xml.bz2").write_bytes(bz2.compress(dump.encode()))
    return folder


@pytest.mark.parametrize("options, settings", [([], (True, None)), (["--cased"], (False, None)), (["--keep-accents"], (True, False))])  # fmt: skip
def test_vocabulary(run, raw, tmp_path, options, settings):
    """Catches files that are not read, options without effect, and a size that is not kept."""
    result = run("train-vocab", raw, "--output", tmp_path / "v", "--size", 70, *options)
    assert result.exit_code == 0, result.output
    tokenizer = WordPieceTokenizer.from_disk(tmp_path / "v")
    assert len(tokenizer) == 70 and "70 pieces" in result.stdout
    assert (tokenizer.settings.lowercase, tokenizer.settings.strip_accents) == settings
    assert {"shown", "##alk"} <= {piece[:5] for piece in tokenizer.pieces}
    accent = any("ä" in piece.lower() for piece in tokenizer.pieces)
    assert accent == (options != [])


def test_same_bytes(run, raw, tmp_path):
    """Catches a vocabulary that depends on how many processes parse."""
    for n in (1, 2):
        run("train-vocab", raw, "-o", tmp_path / str(n), "-s", 120, "--n-process", n)
    first, second = ((tmp_path / str(n) / "vocab.txt").read_bytes() for n in (1, 2))
    assert first == second


def test_options(run, raw, tmp_path):
    """Catches options that are not passed on."""
    options = ["--reader", "JsonlDocuments:text=body", "--reserve", 2, "--alphabet", 5]
    result = run("train-vocab", raw / "b.jsonl.gz", "-o", tmp_path / "v", "-s", 40, *options)
    assert result.exit_code == 0, result.output
    pieces = WordPieceTokenizer.from_disk(tmp_path / "v").pieces
    assert pieces[5:7] == ("[unused0]", "[unused1]") and len(pieces[7:]) >= 10
    assert {"o", "r"} <= set(pieces) and "s" not in pieces and "walked" not in pieces
    options = ["--min-frequency", 10_000]
    result = run("train-vocab", raw, "-o", tmp_path / "w", "-s", 40, *options)
    assert result.exit_code == 1 and "comes 10,000 times" in result.stderr


def test_little_text(run, raw, tmp_path):
    """Catches a smaller vocabulary without a word why, and one in spite of --exact-size."""
    result = run("train-vocab", raw, "-o", tmp_path / "v", "-s", 5000, "--exact-size")
    assert result.exit_code == 1
    assert "fewer than the 5000 asked for" in result.stderr and not (tmp_path / "v").exists()
    assert run("train-vocab", raw, "-o", tmp_path / "v", "-s", 5000).exit_code == 0
    assert (tmp_path / "v" / "vocab.txt").exists()


def test_output(run, raw, tmp_path):
    """Catches a folder that is written over unasked, found only after an hour of reading."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "vocab.txt").write_text("old\n")
    missing = tmp_path / "missing"
    result = run("train-vocab", missing, "-o", tmp_path / "v", "-s", 120)
    assert result.exit_code == 1 and "is not empty: found vocab.txt" in result.stderr
    assert run("train-vocab", raw, "-o", tmp_path / "v", "-s", 120, "--force").exit_code == 0
    assert WordPieceTokenizer.from_disk(tmp_path / "v").pieces[0] == "[PAD]"
    result = run("train-vocab", raw, "-o", raw / "a.txt", "-s", 120)
    assert result.exit_code == 1 and "is a file" in result.stderr


def test_places_that_are_none(run, raw, tmp_path):
    """Catches a bare "File exists", after an hour of reading."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    result = run("train-vocab", tmp_path / "missing", "-o", tmp_path / "link", "-s", 120)
    assert result.exit_code == 1 and "nowhere, which does not exist" in result.stderr
    result = run("train-vocab", raw, "-o", raw / "a.txt" / "v", "-s", 120)
    assert result.exit_code == 1 and "a.txt is a file, but a folder is needed" in result.stderr


def test_two_into_one_folder(run, raw, tmp_path, monkeypatch):
    """Catches a vocabulary that is lost to another, which came while this one was trained."""
    train = wordpiece.train_vocab

    def slowly(*arguments, **options):
        WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]).to_disk(tmp_path / "v")
        return train(*arguments, **options)

    monkeypatch.setattr(wordpiece, "train_vocab", slowly)
    result = run("train-vocab", raw, "-o", tmp_path / "v", "-s", 120)
    assert result.exit_code == 1 and "is not empty: found " in result.stderr
    assert len(WordPieceTokenizer.from_disk(tmp_path / "v")) == 5


def test_extend_checkpoint(run, raw, make_checkpoint, tmp_path):
    """Catches weights that are left behind, and a size that is taken for the number of new words."""
    base = load_checkpoint(make_checkpoint(parts=("pooler", "mlm")))
    size = len(base.tokenizer) + 3
    arguments = ["train-vocab", raw, "-o", tmp_path / "v", "-s", size, "--extend", base.source]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert f"{size} pieces, uncased, 3 of them new" in result.stdout
    extended = load_checkpoint(tmp_path / "v")
    assert extended.tokenizer.pieces[:-3] == base.tokenizer.pieces
    assert {"talked", "talking"} & set(extended.tokenizer.pieces[-3:])
    rows = extended.weights["encoder.embeddings.pieces.weight"]
    cut = base.tokenizer.encode(extended.tokenizer.pieces[-1]).ids.tolist()
    expected = base.weights["encoder.embeddings.pieces.weight"][cut].mean(dim=0)
    assert len(rows) == size and torch.allclose(rows[-1], expected)


def test_extend_vocabulary(run, raw, tmp_path):
    """Catches a plain vocabulary that cannot be extended, and options that cannot be followed."""
    run("train-vocab", raw, "-o", tmp_path / "v", "-s", 60)
    base = WordPieceTokenizer.from_disk(tmp_path / "v")
    arguments = ["train-vocab", raw, "-o", tmp_path / "w", "--extend", tmp_path / "v"]
    assert run(*arguments, "-s", 62).exit_code == 0
    assert WordPieceTokenizer.from_disk(tmp_path / "w").pieces[:60] == base.pieces
    result = run(*arguments, "-s", 62, "--cased", "--force")
    assert result.exit_code == 1 and "leave out --cased" in result.stderr
    result = run(*arguments, "-s", 60, "--force")
    assert result.exit_code == 1 and "has 60 pieces already" in result.stderr


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", b"", "The texts have no words"),
        ("a.txt", b"\x00\x01\x02" * 99, "the file is binary"),
        ("a.txt", b"caf\xe9\n", "line 1: found byte 0xe9 at byte 3"),
        ("a.jsonl", b"{]\n", "a.jsonl:1 is not valid JSON"),
        ("a.xml.bz2", bz2.compress(b"<mediawiki>" * 9)[:-9], "is cut off"),
        ("a.png", b"", "how to read"),
    ],
)
def test_bad_input(run, tmp_path, name, content, message):
    """Catches a traceback, or a message that does not say which file."""
    (tmp_path / name).write_bytes(content)
    result = run("train-vocab", tmp_path / name, "-o", tmp_path / "v", "-s", 50)
    assert result.exit_code == 1 and message in result.stderr, result.output
    assert not (tmp_path / "v").exists()
