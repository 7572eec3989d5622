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


def test_through_a_link(run, tmp_path):
    """Catches a link that the page replaces, and a page for one reader that all can read."""
    folder = write_log(tmp_path / "run", usual())
    (tmp_path / "page.html").touch(0o600)
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert run("report", folder, "-o", tmp_path / "link.html").exit_code == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text("utf8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600


def test_no_folder_to_write_into(run, tmp_path):
    """Catches a bare "File exists"."""
    folder = write_log(tmp_path / "run", usual())
    (tmp_path / "file").write_text("mine")
    result = run("report", folder, "-o", tmp_path / "file" / "page.html")
    assert result.exit_code == 1 and "file is a file, but a folder is needed" in result.stderr


def test_refuses_in_one_message(run, tmp_path):
    """Catches a traceback where there is nothing to report, and a page left behind."""
    for folder in (tmp_path / "none", write_log(tmp_path / "run", [start()])):
        result = run("report", folder)
        assert (result.exit_code, result.stdout) == (1, "") and str(folder) in result.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.cfg", "metrics.jsonl"]  # fmt: skip
