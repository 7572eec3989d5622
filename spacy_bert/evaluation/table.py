"""Scores over several seeds -> mean and spread, and a table of them in Markdown."""

import statistics
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from .results import Cell

HEADER = ("task", "split", "metric", "mean", "spread", "range", "seeds", "examples")


class Line(NamedTuple):
    """What one metric came to.

    task (str): The task.
    split (str): What it was scored on.
    metric (str): The metric.
    values (Tuple[float, ...]): One a seed.
    n_scored (int): How many examples it was scored on.
    """

    task: str
    split: str
    metric: str
    values: Tuple[float, ...]
    n_scored: int

    @property
    def mean(self) -> float:
        """RETURNS (float): The mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> Optional[float]:
        """RETURNS (Optional[float]): The standard deviation over seeds, of a sample (n - 1); None of one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def summarize(cells: Sequence[Cell]) -> List[Line]:
    """cells (Sequence[Cell]): Cells of any tasks and seeds.
    RETURNS (List[Line]): One entry a task, split and metric, in the order they come in."""
    values: Dict[Tuple[str, str, str], List[float]] = {}
    sizes: Dict[Tuple[str, str], int] = {}
    for cell in cells:
        for split, scores in cell.scores.items():
            sizes[cell.task, split] = cell.n_scored[split]
            for metric, value in scores.items():
                values.setdefault((cell.task, split, metric), []).append(value)
    return [
        Line(task, split, metric, tuple(found), sizes[task, split])
        for (task, split, metric), found in values.items()
    ]


def table_rows(lines: Sequence[Line]) -> List[Tuple[str, ...]]:
    """lines (Sequence[Line]): What `summarize` made.
    RETURNS (List[Tuple[str, ...]]): Rows under HEADER; scores times 100, as is usual."""
    return [
        (
            line.task,
            line.split,
            line.metric,
            f"{100 * line.mean:.1f}",
            "" if line.spread is None else f"{100 * line.spread:.1f}",
            f"{100 * min(line.values):.1f} to {100 * max(line.values):.1f}",
            str(len(line.values)),
            f"{line.n_scored:,}",
        )
        for line in lines
    ]


def markdown(lines: Sequence[Line]) -> str:
    """lines (Sequence[Line]): What `summarize` made.
    RETURNS (str): A table."""
    rows = [HEADER, ("---", "---", "---", *["--:"] * (len(HEADER) - 3)), *table_rows(lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
