"""`pretrain`: a token store -> a checkpoint."""

import configparser
import signal
from pathlib import Path

import typer

# What `app` registers the command with: every key of the config is an option.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def pretrain(
    context: typer.Context,
    config: Path = typer.Argument(
        ..., metavar="CONFIG", help="What to do, as in configs/pretrain.cfg."
    ),
    output: Path = typer.Argument(
        ..., metavar="OUTPUT", help="Folder of the run; new, unless it is resumed."
    ),
    resume: bool = typer.Option(
        False, "--resume", help="Go on with the run in OUTPUT, from its last saved state."
    ),
) -> None:
    """Pretrain a BERT: masked language model and next-sentence prediction.

    Each key of the config can be set as an option: --training.max_steps 100. Writes
    OUTPUT/checkpoint-best and OUTPUT/checkpoint-last, in HuggingFace's format. Ctrl-C saves and stops.
    """
    from thinc.api import Config

    from ..pretraining import PretrainConfig
    from ..pretraining import pretrain as run
    from .overrides import parse_overrides

    overrides = parse_overrides(context.args)
    if not config.is_file():
        raise FileNotFoundError(
            f"There is no file {config} (looked from {Path.cwd()}). Copy configs/pretrain.cfg, or "
            f"check the path."
        )
    # The mistake may be in the file or in an override.
    source = " ".join([str(config), *(["with", *context.args] if overrides else [])])
    try:
        settings = PretrainConfig.from_dict(Config().from_disk(config, overrides=overrides))
    except (ValueError, configparser.Error) as error:
        raise ValueError(f"{source}: {str(error).strip()}") from None
    try:
        result = run(settings, output, resume=resume)
    except FloatingPointError as error:
        raise ValueError(str(error)) from None
    if not result.finished:  # as the shell reports processes that a signal ended
        raise typer.Exit(128 + signal.Signals[result.stopped_by or "SIGTERM"])
    typer.echo(result.checkpoint_best)
