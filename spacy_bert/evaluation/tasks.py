"""Tasks in GLUE's layout (Wang et al. 2018): which files a task's folder has, and what their columns are.

A folder that looks otherwise says so itself, in a file `task.json` of the same fields:

    {"train": "train.tsv", "splits": {"dev": "dev.tsv"}, "metrics": ["accuracy"],
     "reader": {"text_a": "sentence1", "text_b": "sentence2", "label": "label"}}
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..readers.pairs import PairsCorpus
from .metrics import METRICS, NUMBERS

TASK_FILE = "task.json"


@dataclass(frozen=True)
class Task:
    """A task in one layout of its files.

    name (str): What it is called.
    train (str): The file to train on, within the task's folder.
    splits (Mapping[str, str]): What to score on: name -> file.
    metrics (Tuple[str, ...]): The official metrics, see METRICS.
    reader (Mapping[str, Any]): Settings of PairsCorpus: columns, header, ...
    positive (str): The label whose F1 it is.
    RAISES: ValueError for a metric that does not exist, or does not go with what is learnt; or if
        there is nothing to score on.
    """

    name: str
    train: str
    splits: Mapping[str, str]
    metrics: Tuple[str, ...]
    reader: Mapping[str, Any] = field(default_factory=dict)
    positive: str = "1"

    def __post_init__(self) -> None:
        for name in (self.name, *self.splits):
            # Files are named so.
            if not isinstance(name, str) or not re.fullmatch(r"[^./\\\0][^/\\\0]*", name):
                raise ValueError(
                    f"A task or a split is called {name!r}, but results are written to files of that name. "
                    f"Take one without slashes that does not begin with a dot."
                )
        if not self.splits:
            raise ValueError(
                f"The task {self.name!r} names no splits, so there is nothing to score on. Name some: "
                f'"splits": {{"dev": "dev.tsv"}}.'
            )
        unknown = [metric for metric in self.metrics if metric not in METRICS]
        if unknown or not self.metrics:
            raise ValueError(
                f"The task {self.name!r} lists the metric {(unknown or ['none'])[0]!r}, but there are "
                f"{', '.join(METRICS)}."
            )
        mixed = [metric for metric in self.metrics if (metric in NUMBERS) != self.is_regression]
        column = "score" if self.is_regression else "label"
        if mixed or self.reader.get(column) is None:
            raise ValueError(
                f"The task {self.name!r} has the metrics {', '.join(self.metrics)} and a {column} "
                f"column {self.reader.get(column)!r}. Metrics of numbers ({', '.join(NUMBERS)}) need a "
                f"score column, all others a label column; a task has one kind."
            )

    @property
    def is_regression(self) -> bool:
        """RETURNS (bool): Whether numbers are predicted, and not labels."""
        return self.metrics[0] in NUMBERS

    @property
    def is_pair(self) -> bool:
        """RETURNS (bool): Whether texts come in pairs."""
        return self.reader.get("text_b") is not None

    def settings(self, folder: Path, file: str) -> Dict[str, Any]:
        """folder (Path): The task's folder.
        file (str): A file in it.
        RETURNS (Dict[str, Any]): The settings of PairsCorpus for it."""
        settings = dict(self.reader)
        # What is not asked for need not be right: SICK has both.
        settings.pop("label" if self.is_regression else "score", None)
        return {**settings, "path": str(folder / file)}

    def corpus(self, folder: Path, file: str, *, limit: int = 0) -> PairsCorpus:
        """folder (Path): The task's folder.
        file (str): A file in it.
        limit (int): Above 0: how many rows to read.
        RETURNS (PairsCorpus): Its reader."""
        return PairsCorpus(**self.settings(folder, file), limit=limit)


class FoundTask(NamedTuple):
    """task (Task): A task.
    folder (Path): Where its files are."""

    task: Task
    folder: Path


def _task(name: str, splits: str, metrics: str, *, train: str = "train.tsv", **reader: Any) -> Task:
    """splits: "dev=dev.tsv test=test.tsv"."""
    files = dict(part.split("=", 1) for part in splits.split())
    return Task(name, train, files, tuple(metrics.split()), reader)


PAIR: Dict[str, Any] = {"text_a": "sentence1", "text_b": "sentence2"}
QUESTIONS: Dict[str, Any] = {"text_a": "question1", "text_b": "question2"}
MRPC: Dict[str, Any] = {"text_a": "#1 String", "text_b": "#2 String", "label": "Quality"}
COLA: Dict[str, Any] = {"header": False, "text_a": 3, "label": 1}

# Each task as GLUE hands it out, then in another usual layout. Of several, the first whose files
# are there counts.
TASKS: Tuple[Task, ...] = (
    _task("cola", "dev=dev.tsv", "matthews", **COLA),
    _task(
        "cola",
        "in-domain=in_domain_dev.tsv out-of-domain=out_of_domain_dev.tsv",
        "matthews",
        train="in_domain_train.tsv",
        **COLA,
    ),
    _task("sst-2", "dev=dev.tsv", "accuracy", text_a="sentence", label="label"),
    _task("mrpc", "dev=dev.tsv", "f1 accuracy", **MRPC),
    _task(
        "mrpc",
        "dev=msr-para-val.tsv test=msr-para-test.tsv",
        "f1 accuracy",
        train="msr-para-train.tsv",
        **MRPC,
    ),
    _task("sts-b", "dev=dev.tsv", "pearson spearman", **PAIR, score="score"),
    _task(
        "sts-b",
        "dev=stsb-en-dev.csv test=stsb-en-test.csv",
        "pearson spearman",
        train="stsb-en-train.csv",
        header=False,
        text_a=0,
        text_b=1,
        score=2,
    ),
    # Of its 364,000 rows a few have a line break in a question.
    _task("qqp", "dev=dev.tsv", "f1 accuracy", **QUESTIONS, label="is_duplicate", bad_rows="skip"),
    _task(
        "mnli",
        "matched=dev_matched.tsv mismatched=dev_mismatched.tsv",
        "accuracy",
        **PAIR,
        label="gold_label",
    ),
    _task("qnli", "dev=dev.tsv", "accuracy", text_a="question", text_b="sentence", label="label"),
    _task("rte", "dev=dev.tsv", "accuracy", **PAIR, label="label"),
    _task("wnli", "dev=dev.tsv", "accuracy", **PAIR, label="label"),
    _task(
        "sick",
        "dev=SICK_trial.txt test=SICK_test_annotated.txt",
        "accuracy",
        train="SICK_train.txt",
        text_a="sentence_A",
        text_b="sentence_B",
        label="entailment_judgment",
    ),
    _task(
        "sick-r",
        "dev=SICK_trial.txt test=SICK_test_annotated.txt",
        "pearson spearman",
        train="SICK_train.txt",
        text_a="sentence_A",
        text_b="sentence_B",
        score="relatedness_score",
    ),
)
# A task -> the folder that it shares with another.
SHARED = {"sick-r": "sick"}


def find_tasks(root: Path, names: Optional[Sequence[str]] = None) -> List[FoundTask]:
    """Find tasks in a folder of folders, one a task: "CoLA", "cola", "STS-B", "stsb", ...

    root (Path): The folder.
    names (Optional[Sequence[str]]): Tasks, or folders with a task.json; all that are there if not given.
    RETURNS (List[FoundTask]): The tasks, in the order they were named in.
    RAISES: OSError or ValueError if a folder or file is missing; the message says which.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"There is no folder {root}. Name the one that holds a folder for each task."
        )
    folders = {_plain(path.name): path for path in sorted(root.iterdir()) if path.is_dir()}
    known = list(dict.fromkeys(task.name for task in TASKS))
    if names is None:
        own = [path.name for path in folders.values() if (path / TASK_FILE).is_file()]
        found = [_find(name, folders) for name in (*known, *own) if _folder(name, folders)]
        # A folder of that name need not be one of ours.
        tasks = {entry.task.name: entry for entry in found if entry is not None}
        if not tasks:
            raise ValueError(
                f"{root} holds the folders {', '.join(p.name for p in folders.values()) or 'none'}, but "
                f"no files of {', '.join(known)}, and no {TASK_FILE}."
            )
        return list(tasks.values())
    chosen: Dict[str, FoundTask] = {}
    if not names:
        raise ValueError(
            f"No task was named. There are {', '.join(known)}, and folders with a {TASK_FILE}."
        )
    for name in names:
        folder = _folder(name, folders)
        if folder is None:
            raise FileNotFoundError(
                f"There is no folder for the task {name!r} in {root}, which holds "
                f"{', '.join(path.name for path in folders.values()) or 'no folders'}."
            )
        entry = _find(name, folders)
        if entry is None:
            raise ValueError(_lacks(name, folder, known))
        chosen[entry.task.name] = entry
    return list(chosen.values())


def read_task(file: Path) -> Task:
    """file (Path): A task.json.
    RETURNS (Task): What it says.
    RAISES: ValueError if it is not as described above."""
    try:
        data = dict(json.loads(file.read_text(encoding="utf-8-sig")))
        for key, kind in {"train": str, "splits": dict, "metrics": list, "reader": dict}.items():
            if not isinstance(data.get(key, kind()), kind):
                raise TypeError(f"{key} is {data[key]!r}, no {kind.__name__}")
        fields = {**data, "metrics": tuple(data["metrics"])}
        task = Task(**{"name": file.parent.name.lower(), **fields})
        for name in (task.train, *task.splits.values()):
            task.corpus(file.parent, name)
            if not (file.parent / name).is_file():
                raise ValueError(
                    f"there is no file {name!r} beside it. Correct the name, or add the file."
                )
        return task
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{file} does not describe a task ({type(error).__name__}: {error}). Expected a JSON "
            f"object with train, splits, metrics and reader, as in docs/tasks.md."
        ) from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _find(name: str, folders: Dict[str, Path]) -> Optional[FoundTask]:
    folder = _folder(name, folders)
    if folder is None:
        return None
    if (folder / TASK_FILE).is_file() and _plain(name) == _plain(folder.name):
        return FoundTask(read_task(folder / TASK_FILE), folder)
    for task in TASKS:
        files = (task.train, *task.splits.values())
        if _plain(task.name) == _plain(name) and all((folder / f).is_file() for f in files):
            return FoundTask(task, folder)
    return None


def _folder(name: str, folders: Dict[str, Path]) -> Optional[Path]:
    return folders.get(_plain(SHARED.get(name, name)))


def _lacks(name: str, folder: Path, known: Sequence[str]) -> str:
    layouts = [
        ", ".join((task.train, *task.splits.values()))
        for task in TASKS
        if _plain(task.name) == _plain(name)
    ]
    if not layouts:
        return (
            f"The task {name!r} is none of {', '.join(known)}, and there is no {TASK_FILE} in "
            f"{folder} that describes it. Write one."
        )
    held = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    return (
        f"{folder} holds {held}, but for {name} these files were expected: {'; or '.join(layouts)}. Add "
        f"what is missing, or describe your own files in {TASK_FILE}."
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
