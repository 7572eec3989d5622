"""The curves of a report: which figures there are, and what stands beside them."""

from html import escape
from typing import Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from .curves import FIRST_RUN, MUTED, Line, draw
from .report_style import N_COLORS
from .run_log import RunLog


def color_of(i: int) -> int:
    """i (int): Index of a run.
    RETURNS (int): Which of the page's colours is its own."""
    return FIRST_RUN + i % N_COLORS


class Panel(NamedTuple):
    """A pair of axes.

    title (str): What it is.
    y_label (str): The axis of figures, with its unit.
    train (str): The figure of "train" events; "" for none.
    held_out (str): The figure of "eval" events; "" for none.
    note (str): What to say of it.
    percent (bool): Whether figures are shares.
    from_zero (bool): Whether the axis begins at zero, as a little more or less is nothing there.
    """

    title: str
    y_label: str
    train: str
    held_out: str
    note: str = ""
    percent: bool = False
    from_zero: bool = False


TOLD = "Baseline: always the most frequent piece."
PEAK = "Of what matrix products reach on the device."
PANELS: Tuple[Panel, ...] = (
    Panel("Masked-LM loss", "nats per masked piece", "mlm_loss", "mlm_loss"),
    Panel("Masked-LM accuracy", "pieces right", "", "mlm_accuracy", TOLD, True, True),
    Panel("Next-sentence loss", "nats per pair", "nsp_loss", "nsp_loss"),
    Panel("Next-sentence accuracy", "pairs right", "nsp_accuracy", "nsp_accuracy", "", True),
    Panel("Learning rate", "rate", "learn_rate", "", from_zero=True),
    Panel("Speed", "pieces per second", "pieces_per_second", "", from_zero=True),
    Panel("Model FLOP utilisation", "share of peak", "mfu", "", PEAK, True, True),
    Panel("Gradient norm", "norm", "grad_norm", "", "Before clipping."),
)
EMPTY = np.zeros(0)
BY_TIME = Panel("Held-out masked-LM loss by time", "nats per masked piece", "", "mlm_loss")


def draw_panels(runs: Sequence[RunLog]) -> Iterator[str]:
    """runs (Sequence[RunLog]): One run, or several to compare.
    YIELDS (str): A <figure> for each panel that there is something for.
    RAISES (ImportError): matplotlib is not installed."""
    for panel in PANELS:
        lines = [line for i, run in enumerate(runs) for line in _lines(panel, run, i, len(runs))]
        if lines:
            yield _figure(panel, [*_comparisons(panel, runs), *lines])
    if len(runs) > 1:
        lines = []
        for i, run in enumerate(runs):
            seconds, loss = run.series("eval", "mlm_loss", by="seconds")
            if len(loss):
                lines.append(Line(seconds / 3600, loss, "", color_of(i)))
        if lines:
            yield _figure(BY_TIME, lines, x_label="hours")


def _lines(panel: Panel, run: RunLog, i: int, n_runs: int) -> List[Line]:
    """What a run has of a panel. Training is noisy, and backs the held-out curve where there is one."""
    alone, lines = n_runs == 1, []
    x, y = run.series("eval", panel.held_out) if panel.held_out else (EMPTY, EMPTY)
    held_out = Line(x, y, "held out" if alone else "", color_of(i))
    key = panel.train or ("" if len(y) else panel.held_out)
    x, y = run.series("train", key) if key else (EMPTY, EMPTY)
    if len(y) and len(held_out.y):
        lines.append(
            Line(x, y, "training", MUTED, "faint")
            if alone
            else Line(x, y, None, color_of(i), "faint")
        )
    elif len(y):
        lines.append(Line(x, y, "", color_of(i)))
    return [*lines, held_out] if len(held_out.y) else lines


def _comparisons(panel: Panel, runs: Sequence[RunLog]) -> List[Line]:
    """What it takes no network for."""
    if panel.held_out in ("mlm_accuracy", "nsp_accuracy"):
        key = panel.held_out.replace("accuracy", "baseline")
        lines = [Line(*run.series("eval", key), "baseline", MUTED, "dashed") for run in runs]
        lines = [line for line in lines if len(line.y)]
        return lines[:1] if len({float(line.y[-1]) for line in lines}) == 1 else lines
    return []


def _figure(panel: Panel, lines: Sequence[Line], *, x_label: str = "step") -> str:
    values = np.concatenate([line.y for line in lines])
    # A few huge gradients would flatten everything else.
    spiky = values.min() > 0 and values.max() > 20 * np.median(values)
    svg = draw(
        lines,
        title=panel.title,
        y_label=panel.y_label,
        x_label=x_label,
        percent=panel.percent,
        y_log=bool(spiky and not panel.from_zero and not panel.percent),
        from_zero=panel.from_zero,
    )
    note = f"<p>{escape(panel.note)}</p>" if panel.note else ""
    return f"<figure><figcaption><h3>{escape(panel.title)}</h3>{note}</figcaption>{svg}</figure>"
