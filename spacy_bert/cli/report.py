"""`report`: the folder of a run -> one HTML page."""

from pathlib import Path
from typing import List, Optional

import typer


def report(
    runs: List[Path] = typer.Argument(
        ..., metavar="OUTPUT", help="Folder of a run; of several, to compare them."
    ),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        help="The file to write; report.html in the folder of the run if not given, or "
        "comparison.html here.",
    ),
) -> None:
    """Write a page on a pretraining run: figures, curves, and gaps filled in on the way.

    One file that needs no network. The run may still be going on. Needs the extra `viz`.
    """
    from ..pretraining.report import write_report

    typer.echo(write_report(runs, output=output))
