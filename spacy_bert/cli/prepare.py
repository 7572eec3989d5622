"""`prepare`: raw text -> token store."""

import signal
import sys
import time
from pathlib import Path
from typing import Any, List, Optional

import typer

SENTENCIZER = "spacy-bert.Sentencizer.v1"
# More [UNK] than this is no vocabulary for the text.
MANY_UNKNOWN = 0.02


def prepare(
    inputs: List[Path] = typer.Argument(
        ..., metavar="INPUT", help="Files and folders of raw text."
    ),
    vocab: Path = typer.Option(
        ..., "--vocab", help="Folder of the vocabulary, or a checkpoint to continue from."
    ),
    output: Path = typer.Option(..., "--output", "-o", help="Folder of the store; a new one."),
    reader: Optional[str] = typer.Option(
        None,
        "--reader",
        help="What reads the files, such as JsonlDocuments or JsonlDocuments:text=content; without "
        "it, by the ending of their names.",
    ),
    splitter: str = typer.Option(
        SENTENCIZER,
        "--splitter",
        help="What makes sentences: Sentencizer, PipelineSentences:pipeline=NAME, or Paragraphs for "
        "text that is split already.",
    ),
    lang: Optional[str] = typer.Option(
        None, "--lang", "-l", help="Language of the sentencizer, en by default; xx for many."
    ),
    n_process: Optional[int] = typer.Option(
        None, "--n-process", "-n", help="How many processes; all cores by default."
    ),
    force: bool = typer.Option(False, "--force", "-F", "-f", help="Replace a store that is there."),
) -> None:
    """Turn raw text into a token store, which `pretrain` reads.

    The store appears when it is complete: Ctrl-C, a full disk or a file that cannot be read leave
    nothing behind. `info` says what it holds.
    """
    from ..pretraining.documents import find_files
    from ..pretraining.preparing import prepare as run
    from ..pretraining.store_writer import check_free
    from ..wordpiece import WordPieceTokenizer
    from .progress import bytes_read
    from .registered import make_named

    # What is wrong with an option is said before any text is read.
    check_free(output.expanduser().resolve(), force=force)
    tokenizer = WordPieceTokenizer.from_disk(vocab)
    read = None if reader is None else make_named("spacy_readers", reader)
    split = _make_splitter(splitter, lang)
    files = find_files(inputs, any_ending=reader is not None)
    total = sum(file.stat().st_size for file in files)
    started = time.monotonic()
    # So that what is written is removed as after Ctrl-C.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with bytes_read(total, "Preparing") as progress:
            store = run(
                output,
                files,
                tokenizer,
                reader=read,
                splitter=split,
                reader_name="by file ending" if read is None else repr(read),
                splitter_name=repr(split),
                n_process=n_process,
                force=force,
                progress=progress,
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    seconds = time.monotonic() - started
    found = store.manifest
    typer.echo(
        f"{output}: {found.n_pieces:,} pieces, {found.n_sentences:,} sentences, "
        f"{found.n_documents:,} documents, of {len(files):,} files in {seconds:.1f} s "
        f"({total / 1e6 / seconds:.2f} MB/s)"
    )
    if found.n_without_pieces:
        typer.echo(f"{found.n_without_pieces:,} documents had no text and were left out.")
    if found.n_unknown > MANY_UNKNOWN * found.n_pieces:
        typer.secho(
            f"{found.n_unknown / found.n_pieces:.1%} of the pieces are {tokenizer.settings.unk}: "
            f"the vocabulary {vocab} is not made for this text. Train one (train-vocab; "
            f"with a larger --alphabet for a script of many characters).",
            fg="yellow",
            err=True,
        )
    if found.n_documents == 1:
        typer.secho(
            "This is a single document, so there is no other one that a random next sentence could "
            "be from: pretrain with --objective.nsp false, or give more documents.",
            fg="yellow",
            err=True,
        )


def _make_splitter(name: str, lang: Optional[str]) -> Any:
    from .registered import make_named

    splits_by_rules = name.partition(":")[0] in (SENTENCIZER, "Sentencizer")
    if lang is not None and not splits_by_rules:
        raise ValueError(
            f"--lang is {lang!r}, but the splitter {name} has no language to choose. Leave it out."
        )
    return make_named("spacy_misc", name, **({"lang": lang or "en"} if splits_by_rules else {}))
