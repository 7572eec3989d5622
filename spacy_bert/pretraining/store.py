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
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np

from ..wordpiece import WordPieceTokenizer
from .randomness import generator

FORMAT = "spacy-bert.TokenStore.v1"
MANIFEST, TOKENIZER = "manifest.json", "tokenizer"
PIECES, SENTENCES, DOCUMENTS = "pieces.bin", "sentences.bin", "documents.bin"
OFFSET_TYPE = "<i8"
_HELD_OUT = 0x5EED  # the purpose of a draw, unlike those of streams


class Source(NamedTuple):
    """A file that went into a store.

    name (str): Its path, as it was given.
    bytes (int): Its size.
    """

    name: str
    bytes: int


class Content(NamedTuple):
    """A file of a store.

    bytes (int): Its size.
    sha256 (str): Its checksum, in hexadecimal.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a store is.

    format (str): Version of the format.
    tokenizer (str): Fingerprint of the vocabulary (`WordPieceTokenizer.fingerprint`).
    vocab_size (int): How many pieces the vocabulary has.
    piece_type (str): NumPy type of the pieces: "<u2" or "<u4".
    n_pieces (int): Pieces of all sentences.
    n_unknown (int): How many of them are [UNK].
    n_sentences (int): Sentences.
    n_documents (int): Documents.
    n_without_pieces (int): Documents that were left out, as no piece came of their text.
    most_frequent_id (int): The piece that is most frequent; of several, the first.
    most_frequent_count (int): How often it is there.
    reader (str): What read the files.
    splitter (str): What made sentences of paragraphs.
    sources (Tuple[Source, ...]): The files that were read.
    files (Dict[str, Content]): The files of the store, by their names in it.
    """

    format: str
    tokenizer: str
    vocab_size: int
    piece_type: str
    n_pieces: int
    n_unknown: int
    n_sentences: int
    n_documents: int
    n_without_pieces: int
    most_frequent_id: int
    most_frequent_count: int
    reader: str
    splitter: str
    sources: Tuple[Source, ...]
    files: Dict[str, Content]

    @property
    def most_frequent_share(self) -> float:
        """RETURNS (float): Share of the most frequent piece: the accuracy of a masked LM that
        always tells this one."""
        return self.most_frequent_count / self.n_pieces

    def to_json(self) -> str:
        """RETURNS (str): The content of manifest.json, with a checksum of its own."""
        data = asdict(self)
        data["sources"] = [source._asdict() for source in self.sources]
        data["files"] = {name: content._asdict() for name, content in self.files.items()}
        return json.dumps({**data, "sha256": _checksum(data)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_disk(cls, path: Path) -> "Manifest":
        """path (Path): A manifest.json.
        RETURNS (Manifest): What it says.
        RAISES (ValueError): It is damaged, or of another format."""
        again = "Prepare the text again (spacy_bert prepare), or fetch the store again."
        try:
            data = json.loads(path.read_bytes())
            found = data.pop("sha256", None) if isinstance(data, dict) else None
        except ValueError as error:
            raise ValueError(f"{path} is damaged: it is no JSON ({error}). {again}") from None
        if not isinstance(data, dict) or "format" not in data:
            raise ValueError(
                f"{path} is not the manifest of a token store: expected the format {FORMAT!r}. "
                "Give a folder that `spacy_bert prepare` wrote."
            )
        if data["format"] != FORMAT:
            raise ValueError(
                f"{path} has the format {data['format']!r}; expected {FORMAT!r}. Prepare the text "
                "again, or use the version of spacy_bert that wrote it."
            )
        if found != _checksum(data) or set(data) != {field.name for field in fields(cls)}:
            raise ValueError(
                f"{path} is damaged: its content does not match its checksum, so it was edited or "
                f"torn. {again}"
            )
        data["sources"] = tuple(Source(**source) for source in data["sources"])
        data["files"] = {name: Content(**content) for name, content in data["files"].items()}
        return cls(**data)


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
        """Read all files, and compare them with their checksums. A second for some GB.

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
        return _checksum({"tokenizer": self.manifest.tokenizer, **files})

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


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf8")).hexdigest()


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
