"""Run the project with several seeds, and print the mean and the spread of what it measures.

Each seed has a copy of the project in a folder of its own, so that nothing of one run is mixed with
another's, and a second call runs only what changed. Corpus, vocabulary and token store do not
depend on `vars.seed`; where they are made already they are copied, not made again.
"""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import srsly
import typer

from results import best_evaluation, collect

PROJECT = Path(__file__).resolve().parent.parent
# What a project is, and what of its results holds for every seed.
SOURCES = ("scripts", "configs")
MADE = ("assets", "corpus", "training/vocab", "training/store")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(
    context: typer.Context,
    output: Path = typer.Argument(..., help="Folder for the copies: OUTPUT/seed-0, ..."),
    seeds: str = typer.Option("0,1,2", help="The seeds, separated by commas."),
    workflow: str = typer.Option("all", help="Workflow of project.yml to run."),
) -> None:
    """Run a workflow with several seeds. Further options set vars: --vars.pretrain_steps 100."""
    settings = parse(context.args)
    found: dict[str, list[float]] = {}
    for seed in [part.strip() for part in seeds.split(",") if part.strip()]:
        copy = output / f"seed-{seed}"
        copy_project(copy, {**settings, "seed": int(seed)})
        command = [sys.executable, "-m", "spacy", "project", "run", workflow, str(copy)]
        code = subprocess.run(command).returncode
        if code:
            raise typer.Exit(code if code > 0 else 1)
        for name, value in measured(copy).items():
            found.setdefault(name, []).append(value)
    typer.echo(f"\n{'':26}{'mean':>8}{'spread':>8}   each, seeds {seeds}")
    for name, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        each = "  ".join(f"{value:.3f}" for value in values)
        typer.echo(f"{name:26}{statistics.mean(values):8.3f}{spread:8.3f}   {each}")


def parse(options: list[str]) -> dict[str, Any]:
    """`spacy project` takes a misspelt variable for a new one and says nothing, and takes no value
    that begins with "--". Here both are as they should be.

    options (list[str]): Such as ["--vars.size", "mini", "--vars.raw=texts"].
    RETURNS (dict[str, Any]): The values by the names of the variables."""
    known = srsly.read_yaml(PROJECT / "project.yml")["vars"]
    found: dict[str, Any] = {}
    rest = list(options)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        name = option.removeprefix("--vars.")
        if name == option or name not in known:
            expected = ", ".join(f"--vars.{each}" for each in known)
            fail(f"{option} is no variable of project.yml. Expected one of {expected}.")
        if not equals:
            if not rest:
                fail(f"{option} has no value. Give one, such as {option}={known[name]!r}.")
            value = rest.pop(0)
        # As YAML would read it, so that a number stays one; texts stay as they are.
        found[name] = value if isinstance(known[name], str) else srsly.yaml_loads(value)
    return found


def fail(message: str) -> NoReturn:
    """message (str): What is wrong, and what to do."""
    typer.secho(f"Error: {message}", fg="red", err=True)
    raise typer.Exit(1)


def copy_project(copy: Path, settings: dict[str, Any]) -> None:
    """copy (Path): Folder for a copy of the project; it may hold an earlier one, with results.
    settings (dict[str, Any]): Values of vars."""
    copy.mkdir(parents=True, exist_ok=True)
    for name in (*SOURCES, *MADE):
        source, target = PROJECT / name, copy / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif source.exists():
            shutil.copy2(source, target)
    config = srsly.read_yaml(PROJECT / "project.yml")
    config["vars"].update(settings)
    srsly.write_yaml(copy / "project.yml", config)
    lock = PROJECT / "project.lock"
    if lock.exists() and not (copy / lock.name).exists():
        shutil.copy2(lock, copy)


def measured(project: Path) -> dict[str, float]:
    """project (Path): Folder of a project that has been run.
    RETURNS (dict[str, float]): What it measured."""
    evaluation = best_evaluation(project / "training" / "pretraining") or {}
    kinds = ("mlm_accuracy", "mlm_baseline", "mlm_perplexity", "nsp_accuracy")
    held_out = {key: evaluation[key] for key in kinds if evaluation.get(key) is not None}
    return {**held_out, **collect(project / "metrics")}


if __name__ == "__main__":
    app()
