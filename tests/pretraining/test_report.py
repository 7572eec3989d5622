"""The report: one file, true to what the run wrote down, whatever that is."""

import html
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from spacy_bert.pretraining import write_report
from spacy_bert.pretraining.report import render
from spacy_bert.pretraining.report_facts import time_span
from spacy_bert.pretraining.run_log import read_run

from .logs import CONFIG, evaluation, start, train, usual, write_log
from .runs import make_config, make_store, run_here

pytest.importorskip("matplotlib")

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Text and attributes of a page; every tag has to be closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: List[str] = []
        self.headings: List[str] = []
        self.attributes: List[Tuple[str, str]] = []
        self.words: List[str] = []
        self.cells: List[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h3":
            self.headings.append("")
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "h3" in self.open:
            self.headings[-1] += data
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def report(tmp_path: Path, rows: List[Dict[str, Any]], **options: Any) -> Page:
    return Page(write_report(write_log(tmp_path / "run", rows, **options)).read_text("utf8"))


ALL = [
    "Masked-LM loss", "Masked-LM accuracy", "Next-sentence loss", "Next-sentence accuracy",
    "Learning rate", "Speed", "Model FLOP utilisation", "Gradient norm",
]  # fmt: skip


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run that did happen."""
    folder = tmp_path_factory.mktemp("real")
    make_store(folder / "store")
    run_here(make_config(folder / "store"), folder / "run")
    return folder / "run"


def test_of_a_real_run(real_run: Path) -> None:
    """Catches a report that reads other names than a run writes."""
    file = write_report(real_run)
    assert file == real_run / "report.html"
    page = Page(file.read_text("utf8"))
    assert page.headings == ALL
    text = " ".join(page.words)
    rows = [json.loads(line) for line in (real_run / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if row["event"] == "eval"][-1]
    assert f"{last['mlm_loss']:.3f}" in page.words
    assert f"perplexity {last['mlm_perplexity']:,.1f}" in page.words
    assert f"{last['nsp_accuracy']:.1%}" in page.words
    assert "24" in page.words and "of 24" in page.words
    assert "2 layers, width 16, 2 heads, vocabulary 33, 8,819 parameters" in text
    for sample in last["samples"]:
        assert sample["text"] in text and sample["answer"] in text
    assert (real_run / "config.cfg").read_text("utf8") in page.words


def test_says_what_was_run(tmp_path: Path) -> None:
    """Catches facts and figures that are left out, or of another run."""
    rows = usual()
    cells = report(tmp_path, [*rows[:-3], start(900, "resume"), *rows[-3:]]).cells
    facts = dict(zip(cells[::2], cells[1::2]))
    assert facts["network"] == "mini, 4 layers, width 256, 4 heads, vocabulary 9,000, 5.71 M parameters"  # fmt: skip
    assert facts["objective"] == "masked LM + next sentence, dynamic masks, 15% of the pieces, whole words"  # fmt: skip
    assert facts["read from"] == "corpora/<novels>"
    assert facts["sequences"] == "up to 128 pieces, 512 in the last 10%; 2 x 8,192 pieces a step"
    assert facts["optimizer"] == "AdamW, rate 0.0005, 500 steps of warm-up, then linear"
    assert facts["device"] == "cpu, bf16, 2 threads, matrix products reach 210 GFLOP/s"
    assert facts["begun"] == "2026-11-24 17:03:11 UTC"
    assert facts["resumed"] == "once, after step 900"


def test_needs_nothing_else(tmp_path: Path) -> None:
    """Catches a page that asks the network for something, or runs code."""
    page = report(tmp_path, usual())
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#"), value
        assert not name.startswith("on")
    text = (tmp_path / "run" / "report.html").read_text("utf8")
    assert "<script" not in text and "@import" not in text
    assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", text))
    assert set(re.findall(r"https?://[^\s\"<]+", text)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}  # fmt: skip
    assert "prefers-color-scheme: dark" in text and "@media print" in text


EVIL = '</td><script>alert(1)</script>&amp;"\u2028'


def test_text_stays_text(tmp_path: Path) -> None:
    """Catches markup of a sample, a config or a folder that becomes part of the page."""
    sample = {"text": EVIL, "answer": EVIL, "predictions": [[EVIL, 0.5], ["<b>", 0.2]]}
    rows = [start(device=EVIL), train(50), evaluation(50, samples=[sample])]
    folder = write_log(tmp_path / "<i>run", rows, config=CONFIG + f"# {EVIL}\n")
    text = write_report(folder).read_text("utf8")
    page = Page(text)
    assert "<script" not in text and "<i>" not in text and "<b>alert" not in text
    assert any(EVIL in word for word in page.words)
    assert html.escape(EVIL) in text and "Pretraining: <i>run" in page.words


def test_samples_over_the_run(tmp_path: Path) -> None:
    """Catches predictions of another step or sentence, a hit that is not seen, and steps that are
    not spread over the run."""
    rows: List[Dict[str, Any]] = [start()]
    for step in range(0, 1001, 50):
        told = [["king" if step >= 600 else "man", 0.5], [f"s{step}", 0.25], ["c", 0.1], ["d", 0.1]]
        samples = [
            {"text": f"The [MASK] {i}.", "answer": "king", "predictions": told} for i in "ab"
        ]
        rows.append(evaluation(step, samples=samples))
    text = write_report(write_log(tmp_path, rows)).read_text("utf8")
    page = Page(text)
    begin = page.cells.index("sentence")
    head, first, second = (page.cells[begin + 7 * i : begin + 7 * i + 7] for i in range(3))
    assert head == ["sentence", *(f"step {s:,}" for s in (0, 200, 400, 600, 800, 1000))]
    assert first[0] == "The [MASK] a.king" and second[0] == "The [MASK] b.king"
    assert first[1] == "man 50%s0 25%c 10%" and first[6] == "king ✓ 50%s1000 25%c 10%"
    assert text.count("class=hit") == 6


def test_without_next_sentences(tmp_path: Path) -> None:
    """Catches an empty pair of axes, or null as a figure."""
    page = report(tmp_path, usual(nsp=False))
    assert page.headings == [title for title in ALL if "Next" not in title]
    assert not any("next-sentence" in word for word in page.words)


def test_without_evaluations(tmp_path: Path) -> None:
    """Catches a report that needs held-out documents: training stands in their place."""
    page = report(tmp_path, [row for row in usual() if row["event"] != "eval"])
    assert page.headings == ALL
    assert any("no evaluation" in word for word in page.words)
    assert "masked-LM loss, training" in page.words and "Gaps filled in" not in page.words


@pytest.mark.parametrize(
    "rows, n_curves",
    [
        ([train(50)], 8),
        ([evaluation(0)], 4),
        ([start(), train(50), evaluation(50)], 8),
        ([{"event": "train", "step": 7}], 0),
        ([{"event": "eval", "step": 0, "samples": None}], 0),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_single_row(tmp_path: Path, rows: List[Dict[str, Any]], n_curves: int) -> None:
    """Catches a run that has just begun, or that wrote down less than ours do."""
    page = report(tmp_path, rows, config=None)
    assert len(page.headings) == n_curves


@pytest.mark.parametrize(
    "samples", [7, [7], [{}], [{"text": 1, "answer": None, "predictions": 3}], [{"text": "a", "answer": "b", "predictions": [1, ["x"], ["x", "y"], [1, 2], ["x", None]]}]]
)  # fmt: skip
def test_samples_of_another_form(tmp_path: Path, samples: Any) -> None:
    """Catches a report that fails over its least important part."""
    assert report(tmp_path, [start(), evaluation(1, samples=samples)]).headings


def test_half_a_line_and_damage(tmp_path: Path) -> None:
    """Catches a killed run without a report, and damage that is not mentioned."""
    page = report(tmp_path, usual(), end='oops\n{"event": "train", "st')
    assert any(word.startswith("1 lines of its metrics.jsonl could not be read") for word in page.words)  # fmt: skip


def test_lone_surrogates(tmp_path: Path) -> None:
    """Catches a sample that no file can hold."""
    sample = {"text": "a\ud800", "answer": "\udfff", "predictions": [["\ud800", 0.5]]}
    assert report(tmp_path, [evaluation(1, samples=[sample])]).headings


def test_huge_runs_make_small_pages(tmp_path: Path) -> None:
    """Catches a page of a hundred thousand points that no browser shows."""
    file = write_report(write_log(tmp_path, usual(steps=1_000_000, every=20)))
    assert file.stat().st_size < 1_000_000
    assert "1,000,000" in Page(file.read_text("utf8")).words


def test_several_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches runs whose figures are mixed up, or that cannot be told apart."""
    one = write_log(tmp_path / "one", usual())
    other = write_log(tmp_path / "other", [*usual(nsp=False), train(1050, nsp=False), evaluation(1050, nsp=False, mlm_accuracy=0.444)])  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert write_report([one, other]) == Path("comparison.html")
    page = Page(Path("comparison.html").read_text("utf8"))
    assert page.headings == [*ALL, "Held-out masked-LM loss by time"]
    assert page.cells[:3] == ["", "one", "other"]
    rows = {page.cells[i]: page.cells[i + 1 : i + 3] for i in range(3, 57, 3)}
    assert rows["steps"] == ["1,000 of 1,000", "1,050 of 1,000"]
    assert rows["masked-LM accuracy, held out"][1] == "44.4%, most frequent piece 5.2%"
    assert rows["next-sentence accuracy, held out"] == ["87.6%, more frequent answer 62.0%", "–"]
    text = Path("comparison.html").read_text("utf8")
    assert "var(--c10)" in text and "var(--c11)" in text


def test_runs_of_one_name(tmp_path: Path) -> None:
    """Catches two runs that are called the same."""
    folders = [write_log(tmp_path / name / "run", usual()) for name in ("a", "b")]
    page = Page(render([read_run(folder) for folder in folders]))
    assert page.cells[1:3] == [str(folder) for folder in folders]


def test_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches half a page under the final name, and leftovers."""
    folder = write_log(tmp_path / "run", usual())
    file = tmp_path / "new" / "page.html"
    assert write_report(folder, output=file) == file
    before = file.read_bytes()
    write_report(folder, output=file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
    leftover = file.with_name(".page.html.1.tmp")
    leftover.write_text("x")
    os.utime(leftover, (time.time() - 7200,) * 2)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spacy_bert.files.sync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(write_log(tmp_path / "run", [*usual(), train(2000)]), output=file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_where_to_write(tmp_path: Path) -> None:
    """Catches a folder that is taken for a file; and nothing to report on."""
    folder = write_log(tmp_path / "run", usual())
    with pytest.raises(IsADirectoryError, match="is a folder. Give the name of a file"):
        write_report(folder, output=tmp_path)
    with pytest.raises(ValueError, match="No run was given"):
        write_report([])


@pytest.mark.parametrize(
    "seconds, expected",
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "1 h 00 min"), (11_000, "3 h 03 min"), (400_000, "4.6 days")],
)  # fmt: skip
def test_time_span(seconds: float, expected: str) -> None:
    """Catches "0 h 60 min"."""
    assert time_span(seconds) == expected
