"""The tasks: where their data is in a folder, and what is trained and scored.

Both sides are given the same examples, as plain records:

    label, number, similarity   {"texts": [one or two], "gold": "1" or 3.2}
    entities                    {"words": [...], "gold": [[first, end, label], ...]}, in words
    answers                     {"id", "question", "context", "gold": [[text, first character], ...]}
"""

import gzip
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

Record = Dict[str, Any]


class Data(NamedTuple):
    """train (List[Record]): What is trained on.
    splits (Dict[str, List[Record]]): What is scored."""

    train: List[Record]
    splits: Dict[str, List[Record]]


@dataclass(frozen=True)
class Task:
    """What is compared.

    name (str): What it is called.
    kind (str): "label", "number", "similarity", "entities" or "answers".
    metrics (Tuple[str, ...]): The official metrics, see comparison.METRICS.
    pipes (Tuple[str, ...]): What learns it on our side.
    read (Callable[[Path], Data]): Folder of all data -> the data of this task.
    epochs (int): Times through the training data.
    """

    name: str
    kind: str
    metrics: Tuple[str, ...]
    pipes: Tuple[str, ...]
    read: Callable[[Path], Data]
    epochs: int = 3


def table(name: str, splits: Sequence[str], limit: int = 0) -> Callable[[Path], Data]:
    """name (str): A task of `evaluate-glue`.
    splits (Sequence[str]): Which of its splits to score.
    limit (int): Above 0: how many examples to train on, the first of the file.
    RETURNS (Callable[[Path], Data]): Its reader."""

    def read(root: Path) -> Data:
        from spacy_bert.evaluation.tasks import find_tasks

        task, folder = find_tasks(root, [name])[0]
        column = task.reader["score" if task.is_regression else "label"]
        texts = [task.reader[c] for c in ("text_a", "text_b") if task.reader.get(c) is not None]
        gold: Callable[[Any], Any] = float if task.is_regression else str.strip

        def records(file: str, limit: int = 0) -> List[Record]:
            rows = [row.values for row in task.corpus(folder, file, limit=limit).rows()]
            return [{"texts": [row[c] for c in texts], "gold": gold(row[column])} for row in rows]

        scored = {split: records(task.splits[split]) for split in splits}
        return Data(records(task.train, limit), scored)

    return read


def conll(train: str, test: str, word: int, tag: int) -> Callable[[Path], Data]:
    """train (str): The file to train on.
    test (str): The file to score.
    word (int): Column of the word.
    tag (int): Column of its BIO tag.
    RETURNS (Callable[[Path], Data]): Their reader."""

    def read(root: Path) -> Data:
        train_records = read_conll(root / train, word, tag)
        return Data(train_records, {"test": read_conll(root / test, word, tag)})

    return read


def read_conll(path: Path, word: int, tag: int) -> List[Record]:
    """path (Path): A file with a word a line, columns split by tabs; compressed by gzip or not.
    word (int): Column of the word.
    tag (int): Column of its BIO tag.
    RETURNS (List[Record]): A record a sentence."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    records: List[Record] = []
    words: List[str] = []
    tags: List[str] = []
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for line in [*lines, ""]:
            columns = line.rstrip("\r\n").split("\t")
            # The comments of CoNLL-U have no columns; of a tweet, "#" may be a word.
            if len(columns) > tag and columns[word].strip():
                words.append(columns[word].strip())
                tags.append(columns[tag].strip())
            elif words and not line.startswith("#"):
                records.append({"words": words, "gold": spans_of(tags)})
                words, tags = [], []
    return records


def spans_of(tags: Sequence[str]) -> List[List[Any]]:
    """tags (Sequence[str]): BIO tags; an "I" that continues nothing begins an entity, as in conlleval.
    RETURNS (List[List[Any]]): Entities: first word, the one after the last, label."""
    spans: List[List[Any]] = []
    open_label = ""
    for i, tag in enumerate(tags):
        prefix, _, label = tag.partition("-")
        if prefix == "I" and label == open_label:
            spans[-1][1] = i + 1
        elif prefix in ("B", "I"):
            spans.append([i, i + 1, label])
        open_label = label
    return spans


def squad(n_train: int, n_other: int) -> Callable[[Path], Data]:
    """n_train (int): How many questions to train on, drawn by chance; 0 for all.
    n_other (int): How many of the other domain to score, drawn by chance; 0 for all.
    RETURNS (Callable[[Path], Data]): Reader of SQuADShifts: trained on four fifths of the titles of its
        new Wikipedia articles, scored on the others, and on reviews."""

    def read(root: Path) -> Data:
        train, held_out = _by_title(root / "squadshifts" / "new_wiki_v1.0.json.gz")
        other = draw(
            _by_title(root / "squadshifts" / "amazon_reviews_v1.0.json.gz", 0.0)[1], n_other
        )
        return Data(draw(train, n_train), {"held-out titles": held_out, "amazon": other})

    return read


def squad_2(root: Path) -> Data:
    """root (Path): Folder of all data.
    RETURNS (Data): The part of SQuAD 2.0's development set that is there, half of it without an answer:
        four fifths of its articles to train on, the others to score."""
    train, held_out = _by_title(root / "squad-2.0" / "dev-part-a-v2.0.json")
    return Data(train, {"held-out titles": held_out})


def _by_title(path: Path, share: float = 0.8) -> Tuple[List[Record], List[Record]]:
    """Questions of a file, of a share of its titles and of the others."""
    from spacy_bert.readers.squad import read_squad

    questions = read_squad(path)
    titles = sorted({question.title for question in questions})
    random.Random(0).shuffle(titles)
    chosen = set(titles[: round(share * len(titles))])
    sides = ([q for q in questions if (q.title in chosen) == inside] for inside in (True, False))
    first, second = ([_answer_record(q) for q in side] for side in sides)
    return first, second


def draw(records: List[Record], n: int) -> List[Record]:
    """records (List[Record]): Records.
    n (int): How many to draw, always the same; 0 for all.
    RETURNS (List[Record]): Those drawn."""
    return random.Random(0).sample(records, n) if 0 < n < len(records) else records


def _answer_record(question: Any) -> Record:
    # As both sides read it: no blank around, so that offsets are the same.
    shift = len(question.context) - len(question.context.lstrip())
    return {
        "id": question.id,
        "question": re.sub(r"\s+", " ", question.question).strip(),
        "context": question.context.strip(),
        "gold": [[text, start - shift] for text, start in question.answers],
    }


TEXT, NUMBER = ("textcat",), ("text_regressor",)
RECOGNISERS = ("bert_ner", "ner")
WNUT = conll("wnut-17/wnut17train.conll", "wnut-17/emerging.test.annotated", 0, 1)
EWT_FOLDER = "uner-english-ewt/en_ewt-ud-"
EWT = conll(f"{EWT_FOLDER}train.draft.iob2.gz", f"{EWT_FOLDER}test.iob2", 1, 2)

TASKS: Dict[str, Task] = {
    task.name: task
    for task in (
        Task("cola", "label", ("matthews",), TEXT, table("cola", ["in-domain"])),
        Task("sick", "label", ("accuracy",), TEXT, table("sick", ["test"])),
        Task("sts-b", "number", ("spearman",), NUMBER, table("sts-b", ["test"])),
        Task(
            "sts-b-untrained", "similarity", ("spearman",), ("bert",), table("sts-b", ["test"]), 0
        ),
        Task("wnut-17", "entities", ("entity f1",), RECOGNISERS, WNUT, epochs=5),
        Task("mrpc", "label", ("f1",), TEXT, table("mrpc", ["test"])),
        Task("sst-2", "label", ("accuracy",), TEXT, table("sst-2", ["dev"], 10_000)),
        Task("qa", "answers", ("exact match", "answer f1"), ("span_qa",), squad(2000, 2000)),
        Task("squad-2", "answers", ("exact match", "answer f1"), ("span_qa",), squad_2),
        Task("uner-ewt", "entities", ("entity f1",), RECOGNISERS, EWT),
        Task("sst-2-full", "label", ("accuracy",), TEXT, table("sst-2", ["dev"])),
        Task("qa-full", "answers", ("exact match", "answer f1"), ("span_qa",), squad(0, 0)),
    )
}
