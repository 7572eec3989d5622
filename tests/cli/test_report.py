"""`report`: a page of a run, by the command line."""

import pytest

from tests.pretraining.logs import start, usual, write_log

pytest.importorskip("matplotlib")


def test_writes_and_says_where(run, tmp_path):
    """Catches a page that is written elsewhere than is said."""
    folder = write_log(tmp_path / "run", usual())
    result = run("report", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'report.html'}\n"), result.output
    assert (folder / "report.html").read_text("utf8").startswith("<!DOCTYPE html>")
    result = run("report", folder, "--output", tmp_path / "other.html")
    assert result.exit_code == 0
    assert (tmp_path / "other.html").read_bytes() == (folder / "report.html").read_bytes()


def test_several(run, tmp_path):
    """Catches a comparison that takes the first run only."""
    folders = [write_log(tmp_path / name, usual()) for name in ("one", "other")]
    result = run("report", *folders, "-o", tmp_path / "both.html")
    assert result.exit_code == 0, result.output
    assert "other</th>" in (tmp_path / "both.html").read_text("utf8")


def test_refuses_in_one_message(run, tmp_path):
    """Catches a traceback where there is nothing to report, and a page left behind."""
    for folder in (tmp_path / "none", write_log(tmp_path / "run", [start()])):
        result = run("report", folder)
        assert (result.exit_code, result.stdout) == (1, "") and str(folder) in result.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.cfg", "metrics.jsonl"]  # fmt: skip
