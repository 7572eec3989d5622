"""How far reading has come: the bytes of a file that were read, as it is on the disk.

    with counting(bar.update):
        for document in read_documents(files):   # whatever the reader does with a file

A compressed file counts as compressed, so that what is left of it is known from the beginning.
"""

import io
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Callable, Iterator, Optional, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Listener = Callable[[int], None]
_listener: "ContextVar[Optional[Listener]]" = ContextVar("listener", default=None)


@contextmanager
def counting(listener: Listener) -> Iterator[None]:
    """Have a function told of all that is read in this context.

    listener (Listener): Called with a number of bytes each time that some were read.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def open_counted(path: Path) -> BinaryIO:
    """path (Path): A file.
    RETURNS (BinaryIO): The file, as it is on the disk."""
    listener = _listener.get()
    file = path.open("rb", buffering=0)
    return cast(BinaryIO, io.BufferedReader(file if listener is None else _Counted(file, listener)))


class _Counted(io.RawIOBase):
    def __init__(self, file: io.FileIO, listener: Listener) -> None:
        self._file, self._listener = file, listener

    def readinto(self, buffer: "WriteableBuffer") -> int:
        n_bytes = self._file.readinto(buffer) or 0
        self._listener(n_bytes)
        return n_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()
        super().close()
