"""Writes a token store: piece by piece, of any size, in a temporary folder that is renamed at the end.

.STORE-1a2b3c4d.tmp/       while it is written; locked, so that one without a writer is known
.STORE-1a2b3c4d.old.tmp/   an earlier one, while the new one takes its name
STORE/                     complete, and on the disk
"""

import glob
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Dict, Iterable, List, NamedTuple, Optional, Sequence, Type, Union

import numpy as np

from ..files import FULL, kind_of, make_folder, sync
from ..wordpiece import WordPieceTokenizer
from .manifest import FORMAT, Content, Manifest, Source
from .store import (
    DOCUMENTS,
    MANIFEST,
    OFFSET_TYPE,
    PIECES,
    SENTENCES,
    TOKENIZER,
    TokenStore,
    file_checksum,
    piece_type,
)

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

OLD = ".old.tmp"


class Encoded(NamedTuple):
    """Documents as pieces.

    ids (np.ndarray): The pieces of all sentences, shape (n_pieces,), integers.
    lengths (np.ndarray): Pieces of each sentence, shape (n_sentences,); sentences without pieces
        are left out when they are written.
    counts (np.ndarray): Sentences of each document, shape (n_documents,).
    continues (bool): Whether what comes next belongs to the last of these documents.
    """

    ids: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray
    continues: bool = False


def write_store(
    path: Union[str, Path],
    documents: Iterable[Sequence[str]],
    tokenizer: WordPieceTokenizer,
    *,
    force: bool = False,
) -> TokenStore:
    """Write a store of documents that are at hand. For files, there is `prepare`.

    path (Union[str, Path]): The folder; there must be none, or an empty one.
    documents (Iterable[Sequence[str]]): The sentences of each document.
    tokenizer (WordPieceTokenizer): The vocabulary.
    force (bool): Replace a store that is there.
    RETURNS (TokenStore): The store.
    RAISES (ValueError): No piece comes of the documents.
    RAISES (FileExistsError): There is something at `path`.
    RAISES (OSError): The disk does not take it. Nothing is left behind then.
    """
    with StoreWriter(path, tokenizer, force=force) as writer:
        for sentences in documents:
            ids, lengths = tokenizer.encode_ids_batch(sentences)
            writer.add(Encoded(ids, lengths, np.array([len(lengths)])))
        return writer.finish()


class StoreWriter:
    """Writes one store. A context: whatever ends it before `finish` does leaves nothing behind."""

    def __init__(
        self, path: Union[str, Path], tokenizer: WordPieceTokenizer, *, force: bool = False
    ) -> None:
        """path (Union[str, Path]): The folder; there must be none, or an empty one.
        tokenizer (WordPieceTokenizer): The vocabulary of the pieces.
        force (bool): Replace a store that is there; never anything else.
        RAISES (FileExistsError): There is something at `path`."""
        self.path = Path(path).expanduser().resolve()
        self._force = force
        check_free(self.path, force=force)
        self.tokenizer = tokenizer
        self._temporary = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex[:8]}.tmp")
        self._type = piece_type(len(tokenizer))
        self._files: Dict[str, BinaryIO] = {}
        self._lock: Optional[int] = None
        self._histogram = np.zeros(len(tokenizer), dtype=np.int64)
        self.n_pieces = self.n_sentences = self.n_documents = self.n_without_pieces = 0
        self._open_sentences: Optional[int] = None  # of the document that is not at its end

    def __enter__(self) -> "StoreWriter":
        _remove_abandoned(self.path)
        check_free(self.path, force=self._force)  # a store may have got its name back
        make_folder(self.path.parent)
        try:
            self._temporary.mkdir()
            self._lock = _lock(self._temporary)
            for name in (PIECES, SENTENCES, DOCUMENTS):
                self._files[name] = (self._temporary / name).open("wb")
            for name in (SENTENCES, DOCUMENTS):
                self._write(name, np.zeros(1, dtype=OFFSET_TYPE))
        except OSError as error:
            self._clean()
            raise self._explained(error) from error
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._clean()

    def add(self, encoded: Encoded) -> None:
        """encoded (Encoded): What comes next.
        RAISES (OSError): The disk does not take it."""
        lengths, counts = encoded.lengths, encoded.counts.astype(np.int64)
        document = np.repeat(np.arange(len(counts)), counts)
        kept = lengths > 0
        counts = np.bincount(document[kept], minlength=len(counts))
        lengths = lengths[kept]
        if self._open_sentences is not None and len(counts):
            counts[0] += self._open_sentences
            self._open_sentences = None
        if encoded.continues and len(counts):
            self._open_sentences = int(counts[-1])
            counts = counts[:-1]
        self._histogram += np.bincount(encoded.ids, minlength=len(self._histogram))
        try:
            self._write(PIECES, encoded.ids.astype(self._type))
            self._write(SENTENCES, (self.n_pieces + np.cumsum(lengths)).astype(OFFSET_TYPE))
            self.n_pieces += len(encoded.ids)
            self.n_sentences += len(lengths)
            self._end_documents(counts)
        except OSError as error:
            raise self._explained(error) from error

    def finish(
        self, *, sources: Iterable[Source] = (), reader: str = "", splitter: str = ""
    ) -> TokenStore:
        """Give the store its name.

        sources (Iterable[Source]): The files that were read.
        reader (str): What read them.
        splitter (str): What made sentences of their paragraphs.
        RETURNS (TokenStore): The store.
        RAISES (ValueError): It would be empty.
        RAISES (OSError): The disk does not take it.
        """
        if self._open_sentences is not None:
            raise ValueError("The last document goes on: add the rest of it, or say that it ends.")
        if not self.n_documents:
            raise ValueError(
                f"There is no text: no piece came of {self.n_without_pieces:,} documents; expected "
                "at least one. Check the inputs, and that the reader is the one for their format."
            )
        try:
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()
            self.tokenizer.to_disk(self._temporary / TOKENIZER)
            manifest = self._manifest(tuple(sources), reader, splitter)
            (self._temporary / MANIFEST).write_text(manifest.to_json(), encoding="utf8")
            for path in [*self._temporary.rglob("*"), self._temporary]:
                sync(path)
        except OSError as error:
            raise self._explained(error) from error
        try:
            # Hours may have gone by, and another process may have been quicker.
            check_free(self.path, force=self._force)
        except FileExistsError as error:
            raise FileExistsError(
                f"{error} It was not there when this store was begun. Nothing is left of this one."
            ) from None
        try:
            self._publish()
        except OSError as error:
            raise self._explained(error) from error
        return TokenStore.open(self.path)

    def _write(self, name: str, numbers: np.ndarray) -> None:
        self._files[name].write(numbers.tobytes())

    def _end_documents(self, counts: np.ndarray) -> None:
        """counts (np.ndarray): Sentences of each document that has come to its end."""
        kept = counts[counts > 0]
        self.n_without_pieces += len(counts) - len(kept)
        self.n_documents += len(kept)
        before = self.n_sentences - (self._open_sentences or 0) - int(kept.sum())
        self._write(DOCUMENTS, (before + np.cumsum(kept)).astype(OFFSET_TYPE))

    def _manifest(self, sources: Sequence[Source], reader: str, splitter: str) -> Manifest:
        most = int(self._histogram.argmax())
        names: List[Path] = sorted(path for path in self._temporary.rglob("*") if path.is_file())
        return Manifest(
            format=FORMAT,
            tokenizer=self.tokenizer.fingerprint,
            vocab_size=len(self.tokenizer),
            piece_type=self._type,
            n_pieces=self.n_pieces,
            n_unknown=int(self._histogram[self.tokenizer.unk_id]),
            n_sentences=self.n_sentences,
            n_documents=self.n_documents,
            n_without_pieces=self.n_without_pieces,
            most_frequent_id=most,
            most_frequent_count=int(self._histogram[most]),
            reader=reader,
            splitter=splitter,
            sources=tuple(sources),
            files={
                path.relative_to(self._temporary).as_posix(): Content(
                    path.stat().st_size, file_checksum(path)
                )
                for path in names
            },
        )

    def _publish(self) -> None:
        """Give the finished folder its name; an earlier store goes when this one is there."""
        earlier = None
        if self._force and self.path.is_dir() and any(self.path.iterdir()):
            earlier = self._temporary.with_suffix(OLD)
            self.path.rename(earlier)
        elif self.path.is_dir():
            self.path.rmdir()  # fails if something has come into it
        try:
            self._temporary.rename(self.path)
        except BaseException:
            if earlier is not None and self._temporary.exists():
                earlier.rename(self.path)
            raise
        sync(self.path.parent)
        if earlier is not None:
            shutil.rmtree(earlier, ignore_errors=True)

    def _clean(self) -> None:
        for file in self._files.values():
            # A full disk does not take what is left to write; it is thrown away anyway.
            with suppress(OSError):
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _explained(self, error: OSError) -> OSError:
        remedy = "Choose another folder"
        if error.errno in FULL:
            remedy = (
                f"It needs some {np.dtype(self._type).itemsize} bytes a piece and 8 bytes a sentence: "
                f"make room, or choose another folder"
            )
        return OSError(
            error.errno,
            f"The store {self.path} could not be written after {self.n_pieces:,} pieces: "
            f"{error.strerror or error}. Nothing is left of it. {remedy}",
        )


def check_free(path: Path, *, force: bool) -> None:
    """path (Path): Where a store is to be.
    force (bool): Whether a store may be there already.
    RAISES (FileExistsError): There is something else, or a store without `force`."""
    if not path.exists():
        return
    if not path.is_dir():
        raise FileExistsError(
            f"{path} is {kind_of(path)}, but a store is a folder. Choose another name."
        )
    if not any(path.iterdir()) or (force and (path / MANIFEST).is_file()):
        return
    if (path / MANIFEST).is_file():
        raise FileExistsError(
            f"There is a store at {path} already. Choose another folder, or replace it (--force)."
        )
    names = ", ".join(sorted(entry.name for entry in path.iterdir())[:8])
    raise FileExistsError(
        f"{path} is not empty: found {names}; expected no such folder, or a store to replace "
        "(--force). Choose another folder."
    )


def _remove_abandoned(path: Path) -> None:
    """Remove what killed runs left behind: temporary folders that no living process has locked. The
    store that one of them was about to replace gets its name back."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}-????????.*tmp"):
        if fcntl is None:
            continue
        try:
            os.close(_lock(temporary))  # type: ignore[arg-type]
        except OSError:  # its writer is alive
            continue
        if temporary.name.endswith(OLD) and not path.exists():
            temporary.rename(path)
        else:
            shutil.rmtree(temporary, ignore_errors=True)


def _lock(folder: Path) -> Optional[int]:
    """folder (Path): A folder.
    RETURNS (Optional[int]): Holds the lock until it is closed; None where there are no locks.
    RAISES (OSError): Another process has it."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
