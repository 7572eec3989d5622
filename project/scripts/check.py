"""Check what the vars of the project name, before anything long begins, and note what text it is.

The note is what later steps depend on: `spacy project` itself would read each file into memory as a
whole to know whether it has changed, which a dump of Wikipedia does not allow.
"""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator, Optional

import spacy
import typer
from spacy.tokens import Doc, DocBin

from spacy_bert.pretraining.documents import find_files

# Bytes. Of larger files not the content is compared, but size and time of change.
LARGE = 200_000_000
# Pipe -> how to tell that a document is annotated for it, and what that is called.
NEEDS = {
    "ner": (lambda doc: bool(doc.ents), "entities (doc.ents)"),
    "textcat": (lambda doc: bool(doc.cats), "categories (doc.cats)"),
    "textcat_multilabel": (lambda doc: bool(doc.cats), "categories (doc.cats)"),
    "tagger": (lambda doc: doc.has_annotation("TAG"), "tags (token.tag_)"),
    "parser": (lambda doc: doc.has_annotation("DEP"), "dependencies (token.dep_)"),
}


def main(
    raw: Path = typer.Option(..., help="Raw text: a file, or a folder of files."),
    train: Path = typer.Option(..., help="Training documents, a .spacy file."),
    dev: Path = typer.Option(..., help="Documents to choose the best pipeline by."),
    test: Path = typer.Option(..., help="Documents to measure it on."),
    pipes: str = typer.Option(..., help="Pipes to train, separated by commas."),
    output: Path = typer.Option(..., help="File to write the note to."),
    reader: Optional[str] = typer.Option(None, help="What reads the raw text, if it is named."),
) -> None:
    """Check the data of the project, and write down which raw text it is."""
    try:
        if find_spec("matplotlib") is None:
            raise ValueError(
                "The step `report` needs matplotlib. Install it: pip install matplotlib"
            )
        for name, path in (("train", train), ("dev", dev), ("test", test)):
            check_docs(name, path, pipes=[pipe.strip() for pipe in pipes.split(",")])
        files = find_files([raw], any_ending=reader is not None)
        note = {str(file): fingerprint(file) for file in files}
    except (OSError, ValueError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    size = sum(file.stat().st_size for file in files)
    typer.echo(f"{raw}  {len(files):,} files of raw text, {size / 1e6:,.1f} MB")
    output.write_text(json.dumps(note, indent=2) + "\n", encoding="utf8")


def check_docs(name: str, path: Path, *, pipes: list[str]) -> None:
    """Check that documents have what the pipes learn, and say how many there are.

    name (str): The variable.
    path (Path): The .spacy file that it names.
    pipes (list[str]): The pipes.
    RAISES (OSError or ValueError): There is no such file, or nothing to learn in it.
    """
    remedy = f"Correct {name} under `vars` in project.yml"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}. {remedy}; `spacy project run corpus` writes that of the demo."
        )
    try:
        docs = list(read(path))
    except Exception as error:  # zlib, msgpack and spaCy have each their own
        raise ValueError(f"{path} is no .spacy file ({error}). {remedy}.") from None
    if not docs:
        raise ValueError(f"{path} has no documents. {remedy}.")
    for pipe in pipes:
        has, what = NEEDS.get(pipe, (lambda doc: True, ""))
        if not any(has(doc) for doc in docs):
            raise ValueError(
                f"{path} has no {what}, which the pipe {pipe} learns. {remedy}, or leave {pipe} "
                f"out of `pipes`."
            )
    typer.echo(f"{path}  {len(docs):,} documents, {sum(map(len, docs)):,} tokens")


def read(path: Path) -> Iterator[Doc]:
    """path (Path): A .spacy file.
    YIELDS (Doc): Its documents."""
    yield from DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)


def fingerprint(path: Path) -> str:
    """path (Path): A file.
    RETURNS (str): Tells whether it has changed."""
    stat = path.stat()
    if stat.st_size > LARGE:
        return f"{stat.st_size} bytes, changed {stat.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    typer.run(main)
