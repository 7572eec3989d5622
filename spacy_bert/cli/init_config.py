"""`init-config`: from a checkpoint and a list of pipes to a training config."""

from pathlib import Path
from typing import Optional

import typer

from ..files import replacing

STDOUT = Path("-")


def init_config(
    output: Path = typer.Argument(
        ..., metavar="OUTPUT", help="File to write, or - for the terminal.", allow_dash=True
    ),
    checkpoint: str = typer.Option(
        ..., "--checkpoint", "-c", help="Folder or hub id of a BERT in HuggingFace's format."
    ),
    pipeline: str = typer.Option(
        ..., "--pipeline", "-p", help="Pipes to train on it, such as ner,textcat."
    ),
    lang: str = typer.Option(
        "en", "--lang", "-l", help="Language of the tokenizer; xx for a mixture."
    ),
    train: Optional[Path] = typer.Option(
        None, "--train", help="Annotated texts: the config is fitted to them, if they will do."
    ),
    dev: Optional[Path] = typer.Option(
        None, "--dev", help="Annotated texts to evaluate on, looked at, too."
    ),
    gpu: bool = typer.Option(False, "--gpu", "-G", help="For training on a GPU."),
    revision: Optional[str] = typer.Option(
        None, "--revision", help="Branch, tag or commit of a checkpoint on the hub."
    ),
    force: bool = typer.Option(False, "--force", "-F", help="Replace OUTPUT if it exists."),
) -> None:
    """
    Write a training config: pipes that share a BERT.

    The config is complete, explained by comments, and ready for `spacy train OUTPUT
    --paths.train TRAIN.spacy --paths.dev DEV.spacy`. Sizes are read from the checkpoint; with --train, the
    number of steps is that of four times through these texts, 200 at least.

    Pipes: ner, bert_ner, textcat, textcat_multilabel, text_regressor, span_qa, tagger, morphologizer,
    parser, senter, trainable_lemmatizer, spancat, spancat_singlelabel, span_finder; and segments,
    which makes the others read pairs of texts.
    """
    from .training_config import check_pipes, spans_keys_of, training_config
    from .training_data import only_spans_key, read_training_data

    # What takes no time comes first.
    pipes = check_pipes([name.strip() for name in pipeline.split(",") if name.strip()])
    if output != STDOUT:
        check_output(output, force=force)
    check_value("--checkpoint", checkpoint)
    check_lang(lang)
    data = []
    # Where one pipe learns from spans, and there is one key, it is meant.
    spans_key = None
    if train and len(spans_keys_of(pipes)) == 1:
        spans_key = only_spans_key(train, lang=lang)
    keys = spans_keys_of(pipes, first=spans_key)
    for option, path in (("--train", train), ("--dev", dev)):
        if path is not None:
            check_value(option, str(path))
            data.append(read_training_data(path, pipes, lang=lang, spans_keys=keys))

    from spacy.util import load_config_from_str, load_model_from_config

    from ..encoder import load_checkpoint
    from .pooling import choose_pooling

    loaded = load_checkpoint(checkpoint, revision=revision)
    text = training_config(
        loaded.config,
        pipes,
        checkpoint=checkpoint,
        pooling=choose_pooling(loaded, revision),
        lang=lang,
        gpu=gpu,
        revision=revision,
        train=data[0] if train else None,
        dev=str(dev) if dev else None,
        spans_key=spans_key,
        file="config.cfg" if output == STDOUT else str(output),
    )
    # As `spacy train` will: what it could not take must not be written. Without weights, this is quick.
    load_model_from_config(load_config_from_str(text), auto_fill=True)
    if output == STDOUT:
        # Bytes, as a config is UTF-8 whatever the terminal is.
        typer.echo(text.encode("utf8"), nl=False)
    else:
        write(output, text)
        fitted = ""
        if train:
            fitted = f" {train}: {data[0].n_texts:,} texts, {data[0].n_words:,} words; {data[0].total_steps:,} steps."
            for pipe, key in keys.items():
                fitted += f" '{pipe}' learns from the spans under {key!r}."
                if pipe != "span_finder" and (n := data[0].n_longer(key)):
                    longest = data[0].longest_span(key)
                    fitted += f" {n:,} spans under {key!r} are longer than {longest} tokens: '{pipe}' will not find them."
        typer.echo(f"Wrote {output}.{fitted} Its first lines say how to train with it.")


def check_output(path: Path, *, force: bool) -> None:
    """path (Path): The file to be written.
    force (bool): Whether it may exist.
    RAISES: OSError if it exists, or its folder does not."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, but a file is to be written. Name a file.")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists. Name another file, or add --force to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.parent} to write {path.name} into. Make it first, or name "
            f"another."
        )


def check_value(option: str, value: str) -> None:
    """option (str): The option that the value was given with.
    value (str): A value that is to stand in the config.
    RAISES: ValueError if it cannot."""
    try:
        value.encode("utf8")
    except UnicodeEncodeError:
        raise ValueError(
            f"{option} is {value!r}, which is not valid UTF-8 and cannot stand in a config. Rename "
            f"the folder."
        ) from None
    if "${" in value:
        raise ValueError(
            f"{option} is {value!r}, but in a config ${{ begins the name of another setting. Rename "
            f"the folder."
        )


def check_lang(lang: str) -> None:
    """lang (str): The code of a language.
    RAISES: ValueError if spaCy has none of that code."""
    from spacy.util import get_lang_class

    try:
        get_lang_class(lang)
    except Exception:  # what it raises depends on how the import of a module of this name fails
        raise ValueError(
            f"--lang is {lang!r}, but spaCy knows no language by that code. Give a code such as en, "
            f"de or zh, or xx for texts in several languages."
        ) from None


def write(path: Path, text: str) -> None:
    """Write a file at once: under another name first, so that nobody finds half of it.

    path (Path): The file.
    text (str): Its content.
    RAISES: OSError if the disk does not take it; what was there before is there still.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode("utf8"))
    except OSError as error:
        raise OSError(
            f"{path} could not be written: {error.strerror or error}. Name a file in another folder."
        ) from error
