"""`convert-pairs`: texts or pairs in TSV, CSV or JSON lines -> spaCy's binary format."""

from pathlib import Path
from typing import Dict, List, Optional, Union

import typer

from .init_config import check_lang, check_output


def convert_pairs(
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="A .tsv, .csv or .jsonl file, or .gz."
    ),
    output: Path = typer.Argument(..., metavar="OUTPUT", help="The .spacy file to write."),
    text_a: str = typer.Option("text_a", "--text-a", "-a", help="Column of the (first) text."),
    text_b: Optional[str] = typer.Option(None, "--text-b", "-b", help="Column of the second text."),
    label: Optional[str] = typer.Option(None, "--label", help="Column of the label."),
    score: Optional[str] = typer.Option(None, "--score", help="Column of the number."),
    id_: Optional[str] = typer.Option(None, "--id", help="Column that names the row."),
    rename: Optional[List[str]] = typer.Option(
        None,
        "--rename",
        "-r",
        help="Another name for a label, such as 0=negative; as often as need be.",
    ),
    missing: Optional[List[str]] = typer.Option(
        None, "--missing", help="Value that stands for no label or number, such as -."
    ),
    header: bool = typer.Option(
        True, help="Whether the first row names the columns; if not, they are numbers from 0."
    ),
    format_: Optional[str] = typer.Option(
        None, "--format", help="tsv, csv or jsonl, if the file's name does not tell."
    ),
    quoting: Optional[str] = typer.Option(
        None, "--quoting", help="none (as in GLUE) or csv, if it is not as usual for the format."
    ),
    bad_rows: str = typer.Option(
        "error", "--bad-rows", help="error, or skip rows with too many or few values."
    ),
    separator: str = typer.Option(
        r"\n\n", "--separator", help="What the pipeline's `segments` finds between two texts."
    ),
    lang: str = typer.Option("en", "--lang", "-l", help="Language of the tokenizer."),
    force: bool = typer.Option(False, "--force", "-F", help="Replace OUTPUT if it exists."),
) -> None:
    """
    Convert texts, or pairs of texts, with labels or numbers, for `spacy train` and `spacy evaluate`.

    Labels are kept in doc.cats, for textcat, and numbers in doc._.score, for text_regressor. A pair
    is one text, in which the component `segments` finds the two.
    """
    check_output(output, force=force)
    check_lang(lang)
    if output.suffix != ".spacy":
        raise ValueError(
            f"OUTPUT is {output}, but spaCy finds such files by their ending. Name it {output}.spacy."
        )

    import spacy

    from ..readers.pairs import PairsCorpus, save_pairs
    from ..readers.tables import Table

    is_jsonl = Table(source, format=format_).format == "jsonl"
    is_named = header or is_jsonl
    columns: Dict[str, Optional[Union[int, str]]] = {
        name: _column(value, is_named)
        for name, value in (("text_b", text_b), ("label", label), ("score", score), ("id", id_))
    }
    corpus = PairsCorpus(
        source,
        text_a=_column(text_a, is_named) or 0,
        **columns,  # type: ignore[arg-type]
        missing=missing or (),
        format=format_,
        header=header,
        quoting=quoting,
        bad_rows=bad_rows,
    )
    if rename:
        corpus.labels = _new_names(corpus.file_labels(), [_renamed(pair) for pair in rename])
    nlp = spacy.blank(lang)
    nlp.add_pipe(
        "segments", config={"separator": separator.replace(r"\n", "\n").replace(r"\t", "\t")}
    )
    n_texts = save_pairs(corpus, nlp, output)
    done = f"Wrote {n_texts:,} {'pairs' if text_b is not None else 'texts'} to {output}."
    if label is None and score is None:
        done += " They are not annotated: no column was named with --label or --score."
    if (
        header
        and not is_jsonl
        and any(map(str.isdecimal, filter(None, (text_a, text_b, label, score, id_))))
    ):
        # Whoever gives numbers may have no names to give.
        done += " The first row was taken for the names of the columns; --no-header reads it, too."
    typer.echo(done)


def _column(value: Optional[str], is_name: bool) -> Optional[Union[int, str]]:
    if value is None or is_name:
        return value
    if not value.isdecimal():
        raise ValueError(
            f"Column {value!r} was asked for without header. Give its number, of which the first "
            f"is 0, or leave out --no-header."
        )
    return int(value)


def _new_names(labels: List[str], pairs: List[List[str]]) -> Dict[str, str]:
    new = dict(pairs)
    for name in new:
        if name not in labels:
            raise ValueError(
                f"--rename is {name}={new[name]}, but the file has no label {name!r}. It has "
                f"{', '.join(map(repr, labels)) or 'none: name its column with --label'}."
            )
    return {label: new.get(label, label) for label in labels}


def _renamed(pair: str) -> List[str]:
    parts = pair.split("=", 1)
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"--rename is {pair!r}, but OLD=NEW was expected, such as 0=negative.")
    return parts
