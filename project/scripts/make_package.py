"""Make a wheel of a pipeline, without the network: `spacy package --build wheel` would fetch the
builder first, and builds on what an earlier call has left in the folder."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import typer


def main(
    pipeline: Path = typer.Argument(..., exists=True, file_okay=False, help="The pipeline."),
    output: Path = typer.Argument(..., help="Folder for the wheel; what is in it is removed."),
    name: str = typer.Option(..., help="Name of the package, without that of the language."),
    version: str = typer.Option(..., help="Version of the package."),
) -> None:
    """Write a wheel with the pipeline in it, to be installed with pip."""
    with tempfile.TemporaryDirectory() as folder:
        run(
            "spacy",
            "package",
            pipeline,
            folder,
            "--name",
            name,
            "--version",
            version,
            "--build=none",
        )
        [source] = Path(folder).iterdir()
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir")
        run("pip", "wheel", source, *options, "--wheel-dir", Path(folder) / "wheel")
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(Path(folder) / "wheel", output)
    for wheel in output.iterdir():
        typer.echo(f"pip install {wheel}")


def run(module: str, *arguments: object) -> None:
    """module (str): What to run, of this Python.
    *arguments (object): What to tell it."""
    code = subprocess.run([sys.executable, "-m", module, *map(str, arguments)]).returncode
    if code:
        raise typer.Exit(code if code > 0 else 1)


if __name__ == "__main__":
    typer.run(main)
