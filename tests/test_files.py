"""Files that are written at once: what is there before, meanwhile and after."""

import os
import resource
import stat
import threading
import time
from pathlib import Path

import pytest

from spacy_bert.files import kind_of, make_folder, replacing


def test_replaced_at_once(tmp_path):
    """Catches half a file under its name, two writers that write to the same one beside it, and one
    that stays behind."""
    file = tmp_path / "a.txt"
    file.write_text("old")
    with replacing(file) as one, replacing(file) as other:
        assert one != other and one.parent == other.parent == tmp_path
        one.write_text("one")
        other.write_text("other")
        assert file.read_text() == "old"
    assert file.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_link_and_permissions_stay(tmp_path):
    """Catches a link that is replaced by a file, and what only its owner could read that all can."""
    (tmp_path / "elsewhere").mkdir()
    file, link = tmp_path / "elsewhere" / "a.txt", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o600)
    link.symlink_to(file)
    with replacing(link) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("new")
    assert link.is_symlink() and file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "elsewhere") == ["a.txt"]
    # A link may lead to where nothing is yet.
    (tmp_path / "other").symlink_to(tmp_path / "elsewhere" / "b.txt")
    with replacing(tmp_path / "other") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "elsewhere" / "b.txt").read_text() == "new"


def test_new_files_are_as_others(tmp_path):
    """Catches a new file that nobody but its owner can read."""
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    (tmp_path / "b.txt").write_text("new")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_a_pipe_is_written_to(tmp_path):
    """Catches a pipe, or a device, that is replaced by a file."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with replacing(pipe) as place:
        place.write_text("new")
    reader.join(timeout=60)
    assert read == ["new"] and pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_a_full_disk(tmp_path):
    """Catches an old file that is lost to a disk that takes no more."""
    (tmp_path / "a.txt").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, before[1]))
    try:
        full = pytest.raises(OSError, match="File too large")
        with full, replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "a.txt").read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_the_first_error_is_said(tmp_path):
    """Catches a reason that is hidden by another: what was written cannot be removed either."""
    first = pytest.raises(ValueError, match="the reason")
    with first, replacing(tmp_path / "a.txt") as temporary:
        temporary.unlink()
        temporary.mkdir()
        raise ValueError("the reason")


def test_errors_name_the_file(tmp_path):
    """Catches a message about a file that its reader has never heard of."""
    file = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError) as error, replacing(file):
        pass
    assert error.value.filename == str(file)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OSError, match="circle"), replacing(tmp_path / "circle"):
        pass
    assert os.listdir(tmp_path) == ["circle"]


def test_folders(tmp_path):
    """Catches "File exists" for something that is no folder, without a word what it is."""
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, kind in [("file", "a file"), ("link", "a link to"), ("pipe", "a device or a pipe")]:
        assert kind_of(tmp_path / name).startswith(kind)
        for path in (tmp_path / name, tmp_path / name / "a" / "b"):
            with pytest.raises(NotADirectoryError, match=f"{name} is {kind}.*Choose another place"):
                make_folder(path)
    assert kind_of(tmp_path) == "a folder"
    with pytest.raises(OSError, match="could not be made: File name too long. Choose"):
        make_folder(tmp_path / ("a" * 300))


def test_leftovers_of_killed_writers(tmp_path: Path) -> None:
    """Catches files as large as the weights that pile up, and one that is removed while it is written."""
    old, new = tmp_path / ".page.1-0123abcd.tmp", tmp_path / ".page.2-0123abcd.tmp"
    for leftover in (old, new):
        leftover.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    with replacing(tmp_path / "page") as temporary:
        temporary.write_text("whole")
    assert not old.exists() and new.exists()
    assert (tmp_path / "page").read_text() == "whole"


def test_long_name(tmp_path: Path) -> None:
    """Catches a name that only became too long."""
    path = tmp_path / ("a" * 250)
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole" and len(list(tmp_path.iterdir())) == 1
