"""What a run writes down while it goes: metrics.jsonl, lines on the console, and other trackers."""

import importlib.util
import json
import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, TextIO

from tqdm import tqdm

METRICS = "metrics.jsonl"


class Tracker(Protocol):
    """Something that is told every event."""

    def write(self, event: Dict[str, Any]) -> None:
        """event (Dict[str, Any]): As it stands in metrics.jsonl."""

    def close(self) -> None:
        """Write what is left."""


class MetricsFile:
    """metrics.jsonl: one JSON object a line. What was written after the state that a run goes on
    from is cut off, so that no step is there twice.

    path (Path): The file.
    keep (int): How many bytes of it to keep.
    """

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        self.path = path
        self._file = path.open("ab")
        if self._file.tell() > keep:
            self._file.truncate(keep)
            self._file.seek(0, os.SEEK_END)

    def write(self, event: Dict[str, Any]) -> None:
        """event (Dict[str, Any]): What to write."""
        self._file.write(json.dumps(event, ensure_ascii=False).encode("utf8") + b"\n")
        self._file.flush()

    def sync(self) -> int:
        """Wait for the disk.

        RETURNS (int): How long the file is."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        # What a full disk did not take was said when it was written.
        with suppress(OSError):
            self._file.close()


class Console:
    """Lines for people, and a progress bar if they watch a terminal.

    max_steps (Optional[int]): Where the bar ends; None: nowhere.
    quiet (bool): Say nothing.
    """

    def __init__(
        self, max_steps: Optional[int], *, quiet: bool = False, stream: Optional[TextIO] = None
    ) -> None:
        self._quiet, self._stream = quiet, stream or sys.stderr
        self._max_steps = max_steps
        self._bar: Optional[tqdm] = None

    def start(self, step: int) -> None:
        """step (int): Where the run begins."""
        if not self._quiet and self._stream.isatty():
            self._bar = tqdm(
                total=self._max_steps,
                initial=step,
                unit="step",
                dynamic_ncols=True,
                file=self._stream,
            )

    def advance(self) -> None:
        """A step was taken."""
        if self._bar is not None:
            self._bar.update()

    def say(self, line: str) -> None:
        """line (str): What to say."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def write(self, event: Dict[str, Any]) -> None:
        """event (Dict[str, Any]): What happened."""
        if event["event"] == "train":
            self.say(train_line(event, self._max_steps))
        if event["event"] == "eval":
            self.say(eval_line(event))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def train_line(event: Dict[str, Any], max_steps: Optional[int]) -> str:
    """event (Dict[str, Any]): A "train" event.
    max_steps (Optional[int]): Where the run ends.
    RETURNS (str): A line about it."""
    of = f"/{max_steps:,}" if max_steps else ""
    parts = [f"step {event['step']:,}{of}", f"loss {event['loss']:.3f}"]
    if event["mlm_loss"] is not None:
        parts.append(f"mlm {event['mlm_loss']:.3f} ({event['mlm_accuracy']:.1%})")
    if event["nsp_loss"] is not None:
        parts.append(f"nsp {event['nsp_loss']:.3f} ({event['nsp_accuracy']:.1%})")
    parts += [
        f"rate {event['learn_rate']:.2e}",
        f"{event['pieces_per_second']:,.0f} pieces/s",
        f"MFU {event['mfu']:.0%}",
        f"{duration(event['seconds'])}, {duration(event['seconds_left'])} left",
    ]
    return "  ".join(parts)


def eval_line(event: Dict[str, Any]) -> str:
    """event (Dict[str, Any]): An "eval" event.
    RETURNS (str): Lines about it."""
    parts = [f"step {event['step']:,}  held out:"]
    if event["mlm_loss"] is not None:
        parts.append(
            f"mlm {event['mlm_loss']:.3f}, perplexity {event['mlm_perplexity']:.1f}, accuracy "
            f"{event['mlm_accuracy']:.1%} (most frequent piece {event['mlm_baseline']:.1%})"
        )
    if event["nsp_loss"] is not None:
        parts.append(
            f"nsp {event['nsp_loss']:.3f}, accuracy {event['nsp_accuracy']:.1%} "
            f"(more frequent answer {event['nsp_baseline']:.1%})"
        )
    lines = [" ".join(parts)]
    for sample in event["samples"][:1]:
        guesses = ", ".join(f"{piece} {share:.0%}" for piece, share in sample["predictions"][:3])
        lines.append(f"  {sample['text']}  [{sample['answer']}] -> {guesses}")
    return "\n".join(lines)


def duration(seconds: Optional[float]) -> str:
    """seconds (Optional[float]): A time; None if unknown.
    RETURNS (str): "1:02:03"."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class TensorBoard:
    """Writes figures where TensorBoard looks for them.

    folder (Path): Where.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def write(self, event: Dict[str, Any]) -> None:
        for name, value in figures(event).items():
            self._writer.add_scalar(  # type: ignore[no-untyped-call]
                f"{event['event']}/{name}", value, event["step"]
            )

    def close(self) -> None:
        self._writer.close()  # type: ignore[no-untyped-call]


class WeightsAndBiases:
    """Sends figures to Weights & Biases; a resumed run goes on with the same one there.

    project (str): The project there.
    run (Path): Folder of the run.
    settings (Dict[str, Any]): The config.
    """

    def __init__(self, project: str, run: Path, settings: Dict[str, Any]) -> None:
        import wandb

        identity = run / "wandb-id"
        if not identity.exists():
            identity.write_text(uuid.uuid4().hex[:8], encoding="utf8")
        self._run = wandb.init(
            project=project,
            id=identity.read_text(encoding="utf8"),
            resume="allow",
            dir=str(run),
            config=settings,
        )

    def write(self, event: Dict[str, Any]) -> None:
        values = {f"{event['event']}/{name}": value for name, value in figures(event).items()}
        if values:
            self._run.log(values, step=event["step"])

    def close(self) -> None:
        self._run.finish()


def figures(event: Dict[str, Any]) -> Dict[str, float]:
    """event (Dict[str, Any]): An event.
    RETURNS (Dict[str, float]): What of it can be drawn."""
    if event["event"] not in ("train", "eval"):
        return {}
    return {
        name: value
        for name, value in event.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "step"
    }


def check_trackers(*, tensorboard: bool, wandb: Optional[str]) -> None:
    """tensorboard (bool), wandb (Optional[str]): As in [logging].
    RAISES (ImportError): One that is asked for is not installed."""
    for name, asked, off in (("tensorboard", tensorboard, "false"), ("wandb", wandb, "null")):
        if asked and importlib.util.find_spec(name) is None:
            raise ImportError(
                f"[logging] asks for {name}, but the package is not installed. Run: pip install "
                f"{name}, or set {name} = {off}."
            )


def open_trackers(
    run: Path, *, tensorboard: bool, wandb: Optional[str], settings: Dict[str, Any]
) -> List[Tracker]:
    """run (Path): Folder of the run.
    tensorboard (bool), wandb (Optional[str]): As in [logging].
    settings (Dict[str, Any]): The config.
    RETURNS (List[Tracker]): Those that are asked for."""
    trackers: List[Tracker] = []
    if tensorboard:
        trackers.append(TensorBoard(run / "tensorboard"))
    if wandb is not None:
        trackers.append(WeightsAndBiases(wandb, run, settings))
    return trackers
