"""Files that nobody finds by halves: they are written under another name, and renamed at the end."""

import errno
import glob
import os
import stat
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

# What a system says when a disk has no room, or a user none on it.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Bytes of a name that leave no room for more; systems take 255.
LONG = 200
HOUR = 3600


@contextmanager
def replacing(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Write a file at once: whatever ends the context, there is the new file or what was there before.

    >>> with replacing(Path("page.html")) as temporary:
    ...     temporary.write_text("<p>")

    Links are followed: the file that they lead to is replaced, and keeps its permissions. A device or
    a pipe cannot be replaced; it is written to.

    path (Path): The file. Its folder exists.
    synced (bool): Whether to wait until the disk has it, so that it outlasts a power failure, too.
    YIELDS (Path): Where to write: an empty file beside it.
    RAISES (OSError): The disk does not take it. The error names the file, and not the one beside it.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        yield path
        return
    target = path.resolve()
    name = target.name if len(os.fsencode(target.name)) < LONG else ""
    temporary = target.with_name(f".{name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    _remove_leftovers(target)
    try:
        # As closed as the old file is from the beginning: what is in it may be secret.
        temporary.touch(
            0o666 if mode is None else stat.S_IMODE(mode) | stat.S_IWUSR, exist_ok=False
        )
        yield temporary
        if synced:
            sync(temporary)
        if mode is not None:
            with suppress(PermissionError):  # on disks that know no permissions
                temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, target)
        if synced:
            sync(target.parent)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        # A disk that takes nothing may not take this either; the first error says more.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what writers of a file left behind that were killed, if it is old."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > HOUR:
                leftover.unlink()


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, unless it is there.

    path (Path): The folder.
    RAISES (OSError): It cannot be made; the error names what is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        for place in (path, *path.parents):
            if os.path.lexists(place) and not place.is_dir():
                raise NotADirectoryError(
                    f"{place} is {kind_of(place)}, but a folder is needed there. Choose another place, "
                    f"or remove it."
                ) from None
        raise OSError(
            error.errno,
            f"The folder {path} could not be made: {error.strerror}. Choose another place",
        ) from error


def kind_of(path: Path) -> str:
    """path (Path): Something that exists.
    RETURNS (str): What to call it in a message."""
    if path.is_dir():
        return "a folder"
    if path.is_symlink() and not path.exists():
        return f"a link to {os.readlink(path)}, which does not exist"
    return "a file" if path.is_file() else "a device or a pipe"


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    path (Path): The file or the folder.
    """
    is_folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    except PermissionError:
        if is_folder:  # Windows opens none, and one can be written to that cannot be read
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
