"""What a token store says of itself: manifest.json, which has a checksum of its own."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Tuple

FORMAT = "spacy-bert.TokenStore.v1"


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
        return json.dumps({**data, "sha256": checksum(data)}, indent=2, ensure_ascii=False) + "\n"

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
        if found != checksum(data) or set(data) != {field.name for field in fields(cls)}:
            raise ValueError(
                f"{path} is damaged: its content does not match its checksum, so it was edited or "
                f"torn. {again}"
            )
        data["sources"] = tuple(Source(**source) for source in data["sources"])
        data["files"] = {name: Content(**content) for name, content in data["files"].items()}
        return cls(**data)


def checksum(data: Mapping[str, Any]) -> str:
    """data (Mapping[str, Any]): What JSON can hold.
    RETURNS (str): SHA-256 of it, in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf8")).hexdigest()
