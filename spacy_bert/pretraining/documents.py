"""Raw files -> documents of paragraphs; the splitter, a paragraph -> sentences, is a Callable.

    find_files([...]) -> files ─ reader_for ─> reader ─ split ─> parts ─ parse ─> RawDocument
                                                       cheap, in one         the work, in any
                                                       process, in order     process

Memory does not grow with the corpus: readers are generators, and no document is longer than
`MAX_DOCUMENT`. Readers and parts can be pickled, so that worker processes can parse.
"""

import os
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Set,
    Union,
)

from ..files import kind_of

# Characters. A plain-text file is one document as a rule, and may be as large as a disk: longer
# ones go on as another document. War and Peace has 3.2 million.
MAX_DOCUMENT = 5_000_000
# A longer line is cut at a blank; within what spaCy takes as one text (nlp.max_length).
MAX_PARAGRAPH = 500_000

COMPRESSED = (".gz", ".bz2", ".xz")


class RawDocument(NamedTuple):
    """A text whose sentences belong together: an article, a book.

    source (str): Where it begins, for messages: "corpus/file.txt:120".
    paragraphs (List[str]): Its prose. No paragraph is empty, has a line break, two blanks in a
        row, or a lone surrogate.
    """

    source: str
    paragraphs: List[str]


Reader = Callable[[Path], Iterator[RawDocument]]
Splitter = Callable[[str], List[str]]


class Paragraphs:
    """The splitter that takes every paragraph for one sentence."""

    def __call__(self, paragraph: str) -> List[str]:
        """paragraph (str): A paragraph.
        RETURNS (List[str]): The paragraph; nothing if it is blank."""
        return [paragraph.strip()] if paragraph.strip() else []

    def __repr__(self) -> str:
        return "Paragraphs()"


# File endings, without that of compression -> the name of the reader in `spacy_readers`.
READERS: Dict[str, str] = {
    ".txt": "spacy-bert.TextFiles.v1",
    ".text": "spacy-bert.TextFiles.v1",
    ".tokens": "spacy-bert.TextFiles.v1",
    ".raw": "spacy-bert.TextFiles.v1",
    ".md": "spacy-bert.TextFiles.v1",
    ".jsonl": "spacy-bert.JsonlDocuments.v1",
    ".ndjson": "spacy-bert.JsonlDocuments.v1",
    ".xml": "spacy-bert.WikiDump.v1",
}
GUTENBERG = "spacy-bert.Gutenberg.v1"


def find_files(inputs: Sequence[Union[str, Path]], *, any_ending: bool = False) -> List[Path]:
    """Find the files of a corpus.

    inputs (Sequence[Union[str, Path]]): Files, and folders, which are searched to the bottom.
    any_ending (bool): Take every file of a folder, and not only those whose ending tells how to
        read them. Hidden files are left out in any case.
    RETURNS (List[Path]): The files in the order of the inputs, those of a folder in the order of
        their names, on every system alike; none of them twice. Links are followed. Pipes, sockets and
        devices are left out of folders. Of files that are left out for their ending, a warning is given.
    RAISES (ValueError): There are no inputs, a folder has no file to read, or an input is neither file
        nor folder, and not every ending will do.
    RAISES (FileNotFoundError): An input does not exist.
    RAISES (OSError): A folder cannot be opened.
    """
    if not inputs:
        raise ValueError("There is nothing to read: found no input; expected files or folders.")
    found: Dict[Path, Path] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            files = sorted(_walk(given), key=lambda file: file.relative_to(given).parts)
            kept = [file for file in files if any_ending or _ending(file) in READERS]
            if not kept:
                names = ", ".join(file.name for file in files[:8]) or "nothing"
                raise ValueError(
                    f"{given} has no file to read: found {names}; expected files that end in "
                    f"{_endings()}. Name a reader (--reader) to have all of them read, or name "
                    f"the files one by one."
                )
            left_out = sorted({*files} - {*kept})
            if left_out:
                warnings.warn(
                    f"Left out: {len(left_out):,} of the {len(files):,} files in {given}, {left_out[0]} "
                    f"first, as a name has to end in {_endings()}. If they are text, rename them, or "
                    f"name a reader (--reader) for all files.",
                    stacklevel=2,
                )
        elif given.is_file() or (any_ending and given.exists()):
            kept = [given]
        elif given.exists():
            raise ValueError(
                f"{given} is {kind_of(given)}; expected a file or a folder, as a file is opened twice to see "
                f"how to read it. Name a reader (--reader), or write what comes out of it to a file."
            )
        else:
            raise FileNotFoundError(
                f"{given} does not exist (looked from {Path.cwd()}); expected a file or a folder. "
                f"Check the path."
            )
        for file in kept:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def reader_for(path: Path) -> Reader:
    """The reader for a file, with its default settings: by the ending of its name; a plain text
    with the marks of Project Gutenberg is a Gutenberg book.

    path (Path): A file.
    RETURNS (Reader): What reads it.
    RAISES (ValueError): The ending is not known.
    """
    path = Path(path)
    name = READERS.get(_ending(path))
    if name is None:
        raise ValueError(
            f"It is not clear how to read {path}: its name ends in {_ending(path) or 'nothing'!r}; "
            f"expected {_endings()}. Rename it, or name a reader (--reader)."
        )
    if name == READERS[".txt"]:
        from .formats.gutenberg import is_gutenberg

        if is_gutenberg(path):
            name = GUTENBERG
    return make_registered("spacy_readers", name)


def make_registered(group: str, name: str, **settings: Any) -> Any:
    """Make a reader or a splitter by the name it is registered under, where spaCy is not needed:
    spaCy's registries look into the same entry points.

    group (str): "spacy_readers" or "spacy_misc".
    name (str): Its name, such as "spacy-bert.TextFiles.v1"; of ours, "TextFiles" is enough.
    **settings: What the registered function takes.
    RETURNS (Any): What the function returns.
    RAISES (ValueError): There is no such name, or it takes no such settings.
    """
    known = {entry.name: entry for entry in entry_points(group=group)}
    entry = known.get(name) or known.get(f"spacy-bert.{name}.v1")
    if entry is None:
        ours = ", ".join(sorted(known)) or "none: the package is not installed"
        raise ValueError(f"{name!r} is not registered in {group}; found {ours}. Check the name.")
    try:
        return entry.load()(**settings)
    except TypeError as error:
        raise ValueError(f"{entry.name} does not take these settings: {error}.") from None


def read_documents(files: Iterable[Path], reader: "Reader | None" = None) -> Iterator[RawDocument]:
    """Read files, one after the other.

    files (Iterable[Path]): Files, as `find_files` returns them.
    reader (Optional[Reader]): What reads them; without it, each is read by its ending.
    YIELDS (RawDocument): Their documents.
    """
    for file in files:
        yield from (reader or reader_for(file))(file)


def split_file(reader: Reader, path: Path) -> Iterator[Any]:
    """The cheap half of reading, for one process, in order.

    reader (Reader): A reader.
    path (Path): A file.
    YIELDS (Any): Parts of the file that `parse_part` makes documents of, independent of each
        other, and that can be pickled. For most readers they are the documents.
    """
    split = getattr(reader, "split", reader)
    return iter(split(path))


def parse_part(reader: Reader, part: Any) -> List[RawDocument]:
    """The dear half of reading, for any process.

    reader (Reader): The reader that `split_file` was called with.
    part (Any): What it yielded.
    RETURNS (List[RawDocument]): The documents in it: none, one or several.
    """
    parse = getattr(reader, "parse", None)
    return [part] if parse is None else list(parse(part))


def split_paragraphs(splitter: Splitter, paragraphs: Sequence[str]) -> List[List[str]]:
    """Split paragraphs into sentences, all at once where the splitter is faster so.

    splitter (Splitter): What splits one; with a method `batch`, it splits many.
    paragraphs (Sequence[str]): The paragraphs.
    RETURNS (List[List[str]]): For each its sentences.
    """
    batch = getattr(splitter, "batch", None)
    return [splitter(text) for text in paragraphs] if batch is None else batch(paragraphs)


def _walk(folder: Path) -> Iterator[Path]:
    been: Set[str] = set()
    for root, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        # A link may lead to a folder that it is in.
        real = os.path.realpath(root)
        if real in been:
            folders[:] = []
            continue
        been.add(real)
        # In order: of a link and what it leads to, the first is read, on every system alike.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            file = Path(root, name)
            # To open a pipe is to wait for a writer. A link that leads nowhere stays, and is an error.
            if not name.startswith(".") and (file.is_file() or not file.exists()):
                yield file


def _raise(error: OSError) -> None:
    raise error


def _ending(path: Path) -> str:
    """The ending that tells the format, in lower case: ".jsonl" of "a.JSONL.gz"."""
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower()


def _endings() -> str:
    return f"{', '.join(READERS)} (also with {', '.join(COMPRESSED)})"
