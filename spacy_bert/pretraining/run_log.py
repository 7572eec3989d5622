"""What a run wrote down, read back: metrics.jsonl and config.cfg of its folder.

A run may be going on, may have been killed in the middle of a line, and resumed many times. What it
lost with a crash it did again: of a step that is there twice the later one counts.
"""

import configparser
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np

from .metrics import METRICS
from .run_folder import CONFIG

Row = Dict[str, Any]


@dataclass(frozen=True)
class RunLog:
    """A run, as its folder tells.

    folder (Path): The folder.
    config (Dict[str, Dict[str, Any]]): Section -> key -> value; empty if there is no readable config.
    config_text (str): The config as it stands in the file.
    starts (List[Row]): The "start" and "resume" events, in order.
    train (List[Row]): The "train" events, by step.
    evals (List[Row]): The "eval" events, by step.
    unread (int): Lines of metrics.jsonl that could not be read, a torn last one not counted.
    """

    folder: Path
    config: Dict[str, Dict[str, Any]]
    config_text: str
    starts: List[Row]
    train: List[Row]
    evals: List[Row]
    unread: int

    @property
    def last_step(self) -> int:
        """RETURNS (int): The last step that anything is known of."""
        return max(row["step"] for row in (*self.train[-1:], *self.evals[-1:]))

    def series(self, event: str, key: str, *, by: str = "step") -> Tuple[np.ndarray, np.ndarray]:
        """A figure over the course of the run.

        event (str): "train" or "eval".
        key (str): The figure.
        by (str): What it is over: "step" or "seconds".
        RETURNS (Tuple[np.ndarray, np.ndarray]): Where, and the figure there, shape (n,), float64;
            without the places where there is none.
        """
        rows = self.train if event == "train" else self.evals
        pairs = [(number(row.get(by)), number(row.get(key))) for row in rows]
        found = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
        return found.reshape(-1, 2)[:, 0], found.reshape(-1, 2)[:, 1]

    def last(self, event: str, key: str) -> Optional[float]:
        """event (str), key (str): As for `series`.
        RETURNS (Optional[float]): The last there is."""
        values = self.series(event, key)[1]
        return float(values[-1]) if len(values) else None

    def best_eval(self) -> Optional[Row]:
        """RETURNS (Optional[Row]): The evaluation with the lowest loss, that of checkpoint-best."""
        scored = [(loss, row) for row in self.evals if (loss := _loss(row)) is not None]
        return min(scored, key=lambda pair: pair[0])[1] if scored else None


def read_run(folder: Union[str, Path]) -> RunLog:
    """Read what a run wrote down.

    folder (Union[str, Path]): The folder that it writes to.
    RETURNS (RunLog): The run.
    RAISES (OSError): There is no such folder, or no metrics.jsonl in it.
    RAISES (ValueError): There is no figure in metrics.jsonl yet, or nothing that can be read.
    """
    folder = Path(folder).expanduser()
    file = _locate(folder)
    rows, unread = _read_rows(file)
    if unread and not rows:
        raise ValueError(
            f"{file} has {unread} lines, of which none is a JSON object with an event and a step, as "
            f"`pretrain` writes them. It is damaged, or another file of that name."
        )
    events: Dict[str, Dict[int, Row]] = {"train": {}, "eval": {}}
    starts = []
    for row in rows:
        if row["event"] in ("start", "resume"):
            starts.append(row)
            # What comes after the state that it goes on from was lost, and is done again.
            for name in events:
                events[name] = {s: r for s, r in events[name].items() if s <= row["step"]}
        elif row["event"] in events:
            events[row["event"]][row["step"]] = row
    train, evals = ([found[step] for step in sorted(found)] for found in events.values())
    if not train and not evals:
        every = "as many steps as logging.every says"
        raise ValueError(
            f"{file} has no figures yet: the run has begun, but writes the first line after {every}. "
            f"Wait for it, or go on with the run (pretrain --resume)."
        )
    config_text = _read_text(folder / CONFIG)
    return RunLog(folder, _parse(config_text), config_text, starts, train, evals, unread)


def number(value: Any) -> Optional[float]:
    """value (Any): Of a JSON object.
    RETURNS (Optional[float]): The number that it is; None if it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _locate(folder: Path) -> Path:
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file. Give the folder of the run that it is in.")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder} (looked from {Path.cwd()}). Give the OUTPUT of `pretrain`."
        )
    file = folder / METRICS
    if not file.is_file():
        there = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        raise FileNotFoundError(
            f"{folder} has no {METRICS} (found: {', '.join(there[:8]) or 'nothing'}), so it is not "
            f"the folder of a run that has begun. Give the OUTPUT of `pretrain`."
        )
    return file


def _read_rows(file: Path) -> Tuple[List[Row], int]:
    """The rows that can be read, and how many lines cannot."""
    rows, unread = [], 0
    with file.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break  # the run is writing it, or was killed while it did
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if _is_row(row):
                rows.append(row)
            else:
                unread += bool(line.strip())
    return rows, unread


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("event"), str):
        return False
    step = row.get("step")
    return isinstance(step, int) and not isinstance(step, bool) and step >= 0


def _loss(row: Row) -> Optional[float]:
    losses = [
        loss for key in ("mlm_loss", "nsp_loss") if (loss := number(row.get(key))) is not None
    ]
    return sum(losses) if losses else None


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf8", errors="replace")
    except FileNotFoundError:
        return ""


def _parse(text: str) -> Dict[str, Dict[str, Any]]:
    """The sections of a config, however old: its keys are shown, not obeyed."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {
        name: {key: _value(value) for key, value in parser[name].items()}
        for name in parser.sections()
    }


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
