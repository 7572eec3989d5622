"""The token store: a corpus as pieces, memory-mapped, so that it may be larger than memory.

    STORE/
      manifest.json    what it is: counts, vocabulary, sources; sizes and checksums of the rest
      pieces.bin       (n_pieces,) uint16 or uint32      | the d ##og | ran . | he sat . | ...
      sentences.bin    (n_sentences + 1,) int64          0            3       5          8
      documents.bin    (n_documents + 1,) int64          0                    2          ...
      tokenizer/       the vocabulary, as `WordPieceTokenizer.to_disk` writes it

Numbers are little-endian. Sentences have no [CLS] and [SEP]; none is empty, and no document is.
`store_writer.py` writes it; a store never changes.
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np

from ..wordpiece import WordPieceTokenizer
from .manifest import Manifest, checksum
from .randomness import generator

MANIFEST, TOKENIZER = "manifest.json", "tokenizer"
PIECES, SENTENCES, DOCUMENTS = "pieces.bin", "sentences.bin", "documents.bin"
OFFSET_TYPE = "<i8"
_HELD_OUT = 0x5EED  # the purpose of a draw, unlike those of streams


class TokenStore:
    """A corpus as pieces; open one with `TokenStore.open`. Read-only; threads can share it.

    pieces (np.ndarray): All pieces, shape (n_pieces,), uint16 or uint32, memory-mapped.
    sentence_offsets (np.ndarray): First piece of each sentence, and the end, shape
        (n_sentences + 1,), int64, memory-mapped.
    document_offsets (np.ndarray): First sentence of each document, and the end, shape
        (n_documents + 1,), int64.
    manifest (Manifest): What it is.
    tokenizer (WordPieceTokenizer): The vocabulary.
    path (Path): The folder.
    """

    def __init__(self, path: Path, manifest: Manifest, tokenizer: WordPieceTokenizer) -> None:
        """path (Path): The folder, its files checked.
        manifest (Manifest): Its manifest.
        tokenizer (WordPieceTokenizer): Its vocabulary."""
        self.path, self.manifest, self.tokenizer = path, manifest, tokenizer
        self.pieces = _map(path / PIECES, manifest.piece_type)
        self.sentence_offsets = _map(path / SENTENCES, OFFSET_TYPE)
        self.document_offsets = _map(path / DOCUMENTS, OFFSET_TYPE)

    @classmethod
    def open(
        cls, path: Union[str, Path], *, tokenizer: Optional[WordPieceTokenizer] = None
    ) -> "TokenStore":
        """Open a store. Checks what costs nothing: the manifest, the sizes of all files, the ends
        of the offsets, the vocabulary. `verify` reads everything.

        path (Union[str, Path]): The folder.
        tokenizer (Optional[WordPieceTokenizer]): The vocabulary that the store must have been made
            with.
        RETURNS (TokenStore): The store.
        RAISES (FileNotFoundError): There is none.
        RAISES (ValueError): It is torn or damaged, or made with another vocabulary.
        """
        path = Path(path).expanduser()
        if not (path / MANIFEST).is_file():
            raise FileNotFoundError(_no_store(path))
        manifest = Manifest.from_disk(path / MANIFEST)
        if tokenizer is not None and tokenizer.fingerprint != manifest.tokenizer:
            raise ValueError(
                f"The store {path} was made with another vocabulary: found {manifest.vocab_size:,} "
                f"pieces with the fingerprint {manifest.tokenizer[:12]}, expected "
                f"{len(tokenizer):,} with {tokenizer.fingerprint[:12]}. Its ids would mean other "
                f"pieces. Prepare the text with this vocabulary, or use the store's own: "
                f"{path / TOKENIZER}."
            )
        for name, content in manifest.files.items():
            file = path / name
            size = file.stat().st_size if file.is_file() else None
            if size != content.bytes:
                found = "no file" if size is None else f"{size:,} bytes"
                raise _damaged(file, f"found {found}, expected {content.bytes:,} bytes")
        pieces = WordPieceTokenizer.from_disk(path / TOKENIZER)
        if pieces.fingerprint != manifest.tokenizer:
            raise _damaged(path / TOKENIZER, "it is not the vocabulary that the manifest names")
        store = cls(path, manifest, pieces)
        for name, offsets, end in (
            (SENTENCES, store.sentence_offsets, len(store.pieces)),
            (DOCUMENTS, store.document_offsets, len(store.sentence_offsets) - 1),
        ):
            if offsets[0] != 0 or offsets[-1] != end:
                raise _damaged(path / name, f"it ends at {offsets[-1]:,}, expected {end:,}")
        return store

    def verify(self) -> None:
        """Read all files, and compare them with their checksums. About a second a GB, and what the disk takes.

        RAISES (ValueError): One has changed since it was written.
        """
        for name, content in self.manifest.files.items():
            found = file_checksum(self.path / name)
            if found != content.sha256:
                raise _damaged(
                    self.path / name, f"its SHA-256 is {found}, expected {content.sha256}"
                )

    @cached_property
    def fingerprint(self) -> str:
        """RETURNS (str): SHA-256, in hexadecimal, of all that batches depend on: equal for stores
        with the same text in the same pieces, wherever they are."""
        files = {name: self.manifest.files[name].sha256 for name in (PIECES, SENTENCES, DOCUMENTS)}
        return checksum({"tokenizer": self.manifest.tokenizer, **files})

    @property
    def documents(self) -> np.ndarray:
        """RETURNS (np.ndarray): First sentence of each document, and the end, shape
        (n_documents, 2), int64."""
        return np.stack([self.document_offsets[:-1], self.document_offsets[1:]], axis=1)

    def split(self, held_out: float, *, seed: int) -> Tuple[np.ndarray, np.ndarray]:
        """Hold documents out, to evaluate on.

        Of four documents or more, at least two are on either side, as next-sentence prediction
        needs; of two or three, at least one. A single document is held out from in part: a stretch
        of sentences at its end.

        held_out (float): Which share of the documents (of the pieces, where there is one); 0: none.
        seed (int): Decides which.
        RETURNS (Tuple[np.ndarray, np.ndarray]): Those to train on and those held out, each in the
            order of the store: first sentence and end, shape (n, 2), int64.
        RAISES (ValueError): The share is out of range, or there is one sentence only.
        """
        if not 0 <= held_out < 1:
            raise ValueError(f"held_out is {held_out}; expected a share: 0 or more, less than 1.")
        documents = self.documents
        n = len(documents)
        if held_out == 0:
            return documents, documents[:0]
        if n == 1:
            return self._split_single(held_out)
        least = 2 if n >= 4 else 1
        n_held = min(max(round(held_out * n), least), n - least)
        chosen = np.zeros(n, dtype=bool)
        chosen[generator(_HELD_OUT, seed).permutation(n)[:n_held]] = True
        return documents[~chosen], documents[chosen]

    def _split_single(self, held_out: float) -> Tuple[np.ndarray, np.ndarray]:
        n_sentences = len(self.sentence_offsets) - 1
        if n_sentences < 2:
            raise ValueError(
                f"The store {self.path} has one document of one sentence: nothing can be held out. "
                "Give more text, split it into sentences, or set held_out = 0."
            )
        border = round((1 - held_out) * len(self.pieces))
        cut = int(np.searchsorted(self.sentence_offsets, border))
        cut = min(max(cut, 1), n_sentences - 1)
        return np.array([[0, cut]]), np.array([[cut, n_sentences]])

    def __len__(self) -> int:
        """RETURNS (int): The number of documents."""
        return len(self.document_offsets) - 1

    def sentence(self, index: int) -> np.ndarray:
        """index (int): Number of a sentence.
        RETURNS (np.ndarray): Its pieces, shape (n_pieces,)."""
        start, end = self.sentence_offsets[index : index + 2]
        return self.pieces[start:end]

    def __repr__(self) -> str:
        m = self.manifest
        return (
            f"<TokenStore {self.path}: {m.n_pieces:,} pieces, {m.n_sentences:,} sentences, "
            f"{m.n_documents:,} documents>"
        )


def file_checksum(path: Path) -> str:
    """path (Path): A file.
    RETURNS (str): Its SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def piece_type(vocab_size: int) -> str:
    """vocab_size (int): How many pieces there are.
    RETURNS (str): The smallest NumPy type that holds every id."""
    return "<u2" if vocab_size <= 1 << 16 else "<u4"


def _map(path: Path, dtype: str) -> np.ndarray:
    # As a plain array: np.memmap's own class makes every slice three times as slow.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _damaged(file: Path, what: str) -> ValueError:
    return ValueError(
        f"{file} is damaged: {what}. Prepare the text again (spacy_bert prepare), or fetch the "
        "store again."
    )


def _no_store(path: Path) -> str:
    expected = f"expected a folder with {MANIFEST}, as `spacy_bert prepare` writes it."
    if not path.exists():
        return f"There is no store {path} (looked from {Path.cwd()}); {expected} Check the path."
    if not path.is_dir():
        return f"{path} is a file; {expected} Give the folder."
    names: List[str] = sorted(entry.name for entry in path.iterdir())
    found = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"
    return f"{path} is no token store: found {found}; {expected} Check the path."
