"""What an evaluation leaves on disk: a file a task and seed, and its predictions.

OUTPUT/cells/cola-seed0.json                        settings, scores
OUTPUT/predictions/cola-in-domain-seed0.jsonl       a line an example: line of the file, gold, predicted
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..files import make_folder, replacing


class Prediction(NamedTuple):
    """line (int): The line of the file that the example is on.
    gold (Any): Its label or number.
    predicted (Any): What was predicted."""

    line: int
    gold: Any
    predicted: Any


@dataclass(frozen=True)
class Cell:
    """One task, trained and scored with one seed.

    task (str): The task.
    seed (int): The seed.
    settings (Mapping[str, Any]): All that the result depends on beside the seed.
    scores (Mapping[str, Mapping[str, float]]): Split -> metric -> value.
    n_train (int): Examples trained on.
    n_scored (Mapping[str, int]): Split -> examples.
    seconds (float): How long training and scoring took.
    """

    task: str
    seed: int
    settings: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]
    n_train: int
    n_scored: Mapping[str, int]
    seconds: float


class Results:
    """The folder of an evaluation.

    path (Path): The folder; it is made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(
        self, task: str, seed: int, settings: Mapping[str, Any], *, force: bool = False
    ) -> Optional[Cell]:
        """Whether a cell has been done already.

        task (str): The task.
        seed (int): The seed.
        settings (Mapping[str, Any]): What it is to be done with.
        force (bool): Whether one done with other settings is to be done again.
        RETURNS (Optional[Cell]): The cell, or None.
        RAISES: ValueError if it was done with other settings; the message names the first.
        """
        file = self._cell(task, seed)
        if not file.is_file():
            return None
        cell = _read_cell(file)
        wanted = _plain(settings)
        for key in sorted({*wanted, *cell.settings}):
            if wanted.get(key) != cell.settings.get(key):
                if force:
                    return None
                raise ValueError(
                    f"{file} was made with {key} = {cell.settings.get(key)!r}, but now {key} is "
                    f"{wanted.get(key)!r}. Name another --output, or train again with --force."
                )
        return cell

    def check_writable(self) -> None:
        """RAISES: OSError if nothing can be written there: to be known before anything is trained."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self.path, prefix="."):
                pass
        except OSError as error:
            raise OSError(
                error.errno,
                f"Results cannot be written to {self.path} ({error.strerror}). Name another folder (--output)",
            ) from None

    def comparable(self, settings: Mapping[str, Mapping[str, Any]]) -> List[Cell]:
        """All cells that are there, but of each task only those that were made with the same settings.

        settings (Mapping[str, Mapping[str, Any]]): Task -> its settings; of a task that is not
            named here, those of its first seed.
        RETURNS (List[Cell]): By task, those named before others, and seed.
        RAISES: ValueError if one is damaged.
        """
        found = list(map(_read_cell, (self.path / "cells").glob("*-seed*.json")))
        by_task: Dict[str, List[Cell]] = {task: [] for task in settings}
        for cell in sorted(found, key=lambda cell: (cell.task, cell.seed)):
            by_task.setdefault(cell.task, []).append(cell)
        kept = []
        for task, cells in by_task.items():
            wanted = _plain(settings[task]) if task in settings else cells[0].settings
            kept += [cell for cell in cells if cell.settings == wanted]
        return kept

    def write(self, cell: Cell, predictions: Mapping[str, Sequence[Prediction]]) -> None:
        """cell (Cell): A cell.
        predictions (Mapping[str, Sequence[Prediction]]): Split -> its predictions, in order."""
        for split, rows in predictions.items():
            lines = [json.dumps(row._asdict(), ensure_ascii=False) for row in rows]
            write_whole(self.predictions(cell.task, split, cell.seed), "\n".join([*lines, ""]))
        # Last: that it is there says that all is.
        text = json.dumps(asdict(cell), indent=1, ensure_ascii=False)
        write_whole(self._cell(cell.task, cell.seed), text + "\n")

    def predictions(self, task: str, split: str, seed: int) -> Path:
        """task (str): A task.
        split (str): A split of it.
        seed (int): A seed.
        RETURNS (Path): The file of its predictions."""
        return self.path / "predictions" / f"{task}-{split}-seed{seed}.jsonl"

    def _cell(self, task: str, seed: int) -> Path:
        return self.path / "cells" / f"{task}-seed{seed}.json"


def _plain(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings as they come back from a file: lists for tuples, strings for paths."""
    return json.loads(json.dumps(settings))


def _read_cell(file: Path) -> Cell:
    try:
        return Cell(**json.loads(file.read_text(encoding="utf8")))
    except (ValueError, TypeError):
        raise ValueError(f"{file} is damaged. Remove it to have it made anew.") from None


def read_predictions(file: Path) -> List[Prediction]:
    """file (Path): What `Results.write` wrote.
    RETURNS (List[Prediction]): The predictions."""
    lines = file.read_text(encoding="utf8").split("\n")
    rows: List[Dict[str, Any]] = [json.loads(line) for line in lines if line]
    return [Prediction(**row) for row in rows]


def write_whole(file: Path, text: str) -> None:
    """Write a file at once, so that a killed run leaves none by halves; its folder, too.

    file (Path): The file.
    text (str): What is to be in it.
    RAISES: OSError if the disk does not take it.
    """
    make_folder(file.parent)
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf8")
