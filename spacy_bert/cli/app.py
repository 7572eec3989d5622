"""The command line, `python -m spacy_bert COMMAND`: one command a file, registered here."""

import functools
import sys
import warnings
from typing import Any, Callable

import typer

from .convert_pairs import convert_pairs
from .debug_pieces import debug_pieces
from .evaluate_glue import evaluate_glue
from .evaluate_qa import evaluate_qa
from .fill_mask import fill_mask
from .info import info
from .init_config import init_config
from .prepare import prepare
from .pretrain import CONTEXT, pretrain
from .report import report
from .train_vocab import train_vocab

app = typer.Typer(
    name="spacy-bert",
    help="BERT, native to spaCy: from raw text or a checkpoint to a pipeline.",
    no_args_is_help=True,
    add_completion=False,
    # As spaCy's own command line, of which this is a part too.
    rich_markup_mode=None,
)


def plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command say in one message what its user can set right, instead of a traceback.

    command (Callable[..., None]): The command.
    RETURNS (Callable[..., None]): The same; it exits with status 1 then.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        # What the terminal's encoding lacks is shown as an escape.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                command(*args, **kwargs)
        except BrokenPipeError:  # `... | head`: typer knows what to do
            raise
        # FloatingPointError: weights or gradients that are not finite, which say so.
        except (ValueError, OSError, ImportError, FloatingPointError) as error:
            typer.secho(f"Error: {str(error).strip()}", fg="red", err=True)
            raise typer.Exit(1) from None

    return run


def _show_warning(message: Any, *where: Any, **more: Any) -> None:
    typer.secho(f"Warning: {message}", fg="yellow", err=True)


app.command("init-config")(plainly(init_config))
app.command("info")(plainly(info))
app.command("debug-pieces")(plainly(debug_pieces))
app.command("train-vocab")(plainly(train_vocab))
app.command("prepare")(plainly(prepare))
app.command("pretrain", context_settings=CONTEXT)(plainly(pretrain))
app.command("report")(plainly(report))
app.command("convert-pairs")(plainly(convert_pairs))
app.command("evaluate-glue", context_settings=CONTEXT)(plainly(evaluate_glue))
app.command("fill-mask")(plainly(fill_mask))
app.command("evaluate-qa")(plainly(evaluate_qa))


def main() -> None:
    """Run the command line."""
    app()
