"""What is written down: whole lines, cut where a run goes on."""

import io
import json
from pathlib import Path
from typing import Any, Dict

from spacy_bert.pretraining.metrics import Console, MetricsFile, duration, figures

TRAIN: Dict[str, Any] = {
    "event": "train", "step": 1200, "seconds": 3725.0, "pieces": 9, "loss": 6.5, "mlm_loss": 6.0,
    "mlm_accuracy": 0.125, "nsp_loss": 0.5, "nsp_accuracy": 0.75, "learn_rate": 1e-4,
    "grad_norm": 1.5, "pieces_per_second": 5123.4, "mfu": 0.6, "seconds_left": 59.6,
}  # fmt: skip


def test_lines_after_the_state_are_cut(tmp_path: Path) -> None:
    """Catches steps that are there twice after a resume, and half a line of a killed process."""
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.write({"event": "train", "step": 1, "text": "ö"})
    kept = metrics.sync()
    metrics.write({"event": "train", "step": 2})
    metrics.close()
    with path.open("a") as file:
        file.write('{"event": "tr')
    metrics = MetricsFile(path, keep=kept)
    metrics.write({"event": "train", "step": 3})
    assert metrics.sync() == path.stat().st_size
    metrics.close()
    lines = path.read_text(encoding="utf8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 3]
    assert "ö" in lines[0]


def test_a_new_run_cuts_all(tmp_path: Path) -> None:
    """Catches lines of a run that was killed before it saved anything."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("x\n")
    MetricsFile(path).close()
    assert path.read_text() == ""


def test_plain_lines_where_nobody_watches() -> None:
    """Catches a progress bar in a log file, and a line that lacks something."""
    stream = io.StringIO()
    console = Console(5000, stream=stream)
    console.start(0)
    console.advance()
    console.write(TRAIN)
    console.write({**TRAIN, "nsp_loss": None, "nsp_accuracy": None, "seconds_left": None})
    console.close()
    first, second = stream.getvalue().splitlines()
    for part in ("1,200/5,000", "6.500", "12.5%", "75.0%", "1.00e-04", "5,123 pieces/s", "60%",
                 "1:02:05, 0:01:00 left"):  # fmt: skip
        assert part in first
    assert "nsp" not in second and "? left" in second


def test_a_bar_on_a_terminal() -> None:
    """Catches a run that shows no progress to those who watch."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    console = Console(10, stream=stream)
    console.start(4)
    console.advance()
    console.say("hello")
    console.close()
    assert "5/10" in stream.getvalue() and "hello\n" in stream.getvalue()


def test_quiet() -> None:
    """Catches a library that talks to those who asked it not to."""
    stream = io.StringIO()
    console = Console(10, quiet=True, stream=stream)
    console.start(0)
    console.write(TRAIN)
    console.say("x")
    console.close()
    assert stream.getvalue() == ""


def test_figures_are_numbers() -> None:
    """Catches a tracker that is given a null, a text or a list."""
    found = figures({**TRAIN, "nsp_loss": None, "samples": [{}], "flag": True})
    assert "nsp_loss" not in found and "samples" not in found and "flag" not in found
    assert found["mlm_loss"] == 6.0 and "step" not in found
    assert figures({"event": "start", "step": 0, "parameters": 3}) == {}


def test_durations() -> None:
    """Catches sixty seconds that are no minute."""
    assert [duration(s) for s in (0, 59.6, 3599, 360000, None)] == [
        "0:00:00", "0:01:00", "0:59:59", "100:00:00", "?",
    ]  # fmt: skip
