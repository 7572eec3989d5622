"""`debug-pieces`: what the encoder reads of a text, and which token gets which piece."""

from typing import TYPE_CHECKING, List, Optional, Tuple

import typer

from .show import table
from .text_reader import clean, open_reader

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from ..layers.doc_windows import DocPieces
    from ..wordpiece import WordPieceTokenizer

Rows = List[Tuple[object, ...]]

# A longer part of a window shows this many pieces of each end.
SHOWN_PIECES = 6


def debug_pieces(
    checkpoint: str = typer.Argument(
        ..., metavar="CHECKPOINT", help="A checkpoint, a vocabulary or a saved pipeline."
    ),
    text: str = typer.Argument(..., metavar="TEXT", help="What to read."),
    pair: Optional[str] = typer.Option(
        None, "--pair", help="A second text, to read the two as a pair."
    ),
    window: Optional[int] = typer.Option(
        None, "--window", help="Pieces of a window, [CLS] and [SEP] included."
    ),
    stride: Optional[int] = typer.Option(
        None, "--stride", help="Pieces from the start of a window to that of the next."
    ),
    lang: Optional[str] = typer.Option(
        None, "--lang", "-l", help="Language of spaCy's tokenizer; a pipeline has its own."
    ),
) -> None:
    """
    Show how a text is read: tokens, pieces, ids, alignment and windows.

    Windows are as init-config would have them, or as the pipeline has them, unless given here.
    """
    reader = open_reader(checkpoint, lang).with_windows(window, stride)

    from ..layers.doc_windows import doc_pieces

    doc = reader.make_doc(text, pair)
    [pieces] = doc_pieces(
        [doc], reader.tokenizer, window=reader.window, stride=reader.stride, masked=reader.masked
    )
    names = [reader.tokenizer.pieces[i] for i in pieces.ids.tolist()]
    unk = reader.tokenizer.settings.unk
    facts: Rows = [
        ("characters", len(doc.text)),
        ("tokens", len(doc)),
        ("pieces", f"{len(names)}, {names.count(unk)} of them {unk}"),
        (
            "windows",
            f"{len(pieces.windows)}, of up to {reader.window} pieces, stride {reader.stride}",
        ),
    ]
    lost = clean(text)[1] + clean(pair or "")[1]
    if lost:
        facts.append(("lone surrogates", f"{lost}, each read as U+FFFD: they are no characters"))
    typer.echo(table(facts))
    _show("Tokens", _token_rows(doc, pieces, names), ("", "token", "characters", "pieces", ""))
    header = ("", "piece", "id", "characters", "text", "tokens")
    _show("Pieces", _piece_rows(doc, pieces, names), header)
    header = ("", "length", "A", "pieces", "read", "sequence")
    _show("Windows", _window_rows(pieces, names, reader.tokenizer), header)
    bare: Rows = [(t.i, t.text) for t in doc if not t.is_space and not pieces.alignment.counts[t.i]]
    _show("Tokens without pieces", bare)
    typer.echo(
        "Their vectors are zero: BERT drops control and unassigned characters before it reads."
        if bare
        else "none, whitespace aside"
    )


def _show(heading: str, rows: Rows, header: Tuple[str, ...] = ()) -> None:
    typer.secho(f"\n{heading}", bold=True)
    if rows or header:
        typer.echo(table(rows, header))


def _token_rows(doc: "Doc", pieces: "DocPieces", names: List[str]) -> Rows:
    rows: Rows = []
    for token in doc:
        first = int(pieces.alignment.starts[token.i])
        last = first + int(pieces.alignment.counts[token.i])
        characters = _range(token.idx, token.idx + len(token))
        text = " ".join(names[first:last])
        rows.append((token.i, token.text, characters, _range(first, last), text))
    return rows


def _piece_rows(doc: "Doc", pieces: "DocPieces", names: List[str]) -> Rows:
    # The alignment from the other side: a piece may be part of several tokens.
    tokens: List[List[str]] = [[] for _ in names]
    for token, piece in zip(*(array.tolist() for array in pieces.alignment.pairs())):
        tokens[piece].append(str(token))
    text = doc.text
    return [
        (i, names[i], int(pieces.ids[i]), _range(start, end), text[start:end], " ".join(tokens[i]))
        for i, (start, end) in enumerate(pieces.offsets.tolist())
    ]


def _window_rows(pieces: "DocPieces", names: List[str], tokenizer: "WordPieceTokenizer") -> Rows:
    cls, sep = tokenizer.settings.cls, tokenizer.settings.sep
    rows: Rows = []
    for i, window in enumerate(pieces.windows):
        sequence, segment_a = [cls], "-"
        if window.context_end is not None:
            sequence += [*_ends(names[: window.context_end]), sep]
            segment_a = _range(0, window.context_end) + " read" * window.reads_context
        sequence += [*_ends(names[window.start : window.end]), sep]
        part, read = _range(window.start, window.end), _range(window.read_start, window.read_end)
        rows.append((i, window.length, segment_a, part, read, " ".join(sequence)))
    return rows


def _ends(names: List[str]) -> List[str]:
    if len(names) <= 2 * SHOWN_PIECES:
        return names
    return [*names[:SHOWN_PIECES], "...", *names[-SHOWN_PIECES:]]


def _range(start: int, end: int) -> str:
    """From the first to the last, both included; "-" if there are none."""
    if end <= start:
        return "-"
    return str(start) if end == start + 1 else f"{start}-{end - 1}"
