"""`docs/training.md`: from annotated texts to a package, typed as the page has it, on a tiny BERT."""

import shlex
from pathlib import Path

import pytest
import spacy
from thinc.api import Config
from typer.testing import CliRunner

import spacy_bert

from .test_docs import QUICK
from .test_readme import HUB_ID, ROOT, blocks, with_parents

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf8")
CONLL = "-DOCSTART- -X- O O\n\nAda NNP B-NP B-PER\nworks VBZ B-VP O\n. . O O\n"


def test_page_runs(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    """Catches a step that fails, or does not find what the one before wrote."""
    from spacy.cli._util import app as spacy_app

    from spacy_bert.cli.app import app

    monkeypatch.chdir(tmp_path)
    Path("reviews.tsv").write_text("text\tlabel\nGood.\tyes\nBad.\tno\n")
    Path("names.conll").write_text(CONLL)
    data, use, back, further, python = blocks("python", PAGE)
    names: dict = {}
    exec(compile(data, "training.md", "exec"), names)
    text = "".join(blocks("sh", PAGE)).replace(HUB_ID, str(tiny_checkpoint))
    lines = text.splitlines()
    assert sum(line.startswith("python -m spacy") for line in lines) == len(lines) - 1 == 6
    for line in lines:
        if line.startswith("mkdir"):
            Path(line.split()[-1]).mkdir()
            continue
        # Building a wheel is tested with the project's.
        line = line.replace("--build wheel", "--build none")
        words = shlex.split(f"{line} {QUICK}" if " spacy train " in line else line)[2:]
        result = CliRunner().invoke(app if words[0] == "spacy_bert" else spacy_app, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    for name in ("reviews.spacy", "names.spacy", "packages/en_my_model-0.0.0/setup.py"):
        assert Path(name).exists(), name
    assert "spacy-bert>=" in next(Path("packages").rglob("meta.json")).read_text()
    capsys.readouterr()
    exec(compile(use, "training.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and all("PEOPLE" in line for line in printed)
    exec(compile(back, "training.md", "exec"), names)
    assert spacy_bert.load_checkpoint("training/encoder").parts == {"encoder", "pooler"}
    before = names["nlp"]("Grace went to Rome.").cats
    exec(compile(further, "training.md", "exec"), names)
    after = names["nlp"]("Grace went to Rome.").cats
    assert (
        before != after == pytest.approx(spacy.load("training/further")("Grace went to Rome.").cats)
    )
    exec(compile(python.replace(HUB_ID, str(tiny_checkpoint)), "training.md", "exec"), names)
    losses = names["losses"]
    assert losses.keys() == {"bert", "ner", "textcat"} and min(losses.values()) > 0
    section = blocks("ini", PAGE)[0]
    assert "source" in section
    check_sources(section)


def check_sources(section: str) -> None:
    """Catches a pipeline that comes without the encoder of its head, or with other weights."""
    config = spacy.blank("en").config.merge(Config().from_str(with_parents(section)))
    config["nlp"]["pipeline"] = ["bert", "ner"]
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    text = "The train to Paris was late."
    trained = spacy.load("training/model-best")
    assert nlp(text).tensor == pytest.approx(trained(text).tensor)
    nlp.initialize()
    assert nlp(text).tensor == pytest.approx(trained(text).tensor)
