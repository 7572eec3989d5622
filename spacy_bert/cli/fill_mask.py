"""`fill-mask`: what a masked language model puts in the place of each mask of a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

import typer

from .saved_pipeline import is_pipeline, load_pipeline
from .show import table, visible
from .text_reader import clean, make_doc

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

    from ..pipeline.mask_view import FilledMask


def fill_mask(
    checkpoint: str = typer.Argument(
        ..., metavar="CHECKPOINT", help="A checkpoint, or a saved pipeline with a fill_mask."
    ),
    text: str = typer.Argument(
        ..., metavar="TEXT", help='What to read, with one or more "[MASK]" in it.'
    ),
    top: int = typer.Option(5, "--top", "-k", min=1, help="How many pieces to name for each mask."),
    pair: Optional[str] = typer.Option(
        None, "--pair", help="A second text, to read the two as a pair."
    ),
    lang: Optional[str] = typer.Option(
        None, "--lang", "-l", help="Language of spaCy's tokenizer; a pipeline has its own."
    ),
) -> None:
    """
    Rank what may stand in the place of each mask of a text, by a checkpoint with a masked-LM head.

    Pieces that begin with ## continue the word before them. Probabilities are among all pieces of
    the vocabulary.
    """
    nlp, pipe = open_masked_lm(checkpoint, lang)
    check_masked([text] if pair is None else [text, pair], pipe.tokenizer.settings.mask)
    pipe.top_k = top

    doc = pipe(make_doc(nlp, text, pair))
    masks: List[FilledMask] = doc._.fill_mask
    for mask in masks:
        characters = f"characters {mask.start} to {mask.end - 1}"
        typer.secho(f"{doc.text[mask.start : mask.end]}, {characters}", bold=True)
        rows = [
            (f"{i:4}", f"{best.probability:7.2%}", f"{best.logit:7.2f}", best.piece)
            for i, best in enumerate(mask.predictions, start=1)
        ]
        header = ("rank", "prob.", "logit", "piece")
        typer.echo(table(rows, header) + "\n")
    typer.echo("With the best for each: " + visible(filled(doc, masks)))
    lost = clean(text)[1] + clean(pair or "")[1]
    if lost:
        typer.echo(f"Lone surrogates, read as U+FFFD: {lost}")


def open_masked_lm(source: str, lang: Optional[str] = None) -> "Tuple[Language, Any]":
    """Open what fills masks.

    source (str): Folder of a checkpoint or of a saved pipeline, or a hub id.
    lang (Optional[str]): Language of the tokens, for a checkpoint.
    RETURNS (Tuple[Language, FillMask]): A pipeline, and the component in it.
    RAISES: OSError or ValueError if there is none to be had.
    """
    from ..pipeline.assemble import from_checkpoint
    from ..pipeline.fill_mask import FillMask
    from .init_config import check_lang

    folder = Path(source).expanduser()
    if not is_pipeline(folder):
        check_lang(lang or "en")
        nlp = from_checkpoint(source, lang=lang or "en", component="fill_mask")
        return nlp, nlp.get_pipe("fill_mask")
    if lang is not None:
        raise ValueError(
            f"--lang is {lang!r}, but {folder} is a pipeline, with a tokenizer of its own. Leave it "
            f"out."
        )
    nlp = load_pipeline(folder)
    for _, pipe in nlp.components:
        if isinstance(pipe, FillMask):
            return nlp, pipe
    raise ValueError(
        f"The pipeline {folder} has no `fill_mask`; found {', '.join(nlp.component_names) or 'none'}. "
        f"Give a checkpoint with a masked-LM head, or a pipeline with that component."
    )


def check_masked(texts: Sequence[str], mask: str) -> None:
    """texts (Sequence[str]): The text, or two.
    mask (str): What a mask looks like.
    RAISES: ValueError if there is none in any of them."""
    if any(mask in text for text in texts):
        return
    text = " ".join(texts).strip()
    place = text.lower().find(mask.lower())
    hint = f"It has {text[place : place + len(mask)]!r}, but case counts. " if place >= 0 else ""
    raise ValueError(
        f"The text {text[:60]!r} has no {mask} in it, the mask of this checkpoint. {hint}Write "
        f'{mask} in the place of a word, as in "Paris is the {mask} of France."'
    )


def filled(doc: "Doc", masks: "List[FilledMask]") -> str:
    """doc (Doc): A Doc.
    masks (List[FilledMask]): Its masks.
    RETURNS (str): Its text with the best piece in the place of each; "##ing" joins the word before."""
    text, end = "", 0
    for mask in masks:
        text += doc.text[end : mask.start]
        piece = mask.predictions[0].piece
        text = text.rstrip() + piece[2:] if piece.startswith("##") else text + piece
        end = mask.end
    return text + doc.text[end:]
