"""The pages in `docs/`: what they tell to type is typed, in order, on toy data."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import List

import pytest
from typer.testing import CliRunner

from .pipeline.questions import questions, squad_of
from .pretraining.runs import make_documents
from .test_readme import HUB_ID, ROOT, blocks

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


TASKS = (ROOT / "docs" / "tasks.md").read_text(encoding="utf8")
# Where the page names a checkpoint of the hub, what is there.
QUICK = "--training.max_steps 2 --training.eval_frequency 1 --training.batcher.size 40"


@pytest.fixture(scope="module")
def tasks_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of pairs and questions that the page takes for given."""
    folder = tmp_path_factory.mktemp("tasks")
    pairs = [(a, b) for a in ("Alice works", "Bob lives") for b in ("in Paris", "in London", "Bob")]
    rows = {
        "pairs": [(a, b, ("yes", "no")[i % 2]) for i, (a, b) in enumerate(pairs)],
        "sts": [(a, b, f"{i / 2}") for i, (a, b) in enumerate(pairs)],
    }
    for name, ending, delimiter, header in (
        ("pairs", "tsv", "\t", "premise\thypothesis\tlabel\n"),
        ("sts", "csv", ",", ""),
    ):
        (folder / name).mkdir()
        for split in ("train", "dev"):
            lines = "".join(delimiter.join(row) + "\n" for row in rows[name])
            (folder / name / f"{split}.{ending}").write_text(header + lines)
    (folder / "qa").mkdir()
    for split in ("train", "dev"):
        (folder / "qa" / f"{split}.json").write_text(json.dumps(squad_of(questions())))
    glue = {"RTE": ("label", [row[2] for row in rows["pairs"]]), "STS-B": ("score", [row[2] for row in rows["sts"]])}  # fmt: skip
    for name, (column, values) in glue.items():
        (folder / "glue" / name).mkdir(parents=True)
        lines = "".join(f"{a}\t{b}\t{value}\n" for (a, b), value in zip(pairs, values, strict=True))
        for split in ("train", "dev"):
            path = folder / "glue" / name / f"{split}.tsv"
            path.write_text(f"sentence1\tsentence2\t{column}\n{lines}")
    return folder


def test_commands_of_tasks_run(tasks_folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Catches a command that fails, or a file that the next one does not find."""
    from spacy.cli._util import app as spacy_app

    from spacy_bert.cli.app import app

    monkeypatch.chdir(tasks_folder)
    text = "\n".join(blocks("sh", TASKS)).replace(HUB_ID, str(tiny_checkpoint))
    lines = [line for line in text.splitlines() if line]
    assert len(lines) >= 11 and all(line.startswith("python -m spacy") for line in lines)
    for line in lines:
        words = shlex.split(f"{line} {QUICK}" if " spacy train " in line else line)[2:]
        target = app if words[0] == "spacy_bert" else spacy_app
        result = CliRunner().invoke(target, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    for name in (
        "pairs-trained/model-best",
        "sts-trained/model-best",
        "qa-trained/model-best",
        "predictions.json",
        "glue-results/glue.md",
    ):
        assert (tasks_folder / name).exists(), name


def test_python_of_tasks_runs(tasks_folder: Path, minilm_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    """Catches an example that a first user would stumble over. It reads what the commands wrote."""
    monkeypatch.chdir(tasks_folder)
    code = "\n".join(blocks("python", TASKS))
    for name in ("sentence-transformers/all-MiniLM-L6-v2",):
        assert code.count(name) == 1
        code = code.replace(name, str(minilm_path))
    exec(compile(code, "tasks.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("['A man plays a guitar.', 'Somebody makes music.']")
    assert 0.3 < float(printed[-3]) < 0.9 and "Difference" in printed[-1]


def test_task_file_of_the_page(tmp_path: Path) -> None:
    """Catches a task.json that the command would not take."""
    from spacy_bert.evaluation.tasks import read_task

    (block,) = blocks("json", TASKS)
    (tmp_path / "task.json").write_text(block)
    task = json.loads(block)
    for name in (task["train"], *task["splits"].values()):
        (tmp_path / name).touch()
    assert read_task(tmp_path / "task.json").positive == "yes"


def test_python_of_speed_runs(minilm_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Catches a setting of the page on speed that no component takes."""
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf8")
    code = "\n".join(blocks("python", page))
    assert HUB_ID in code
    exec(compile(code.replace(HUB_ID, str(minilm_path)), "speed.md", "exec"), {})
    assert capsys.readouterr().out.startswith("int8")


def test_vectors(minilm_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Catches a page that lists what is not on a Doc, or promises what is not stored."""
    import spacy
    from spacy.tokens import Doc, DocBin

    page = (ROOT / "docs" / "vectors.md").read_text(encoding="utf8")
    [code] = blocks("python", page)
    names: dict = {}
    exec(compile(code.replace(HUB_ID, str(minilm_path)), "vectors.md", "exec"), names)
    [expected] = re.findall(r"# (<BertView.*>)", code)
    assert capsys.readouterr().out.splitlines() == ["(12, 384)", expected]
    nlp, view = names["nlp"], names["doc"]._.bert
    listed = set(re.findall(r"`\.(\w+)", page.split("## What is stored")[0]))
    assert listed == {name for name in dir(view) if not name.startswith("_")} - {"doc"} | {
        "similarity"
    }
    nlp.get_pipe("bert").keep = ["tokens"]
    doc = nlp("Alice lives in Paris.")
    for stores, has_tensor, has_view in (
        (lambda: Doc(nlp.vocab).from_bytes(doc.to_bytes(exclude=["user_hooks"])), True, True),
        (lambda: through(DocBin(store_user_data=True)), False, True),
        (lambda: through(DocBin()), False, False),
    ):

        def through(binary: DocBin) -> Doc:
            binary.add(doc)
            return next(DocBin().from_bytes(binary.to_bytes()).get_docs(spacy.blank("en").vocab))

        read = stores()
        assert bool(read.tensor.size) is has_tensor
        assert (read._.bert is not None) is has_view
        if has_view:
            assert (read._.bert.tokens == doc.tensor).all()
