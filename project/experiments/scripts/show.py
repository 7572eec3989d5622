"""Print an experiment beside the paper's table, and draw it."""

import statistics
from pathlib import Path
from typing import Any

import srsly
import typer

from spacy_bert.encoder import SIZES
from tables import Experiment, experiments


def main(
    result: Path = typer.Argument(..., exists=True, help="What run.py wrote."),
    plot: Path = typer.Argument(..., help="The .svg file to draw."),
) -> None:
    """Print the paper's table and ours, what the seeds allow to say, and draw a plot."""
    found = srsly.read_json(result)
    experiment = experiments(SIZES[found["settings"]["size"]][1])[found["experiment"]]
    typer.secho(f"\n{experiment.title}", bold=True)
    typer.echo(f"\nThe paper ({experiment.paper})")
    if experiment.paper_rows:
        figures = {n: [f"{v:.1f}" for v in row] for n, row in experiment.paper_rows.items()}
        typer.echo(table(experiment.paper_columns, figures))
    how, seeds = found["settings"], found["seeds"]
    typer.echo(
        f"\nOurs: {how['size']}, {how['steps']:,} steps of pretraining, {how['tune_steps']:,} of "
        f"fine-tuning; test parts of {found['data']['names']} (names) and {found['data']['topics']} "
        f"(topics); mean and standard deviation over seeds {', '.join(map(str, seeds))}"
    )
    rows = {row["name"]: row["scores"] for row in found["rows"]}
    cells = {name: [cell(scores[c]) for c in experiment.columns] for name, scores in rows.items()}
    typer.echo(table(list(experiment.columns), cells))
    typer.echo("\nDifferences from the first row, seed by seed, with their 95 % interval (t)")
    for line in differences(rows):
        typer.echo(line)
    draw(experiment, rows, plot)
    typer.echo(f"\nPlot: {plot}")


def cell(values: list[float]) -> str:
    """values (list[float]): Scores from 0 to 1, one a seed.
    RETURNS (str): Mean and standard deviation, in per cent."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def table(columns: Any, rows: dict[str, list[str]]) -> str:
    """columns (Any): The columns. rows (dict[str, list[str]]): The cells by row.
    RETURNS (str): Lines for a terminal."""
    widths = [max(12, len(column), *(len(row[i]) for row in rows.values())) for i, column in enumerate(columns)]  # fmt: skip
    first = max(map(len, rows))
    lines = [" " * first + "".join(f"  {c:>{w}}" for c, w in zip(columns, widths))]
    for name, row in rows.items():
        lines.append(f"{name:{first}}" + "".join(f"  {c:>{w}}" for c, w in zip(row, widths)))
    return "\n".join(lines)


def differences(rows: dict[str, dict[str, list[float]]]) -> list[str]:
    """rows (dict[str, dict[str, list[float]]]): Scores by row and column, one a seed.
    RETURNS (list[str]): For each other row what can be said of its distance from the first. An
        order is claimed only from three seeds on, and where the interval of the paired differences
        leaves out zero. Equal differences have none: scores of few documents fall on few values."""
    from scipy.stats import t

    (_, base), *others = rows.items()
    lines = []
    for name, scores in others:
        for column, values in scores.items():
            apart = [100 * (value - first) for value, first in zip(values, base[column])]
            mean = statistics.mean(apart)
            if len(apart) < 2:
                lines.append(f"  {name.strip()}, {column}: {mean:+.1f} (one seed: no order)")
                continue
            error = statistics.stdev(apart) / len(apart) ** 0.5
            reach = float(t.ppf(0.975, len(apart) - 1)) * error
            if len(apart) < 3:
                claim = "two seeds: no order"
            elif error == 0 or abs(mean) <= reach:
                claim = "no order"
            else:
                claim = "higher" if mean > 0 else "lower"
            lines.append(f"  {name.strip()}, {column}: {mean:+.1f} ± {reach:.1f} ({claim})")
    return lines


def draw(experiment: Experiment, rows: dict[str, dict[str, list[float]]], path: Path) -> None:
    """experiment (Experiment): The experiment.
    rows (dict[str, dict[str, list[float]]]): Our scores.
    path (Path): Where to draw: ours above, each seed a dot; the paper's below."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    ours = {c: {n: scores[c] for n, scores in rows.items()} for c in experiment.columns}
    theirs = {
        column: {name: [row[i] / 100] for name, row in experiment.paper_rows.items()}
        for i, column in enumerate(experiment.paper_columns)
    }
    both = [("ours", ours, "tab:blue"), *([("the paper", theirs, "tab:gray")] if theirs else [])]
    n = max(len(panels) for _, panels, _ in both)
    figure, axes = plt.subplots(
        len(both), n, figsize=(2.2 + 2.2 * n, 0.9 + 2.2 * len(both)), squeeze=False
    )
    for line, (who, panels, colour) in zip(axes, both):
        for axis in line[len(panels) :]:
            axis.set_visible(False)
        for axis, (column, values) in zip(line, panels.items()):
            names = list(values)
            for y, name in enumerate(names):
                scores = [100 * value for value in values[name]]
                axis.plot(scores, [y] * len(scores), "o", color=colour, alpha=0.6)
                axis.plot([statistics.mean(scores)] * 2, [y - 0.3, y + 0.3], color=colour)
            axis.set_title(f"{column} ({who})", fontsize=8)
            axis.set_yticks(range(len(names)), [name.strip() for name in names] if axis is line[0] else [""] * len(names), fontsize=8)  # fmt: skip
            axis.tick_params(axis="x", labelsize=7)
            axis.invert_yaxis()
            axis.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
