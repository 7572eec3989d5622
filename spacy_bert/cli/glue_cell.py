"""One task, one seed: trained by spaCy's own loop, from a config as `init-config` writes it, and scored."""

import difflib
import hashlib
import io
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from ..evaluation.metrics import score
from ..evaluation.results import Cell, Prediction
from ..evaluation.tasks import FoundTask, Task
from .pooling import Pooling, choose_pooling
from .progress import StepsLogger
from .training_config import training_config

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

    from ..encoder import Checkpoint

LOGGER = "spacy-bert.StepsLogger.v1"
# What the command decides itself -> where it comes from.
DECIDED = {
    "corpora": "Use --limit, or task.json.",
    "training.batcher": "Use --batch-size.",
    "training.logger": "It shows how far a training is.",
    "training.max_epochs": "Use --epochs.",
    "training.max_steps": "Use --epochs.",
    "training.optimizer.learn_rate.total_steps": "Use --epochs: the rate falls to zero with the last step.",
    "training.eval_frequency": "The last state is scored.",
    "training.patience": "The last state is scored.",
    "training.seed": "Use --seeds.",
    "system.seed": "Use --seeds.",
    "paths": "Name them as CHECKPOINT and FOLDER.",
}


@dataclass(frozen=True)
class Recipe:
    """How each cell is trained.

    epochs (int): Times through the training data.
    batch_size (int): Examples a step.
    learning_rate (Optional[float]): Peak rate of the encoder; what init-config takes for its size if not given.
    warmup (float): Share of the steps in which the rate rises; then it falls to zero.
    limit (int): Above 0: how many training examples to read.
    pooling (Optional[str]): What stands for a text; what init-config takes if not given.
    lang (str): Language of the tokenizer.
    gpu (bool): Whether to train on a GPU.
    revision (Optional[str]): Revision of the checkpoint, if it is one of the hub.
    overrides (Mapping[str, Any]): Further settings of the config, such as {"training.dropout": 0.2}.
    """

    epochs: int = 3
    batch_size: int = 32
    learning_rate: Optional[float] = None
    warmup: float = 0.1
    limit: int = 0
    pooling: Optional[str] = None
    lang: str = "en"
    gpu: bool = False
    revision: Optional[str] = None
    overrides: Mapping[str, Any] = field(default_factory=dict)


def cell_settings(
    checkpoint: "Checkpoint", weights: str, found: FoundTask, recipe: Recipe
) -> Dict[str, Any]:
    """checkpoint (Checkpoint): The checkpoint.
    weights (str): Its fingerprint.
    found (FoundTask): The task.
    recipe (Recipe): How it is trained.
    RETURNS (Dict[str, Any]): All that the result depends on beside the seed."""
    files = (found.task.train, *found.task.splits.values())
    return {
        "checkpoint": checkpoint.source,
        # Pretraining that goes on leaves other weights at the same place.
        "weights": weights,
        **asdict(recipe),
        "task": asdict(found.task),
        "files": {
            file: hashlib.sha256((found.folder / file).read_bytes()).hexdigest() for file in files
        },
    }


def fingerprint(checkpoint: "Checkpoint") -> str:
    """checkpoint (Checkpoint): A checkpoint.
    RETURNS (str): SHA-256 of its sizes, vocabulary and weights."""
    tokenizer = checkpoint.tokenizer.fingerprint if checkpoint.tokenizer is not None else ""
    facts = json.dumps([checkpoint.config.to_dict(), tokenizer], sort_keys=True)
    digest = hashlib.sha256(facts.encode("utf8"))
    for name, weight in sorted(checkpoint.weights.items()):
        digest.update(name.encode("utf8"))
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_task(found: FoundTask, recipe: Recipe) -> None:
    """Read all files of a task, so that what is wrong with them shows before anything is trained.

    found (FoundTask): The task.
    recipe (Recipe): How it is trained.
    RAISES: OSError or ValueError if a file cannot be read, or there is nothing to learn or to score.
    """
    task, folder = found
    train = task.corpus(folder, task.train, limit=recipe.limit)
    labels = {label for of_row, _ in train.annotations() for label in of_row or ()}
    if not task.is_regression and len(labels) < 2:
        raise ValueError(
            f"{train.table.path} has the labels {', '.join(map(repr, sorted(labels))) or 'none'} only, "
            f"but a text classifier needs at least two labels. Look at its columns, or at --limit."
        )
    if "f1" in task.metrics and task.positive not in labels:
        raise ValueError(
            f"The task {task.name!r} asks for the F1 of the label {task.positive!r}, which none of its "
            f"training examples has; they have "
            f"{', '.join(map(repr, sorted(labels)))}. Set positive in task.json."
        )
    for file in task.splits.values():
        corpus = task.corpus(folder, file)
        if all(a == (None, None) for a in corpus.annotations(labels or None)):
            raise ValueError(
                f"{corpus.table.path} holds no annotated text, so there is nothing to score on. Name a "
                f"file that does in splits."
            )


def run_cell(
    checkpoint: "Checkpoint",
    found: FoundTask,
    recipe: Recipe,
    *,
    settings: Mapping[str, Any],
    seed: int,
    label: str,
) -> Tuple[Cell, Dict[str, List[Prediction]]]:
    """Train and score.

    checkpoint (Checkpoint): What to start from.
    found (FoundTask): The task and its files.
    recipe (Recipe): How to train.
    settings (Mapping[str, Any]): What `cell_settings` made of these.
    seed (int): Seed of the head's weights, the order of the data, and dropout.
    label (str): What to call it in the progress bar.
    RETURNS (Tuple[Cell, Dict[str, List[Prediction]]]): Scores, and the predictions for each split.
    RAISES: ValueError if training fails; the message names task and seed. The files are checked by
        `check_task`.
    """
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train
    from spacy.util import registry

    # Not an entry point: spaCy loads all loggers of those for everyone, whatever they do.
    registry.loggers.register(LOGGER, func=StepsLogger)
    started = time.monotonic()
    task, folder = found
    n_train = len(task.corpus(folder, task.train, limit=recipe.limit).rows())
    n_steps = math.ceil(n_train / recipe.batch_size) * recipe.epochs
    config = cell_config(checkpoint, found, recipe, seed=seed, n_steps=n_steps, label=label)
    nlp = init_nlp(config, use_gpu=0 if recipe.gpu else -1)
    gold = {split: _examples(task, folder, file, nlp) for split, file in task.splits.items()}
    try:
        train(nlp, None, use_gpu=0 if recipe.gpu else -1, stdout=io.StringIO())
        predictions = {
            split: predict(nlp, task, lines, examples) for split, (lines, examples) in gold.items()
        }
    except FloatingPointError as error:
        raise ValueError(f"{task.name}, seed {seed}: {error}") from error
    scores = {split: score_predictions(task, rows) for split, rows in predictions.items()}
    cell = Cell(
        task=task.name,
        seed=seed,
        settings=settings,
        scores=scores,
        n_train=n_train,
        n_scored={split: len(rows) for split, rows in predictions.items()},
        seconds=round(time.monotonic() - started, 1),
    )
    return cell, predictions


def cell_config(
    checkpoint: "Checkpoint",
    found: FoundTask,
    recipe: Recipe,
    *,
    seed: int,
    n_steps: int,
    label: str = "training",
) -> Any:
    """checkpoint (Checkpoint): What to start from.
    found (FoundTask): The task and its files.
    recipe (Recipe): How to train.
    seed (int): The seed.
    n_steps (int): How many steps there will be.
    label (str): What to call it in the progress bar.
    RETURNS (Config): The training config of spaCy."""
    from spacy.util import load_config_from_str

    task, folder = found
    head = head_of(task)
    pooling = choose_pooling(checkpoint, recipe.revision)
    if recipe.pooling is not None:
        pooling = Pooling(recipe.pooling, "as was asked for")
    text = training_config(
        checkpoint.config,
        ["segments", head] if task.is_pair else [head],
        checkpoint=checkpoint.source,
        revision=recipe.revision,
        pooling=pooling,
        lang=recipe.lang,
        gpu=recipe.gpu,
    )
    changes: Dict[str, Any] = {
        "system.seed": seed,
        "training.max_epochs": recipe.epochs,
        "training.max_steps": 0,
        "training.patience": 0,
        # What is scored is the last state, as in the paper; the loop itself evaluates once, at its
        # first step, on a few examples.
        "training.eval_frequency": n_steps + 1,
        "training.optimizer.learn_rate.total_steps": n_steps,
        "training.optimizer.learn_rate.warmup_steps": max(1, round(recipe.warmup * n_steps)),
    }
    if recipe.learning_rate is not None:
        changes["training.optimizer.learn_rate.initial_rate"] = recipe.learning_rate
    check_overrides(load_config_from_str(text, interpolate=False), recipe.overrides)
    config = load_config_from_str(
        text, overrides={**changes, **dict(recipe.overrides)}, interpolate=False
    )
    reader = "spacy-bert.PairsCorpus.v1"
    config["corpora"] = {
        "train": {
            "@readers": reader,
            **task.settings(folder, task.train),
            "limit": recipe.limit,
        },
        "dev": {
            "@readers": reader,
            **task.settings(folder, next(iter(task.splits.values()))),
            "limit": 32,
        },
    }
    config["training"]["batcher"] = {
        "@batchers": "spacy.batch_by_sequence.v1",
        "size": recipe.batch_size,
        "get_length": None,
    }
    config["training"]["logger"] = {
        "@loggers": LOGGER,
        "total": n_steps,
        "label": label,
    }
    return config


def check_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """config (Mapping[str, Any]): A training config.
    overrides (Mapping[str, Any]): Settings that are to replace its own; spaCy would take any.
    RAISES: ValueError for one that it does not have, or that `evaluate-glue` decides."""
    for key in overrides:
        for decided, instead in DECIDED.items():
            if f"{key}.".startswith(f"{decided}."):
                raise ValueError(f"--{key} is decided by evaluate-glue. {instead}")
        section: Any = config
        for part in key.split("."):
            if not isinstance(section, Mapping) or part not in section:
                known = list(section) if isinstance(section, Mapping) else []
                close = difflib.get_close_matches(part, known, n=1)
                hint = f" Did you mean {key.replace(part, close[0])}?" if close else ""
                raise ValueError(
                    f"--{key} names no setting of the training config: there is no {part!r}.{hint} "
                    f"`init-config` writes a config with all of them."
                )
            section = section[part]


def head_of(task: Task) -> str:
    """task (Task): A task.
    RETURNS (str): The component that learns it."""
    return "text_regressor" if task.is_regression else "textcat"


def predict(
    nlp: "Language", task: Task, lines: List[int], examples: "List[Example]"
) -> List[Prediction]:
    """nlp (Language): A trained pipeline.
    task (Task): The task.
    lines (List[int]): Where the examples are in their file.
    examples (List[Example]): The examples.
    RETURNS (List[Prediction]): One an example, in order."""
    docs = nlp.pipe([example.predicted for example in examples])
    rows = []
    for line, example, doc in zip(lines, examples, docs, strict=True):
        if task.is_regression:
            rows.append(Prediction(line, example.reference._.score, doc._.score))
        else:
            cats = example.reference.cats
            rows.append(Prediction(line, max(cats, key=cats.get), max(doc.cats, key=doc.cats.get)))  # type: ignore[arg-type]
    return rows


def score_predictions(task: Task, rows: List[Prediction]) -> Dict[str, float]:
    """task (Task): The task.
    rows (List[Prediction]): Its predictions for one split.
    RETURNS (Dict[str, float]): Metric -> value."""
    gold, predicted = [row.gold for row in rows], [row.predicted for row in rows]
    return score(task.metrics, gold, predicted, positive=task.positive)


def _examples(
    task: Task, folder: Path, file: str, nlp: "Language"
) -> "Tuple[List[int], List[Example]]":
    corpus = task.corpus(folder, file)
    rows, examples = corpus.rows(), list(corpus(nlp))
    lines = [row.line for row in rows]
    # An example without annotation cannot be scored.
    kept = [
        (line, example)
        for line, example in zip(lines, examples, strict=True)
        if example.reference.cats or example.reference._.score is not None
    ]
    return [line for line, _ in kept], [example for _, example in kept]
