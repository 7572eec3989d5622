"""The pages in `docs/`: what they tell to type is typed, in order, on toy data."""

import shlex
import shutil
from pathlib import Path
from typing import List

import pytest
from typer.testing import CliRunner

from .pretraining.runs import make_documents
from .test_readme import ROOT, blocks

PAGE = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf8")
# What it takes to have a run over in a second.
SMALL = (
    "--encoder.width 16 --encoder.depth 1 --encoder.heads 2 --encoder.max_positions 512 "
    "--training.max_steps 3 --training.batch_pieces 600 --training.accumulate 1 --training.eval_every 2 "
    "--training.compile false --logging.every 1 --optimizer.warmup_steps 1"
)
KEEPS_SIZES = "--encoder.width null --encoder.depth null --encoder.heads null --encoder.max_positions null"  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page takes for given: texts, a dump, and the config."""
    import bz2

    folder = tmp_path_factory.mktemp("docs")
    (folder / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "pretrain.cfg", folder / "configs")
    for name, word in (("texts", "king"), ("domain", "bishop")):
        (folder / name).mkdir()
        for i, sentences in enumerate(make_documents(12)):
            text = " ".join(f"{sentence.capitalize()} {word}." for sentence in sentences)
            (folder / name / f"{i}.txt").write_text(text, encoding="utf8")
    pages = "".join(
        f"<page><title>P{i}</title><ns>0</ns><id>{i}</id><revision><id>1</id><model>wikitext</model>"
        f"<format>text/x-wiki</format><text>{' '.join(f'{s.capitalize()}.' for s in sentences)}"
        f"</text></revision></page>"
        for i, sentences in enumerate(make_documents(12))
    )
    dump = f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{pages}</mediawiki>'
    path = folder / "enwiki-latest-pages-articles.xml.bz2"
    path.write_bytes(bz2.compress(dump.encode("utf8")))
    return folder


def commands() -> List[str]:
    lines = "\n".join(blocks("sh", PAGE)).splitlines()
    return [line for line in lines if line.startswith("python -m spacy_bert ")]


def small(line: str) -> str:
    """A command of the page, as fast as a test needs it; the later of two options counts."""
    if " pretrain " not in line:
        return line
    line = f"{line} {SMALL}"
    return f"{line} {KEEPS_SIZES}" if "--paths.checkpoint" in line else line


def test_commands_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a command that fails, or does not write what the next one, or the page, says it does."""
    from spacy_bert.cli.app import app

    pytest.importorskip("matplotlib")
    pytest.importorskip("mwparserfromhell")
    monkeypatch.chdir(folder)
    lines = commands()
    assert len(lines) >= 12
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(small(line))[3:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    for name in ("vocab/vocab.txt", "store", "run/report.html", "run/config.cfg", "run/metrics.jsonl", "run/state", "run/checkpoint-best", "run/checkpoint-last", "train.cfg"):  # fmt: skip
        assert (folder / name).exists(), name


def test_python_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    """Catches an example that a first user would stumble over."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(folder)
    code = "\n".join(blocks("python", PAGE))
    for shown, used in (("10_000", "3"), ('size="mini"', "width=16, depth=1, heads=2")):
        assert code.count(shown) == 1
        code = code.replace(shown, used)
    exec(compile(code, "pretraining.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("report.html") and len(printed) == 3
