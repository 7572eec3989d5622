"""`train-vocab`: raw text -> WordPiece vocabulary."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Optional

import typer

from ..files import kind_of

if TYPE_CHECKING:
    from ..pretraining.documents import Reader
    from ..wordpiece import WordPieceTokenizer


def train_vocab(
    inputs: List[Path] = typer.Argument(
        ..., metavar="INPUT", help="Files and folders of raw text."
    ),
    output: Path = typer.Option(..., "--output", "-o", help="Folder of the vocabulary."),
    size: int = typer.Option(
        ..., "--size", "-s", min=1, help="Pieces, special ones and those that exist included."
    ),
    cased: bool = typer.Option(
        False, "--cased", help="Keep upper case and accents; both are dropped otherwise."
    ),
    keep_accents: bool = typer.Option(
        False, "--keep-accents", help="Lower-case, but keep accents (for German, Turkish, ...)."
    ),
    reader: Optional[str] = typer.Option(
        None,
        "--reader",
        help="What reads the files, such as JsonlDocuments or JsonlDocuments:text=content; without "
        "it, by the ending of their names.",
    ),
    min_frequency: int = typer.Option(
        2, "--min-frequency", min=1, help="A piece or character has to come as often as this."
    ),
    alphabet: int = typer.Option(
        1000, "--alphabet", min=1, help="Different characters at most; the rarest are left out."
    ),
    reserve: int = typer.Option(
        0, "--reserve", min=0, help="Pieces [unused0], [unused1], ... to be renamed later."
    ),
    extend: Optional[Path] = typer.Option(
        None,
        "--extend",
        help="A vocabulary or a checkpoint to add the words of a domain to, for continued "
        "pretraining. Of a checkpoint, the weights are extended too.",
    ),
    exact_size: bool = typer.Option(
        False, "--exact-size", help="Fail if the text does not support so many pieces."
    ),
    n_process: Optional[int] = typer.Option(
        None, "--n-process", "-n", min=1, help="Processes that parse MediaWiki dumps; all cores."
    ),
    force: bool = typer.Option(
        False, "--force", "-F", "-f", help="Replace a vocabulary that is there."
    ),
) -> None:
    """Train a WordPiece vocabulary on raw text.

    The same text gives the same vocabulary, byte for byte. The folder can be opened by HuggingFace's
    BertTokenizerFast, too.
    """
    from ..pretraining.documents import find_files
    from ..wordpiece import extend_vocab
    from ..wordpiece import train_vocab as train
    from .registered import make_named

    # What is wrong with an option is said before any text is read.
    _check_output(output, force=force)
    base = None if extend is None else _read_base(extend, cased or keep_accents, reserve, size)
    read = None if reader is None else make_named("spacy_readers", reader)
    files = find_files(inputs, any_ending=reader is not None)
    with ExitStack() as stack:
        texts = _paragraphs(files, read, n_process, stack)
        if base is not None:
            tokenizer = extend_vocab(
                base, texts, size=size, min_frequency=min_frequency, exact_size=exact_size
            )
        else:
            tokenizer = train(
                texts,
                size=size,
                lowercase=not cased,
                strip_accents=False if keep_accents else None,
                min_frequency=min_frequency,
                limit_alphabet=alphabet,
                reserved=[f"[unused{i}]" for i in range(reserve)],
                exact_size=exact_size,
            )
    added = "" if base is None else f", {len(tokenizer) - len(base):,} of them new"
    # Hours may have gone by, and another process may have been quicker.
    _check_output(output, force=force)
    _write(output, tokenizer, extend)
    case = "uncased" if tokenizer.settings.lowercase else "cased"
    typer.echo(f"{output}: {len(tokenizer):,} pieces, {case}{added}")


def _check_output(output: Path, *, force: bool) -> None:
    if os.path.lexists(output) and not output.is_dir():
        raise FileExistsError(
            f"{output} is {kind_of(output)}, but a vocabulary is a folder. Choose another name, or "
            f"remove it."
        )
    if not force and output.is_dir() and any(output.iterdir()):
        names = ", ".join(sorted(file.name for file in output.iterdir())[:5])
        raise FileExistsError(
            f"{output} is not empty: found {names}. Choose another folder, or replace what is "
            f"there (--force)."
        )


def _read_base(extend: Path, chooses_case: bool, reserve: int, size: int) -> "WordPieceTokenizer":
    from ..wordpiece import WordPieceTokenizer

    tokenizer = WordPieceTokenizer.from_disk(extend)
    if chooses_case or reserve:
        raise ValueError(
            f"--extend keeps the casing and all pieces of {extend}: leave out --cased, "
            f"--keep-accents and --reserve."
        )
    if size <= len(tokenizer):
        raise ValueError(
            f"--size is {size}, but {extend} has {len(tokenizer)} pieces already. Give the size of "
            f"the new vocabulary, old pieces included."
        )
    return tokenizer


def _paragraphs(
    files: List[Path], reader: "Optional[Reader]", n_process: Optional[int], stack: ExitStack
) -> Iterator[str]:
    from ..pretraining.formats.counted import counting
    from ..pretraining.parsing import read_in_processes
    from ..pretraining.preparing import available_cores
    from .progress import bytes_read

    total = sum(file.stat().st_size for file in files)
    stack.enter_context(counting(stack.enter_context(bytes_read(total, "Counting words"))))
    n_process = n_process or available_cores()
    for document in read_in_processes(files, reader, n_process=n_process):
        yield from document.paragraphs


def _write(output: Path, tokenizer: "WordPieceTokenizer", extend: Optional[Path]) -> None:
    from ..encoder.checkpoint import WEIGHTS, load_checkpoint, save_checkpoint
    from ..encoder.vocabulary import extend_checkpoint

    if extend is not None and any((extend / name).is_file() for name in WEIGHTS):
        save_checkpoint(output, extend_checkpoint(load_checkpoint(extend), tokenizer))
    else:
        tokenizer.to_disk(output)
