"""`docs/languages.md`: what it tells to type is typed, and what it prints is as it says."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from .test_docs import SMALL
from .test_readme import ROOT, blocks

PAGE = (ROOT / "docs" / "languages.md").read_text(encoding="utf8")
TEXTS = {
    "zh": "谷歌在{}年发布了BERT模型。他在北京大学读书。今天天气很好！我们去公园散步吧？",
    "de": "Die Größe der Straßen war im Jahr {} schön. Er kam schon früh. Über allen Gipfeln ist Ruh.",
}


@pytest.mark.slow
def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a command that fails, a language that a splitter or a tokenizer does not know, and a
    file that the next command does not find."""
    from spacy_bert.cli.app import app

    (tmp_path / "configs").mkdir()
    config = ROOT / "configs" / "pretrain.cfg"
    (tmp_path / "configs" / "pretrain.cfg").write_text(config.read_text(encoding="utf8"))
    for lang, text in TEXTS.items():
        (tmp_path / f"texts-{lang}").mkdir()
        for i in range(12):
            path = tmp_path / f"texts-{lang}" / f"{i}.txt"
            path.write_text(" ".join(text.format(year) for year in range(i, i + 4)), "utf8")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh", PAGE) for line in block.splitlines()]
    assert len(lines) == 9
    for line in lines:
        line = f"{line} {SMALL}" if " pretrain " in line else line
        result = CliRunner().invoke(app, shlex.split(line)[3:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    assert 'lang = "zh"' in Path("train-zh.cfg").read_text(encoding="utf8")
    umlauts = {
        name: "ö" in Path(name, "vocab.txt").read_text(encoding="utf8").splitlines()
        for name in ("vocab-de", "vocab-de-lower")
    }
    assert all(umlauts.values())


def test_python_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Catches an example whose output is another than the page has beside it."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python", PAGE))
    exec(compile(code, "languages.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    said = [line.split("# ", 1)[1] for line in code.splitlines() if "  # [" in line or line.startswith("# [")]  # fmt: skip
    assert len(said) == 6 and printed == said
