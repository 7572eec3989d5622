"""The report: one HTML page about a run, or several beside one another. It needs nothing but itself.

What is on it comes from the folders of the runs alone, so it can be written while a run goes on.
"""

from html import escape
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..files import make_folder, replacing
from .report_facts import facts, figures, name_runs
from .report_panels import color_of, draw_panels
from .report_style import STYLE
from .run_log import RunLog, number, read_run

REPORT, COMPARISON = "report.html", "comparison.html"
SAMPLE_COLUMNS = 6
PREDICTIONS = 3  # of each sample and step


def write_report(
    runs: Union[str, Path, Sequence[Union[str, Path]]],
    *,
    output: Optional[Union[str, Path]] = None,
) -> Path:
    """Write a page about a run, or one that compares several.

    runs (Union[str, Path, Sequence[Union[str, Path]]]): Folders of runs.
    output (Optional[Union[str, Path]]): The file. Without it, `report.html` in the folder of the run;
        of several, `comparison.html` here.
    RETURNS (Path): The file.
    RAISES (OSError): A folder is no run, or the file cannot be written.
    RAISES (ValueError): A run has no figures yet, or none is given.
    RAISES (ImportError): matplotlib is not installed.
    """
    folders = [runs] if isinstance(runs, (str, Path)) else list(runs)
    if not folders:
        raise ValueError("No run was given to report on. Give the folder that `pretrain` wrote to.")
    logs = [read_run(folder) for folder in folders]
    if output is None:
        output = logs[0].folder / REPORT if len(logs) == 1 else COMPARISON
    file = Path(output).expanduser()
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder. Give the name of a file, such as {REPORT}.")
    _publish(file, render(logs))
    return file


def render(runs: Sequence[RunLog]) -> str:
    """runs (Sequence[RunLog]): One run, or several to compare.
    RETURNS (str): The page.
    RAISES (ImportError): matplotlib is not installed."""
    names = name_runs(runs)
    several = len(runs) > 1
    title = "Pretraining runs" if several else f"Pretraining: {names[0]}"
    parts = [
        f"<header><h1>{escape(title)}</h1>",
        *(f'<p class="soft">{escape(line)}</p>' for run in runs for line in _remarks(run)),
        "" if several else _tiles(runs[0]),
        "</header>",
        _facts_table(runs, names),
        f"<h2>Curves</h2>{_key(names) if several else ''}",
        f'<div class="curves">{"".join(draw_panels(runs))}</div>',
        *(_samples(run, name if several else "") for run, name in zip(runs, names)),
        *(_config(run, name if several else "") for run, name in zip(runs, names)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


# Text.


def _remarks(run: RunLog) -> Iterator[str]:
    yield str(run.folder)
    if run.unread:
        yield f"{run.unread} lines of its metrics.jsonl could not be read and are left out."
    if not run.evals:
        yield "It has no evaluation yet, or no held-out documents (training.held_out)."


def _tiles(run: RunLog) -> str:
    items = [
        f"<li><b>{escape(value)}</b><span>{escape(name)}</span><span>{escape(note)}</span></li>"
        for name, value, note in figures(run)
    ]
    return f'<ul class="tiles">{"".join(items)}</ul>'


def _facts_table(runs: Sequence[RunLog], names: Sequence[str]) -> str:
    """What the runs were; of several, with their figures, side by side."""
    columns = [facts(run) for run in runs]
    if len(runs) > 1:
        for column, run in zip(columns, runs):
            for name, value, note in figures(run):
                comma = ", " if note and not note.startswith("of ") else " "
                column[name] = f"{value}{comma}{note}".strip()
    rows = list(dict.fromkeys(name for column in columns for name in column))
    head = ""
    if len(runs) > 1:
        cells = (f"<th>{_swatch(i)}{escape(name)}</th>" for i, name in enumerate(names))
        head = f"<thead><tr><th></th>{''.join(cells)}</tr></thead>"
    body = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{escape(column.get(name, '–'))}</td>" for column in columns)
        + "</tr>"
        for name in rows
    )
    return (
        f'<h2>What was run</h2><div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'
    )


def _swatch(i: int) -> str:
    return f'<span class="swatch" style="background: var(--c{color_of(i)})"></span>'


def _key(names: Sequence[str]) -> str:
    items = "".join(f"<li>{_swatch(i)}{escape(name)}</li>" for i, name in enumerate(names))
    return f'<ul class="key">{items}</ul>'


def _config(run: RunLog, name: str) -> str:
    if not run.config_text:
        return ""
    of = f" of {escape(name)}" if name else ""
    text = escape(run.config_text)
    return f"<details><summary>Configuration{of}</summary><pre>{text}</pre></details>"


# Samples.


def _samples(run: RunLog, name: str) -> str:
    """Sentences and evaluations -> what was told in the gaps then."""
    rows = [row for row in run.evals if _samples_of(row)]
    if not rows:
        return ""
    if len(rows) > SAMPLE_COLUMNS:
        places = np.linspace(0, len(rows) - 1, SAMPLE_COLUMNS).round().astype(int).tolist()
        rows = [rows[i] for i in places]
    columns = [dict(_samples_of(row)) for row in rows]
    head = "".join(f"<th>step {row['step']:,}</th>" for row in rows)
    body = ""
    for text, answer in columns[-1]:
        cells = "".join(f"<td>{_told(c.get((text, answer)), answer)}</td>" for c in columns)
        gap = f"{escape(text)}<br><small>{escape(answer)}</small>"
        body += f"<tr><th>{gap}</th>{cells}</tr>"
    of = f": {escape(name)}" if name else ""
    return (
        f"<h2>Gaps filled in{of}</h2><p class='soft'>Held-out sentences with one word left out, "
        f"and below it the word. For each evaluation, the likeliest pieces.</p>"
        f'<div class="wide"><table class="samples"><thead><tr><th>sentence</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _samples_of(row: Any) -> List[Tuple[Tuple[str, str], Any]]:
    samples = row.get("samples")
    return [
        ((str(sample.get("text")), str(sample.get("answer"))), sample.get("predictions"))
        for sample in (samples if isinstance(samples, list) else [])
        if isinstance(sample, dict)
    ]


def _told(predictions: Any, answer: str) -> str:
    if not isinstance(predictions, list):
        return "–"
    lines = []
    for piece, share in filter(_is_pair, predictions[:PREDICTIONS]):
        hit = piece == answer
        lines.append(
            f"<span{' class=hit' if hit else ''}>{escape(piece)}{' ✓' if hit else ''}</span> "
            f"<small>{share:.0%}</small>"
        )
    return "<br>".join(lines)


def _is_pair(prediction: Any) -> bool:
    return (
        isinstance(prediction, list)
        and len(prediction) == 2
        and isinstance(prediction[0], str)
        and number(prediction[1]) is not None
    )


# Onto the disk.


def _publish(file: Path, page: str) -> None:
    """Under its final name there is the whole page or none."""
    make_folder(file.parent)
    with replacing(file) as temporary:
        # A sample may hold what no file can: a lone surrogate.
        temporary.write_text(page, encoding="utf8", errors="replace")


__all__ = ["render", "write_report"]
