"""Turn files with a token and a BIO tag on each line, as of WNUT-17, into .spacy files."""

import re
from pathlib import Path

import spacy
import typer
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab


def main(
    source: Path = typer.Argument(..., help="File with a token, a tab and a tag on each line."),
    output: Path = typer.Argument(..., help="The .spacy file to write."),
    lang: str = typer.Option("en", help="Language of the documents."),
) -> None:
    """Write a document for each sentence; a blank line, or a lone tab, ends one."""
    try:
        sentences = read_sentences(source)
    except (OSError, ValueError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    vocab = spacy.blank(lang).vocab
    docs = [to_doc(sentence, vocab=vocab) for sentence in sentences]
    output.parent.mkdir(parents=True, exist_ok=True)
    DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=docs).to_disk(output)
    n_ents = sum(len(doc.ents) for doc in docs)
    typer.echo(f"{output}  {len(docs):,} sentences, {n_ents:,} entities")


def read_sentences(path: Path) -> list[list[tuple[str, str]]]:
    """path (Path): The file.
    RETURNS (list[list[tuple[str, str]]]): Sentences of tokens with their tags.
    RAISES (ValueError): A line is something else, or there is none."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        token, _, tag = line.strip("\r").partition("\t")
        if not token.strip():
            sentences.append([])
        elif re.fullmatch(r"O|[BI]-\S+", tag.strip()):
            sentences[-1].append((token.strip(), tag.strip()))
        else:
            raise ValueError(
                f"{path}, line {number}: found {line!r}, expected a token, a tab, and O, B-LABEL "
                f"or I-LABEL."
            )
    found = [sentence for sentence in sentences if sentence]
    if not found:
        raise ValueError(f"{path} has no sentence; expected tokens and tags, one on each line.")
    return found


def to_doc(sentence: list[tuple[str, str]], *, vocab: Vocab) -> Doc:
    """sentence (list[tuple[str, str]]): Tokens and tags.
    vocab (Vocab): Vocabulary of the document.
    RETURNS (Doc): A document with its entities; its tokens are separated by blanks."""
    words, tags = zip(*sentence)
    return Doc(vocab, words=list(words), ents=list(tags))


if __name__ == "__main__":
    typer.run(main)
