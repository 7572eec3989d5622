"""Our side: spaCy's training of a config as `init-config` writes it. A job as JSON in, predictions as
JSON out."""

import io
import json
import math
import sys
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
from clock import now
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config_from_str, registry

from spacy_bert import from_checkpoint
from spacy_bert.cli.pooling import choose_pooling
from spacy_bert.cli.training_config import training_config
from spacy_bert.encoder import load_checkpoint
from spacy_bert.segments import make_pair
from spacy_bert.targets import set_score

READER, LOGGER = "benchmarks.Records.v1", "benchmarks.Steps.v1"
# The loop of spaCy wants something to evaluate; it does so once, at the first step.
N_DEV = 8


def main() -> None:
    job = json.load(sys.stdin)
    n_steps = math.ceil(len(job["train"]) / job["recipe"]["batch_size"]) * job["recipe"]["epochs"]
    registry.readers.register(READER, func=lambda limit: Records(job, limit))
    registry.loggers.register(LOGGER, func=lambda: logger(n_steps))
    learns = job["kind"] != "similarity"
    nlp = init_nlp(make_config(job, n_steps)) if learns else from_checkpoint(job["checkpoint"])
    started = now()
    if learns:
        train(nlp, None, stdout=io.StringIO())
    trained = now()
    predictions = {split: predict(nlp, job, rows) for split, rows in job["splits"].items()}
    predicted = now()
    print(
        json.dumps(
            {
                "predictions": predictions,
                "training": started.until(trained),
                "prediction": trained.until(predicted),
            }
        )
    )


def make_config(job: Dict[str, Any], n_steps: int) -> Any:
    """job (Dict[str, Any]): What to train. n_steps (int): How many steps it takes.
    RETURNS (Config): What `init-config` writes, with the settings that both sides share."""
    recipe = job["recipe"]
    loaded = load_checkpoint(job["checkpoint"])
    is_pair = job["kind"] == "answers" or len(job["train"][0].get("texts", ())) == 2
    text = training_config(
        loaded.config,
        ["segments", job["pipe"]] if is_pair else [job["pipe"]],
        checkpoint=job["checkpoint"],
        pooling=choose_pooling(loaded),
    )
    changes = {
        "system.seed": job["seed"],
        "training.max_epochs": recipe["epochs"],
        "training.max_steps": 0,
        "training.patience": 0,
        # The last weights are scored, as of the reference.
        "training.eval_frequency": n_steps + 1,
        "training.optimizer.weight_decay": recipe["weight_decay"],
        "training.optimizer.learn_rate.initial_rate": recipe["learning_rate"],
        "training.optimizer.learn_rate.total_steps": n_steps,
        "training.optimizer.learn_rate.warmup_steps": max(1, round(recipe["warmup"] * n_steps)),
        **recipe["overrides"],
    }
    config = load_config_from_str(text, overrides=changes, interpolate=False)
    if job["kind"] == "answers" and all(record["gold"] for record in job["train"]):
        # Every question has an answer, and the reference then always gives one.
        config["components"][job["pipe"]]["null_threshold"] = None
    config["corpora"] = {
        "train": {"@readers": READER, "limit": 0},
        "dev": {"@readers": READER, "limit": N_DEV},
    }
    config["training"]["batcher"] = {
        "@batchers": "spacy.batch_by_sequence.v1",
        "size": recipe["batch_size"],
        "get_length": None,
    }
    config["training"]["logger"] = {"@loggers": LOGGER}
    return config


class Records:
    """A corpus of the training records.

    job (Dict[str, Any]): What to train. limit (int): Above 0: how many to give."""

    def __init__(self, job: Dict[str, Any], limit: int) -> None:
        self.kind, self.records = job["kind"], job["train"][: limit or None]
        golds = {str(record["gold"]) for record in job["train"]}
        self.labels = sorted(golds) if self.kind == "label" else []

    def __call__(self, nlp: Language) -> Iterator[Example]:
        for record in self.records:
            reference = make_doc(nlp, self.kind, record)
            gold = record["gold"]
            if self.kind == "label":
                reference.cats = {label: float(label == gold) for label in self.labels}
            elif self.kind == "number":
                set_score(reference, gold)
            elif self.kind == "entities":
                reference.set_ents([Span(reference, *span) for span in gold])
            else:
                set_gold_answers(reference, record)
            yield Example(make_doc(nlp, self.kind, record), reference)


def make_doc(nlp: Language, kind: str, record: Dict[str, Any]) -> Doc:
    """nlp (Language): The pipeline. kind (str): The kind of the task.
    record (Dict[str, Any]): An example. RETURNS (Doc): It, without what is to be predicted."""
    if kind == "entities":
        return Doc(nlp.vocab, words=record["words"])
    texts = [record["question"], record["context"]] if kind == "answers" else record["texts"]
    return make_pair(nlp, *texts) if len(texts) == 2 else nlp.make_doc(texts[0])


def set_gold_answers(doc: Doc, record: Dict[str, Any]) -> None:
    """doc (Doc): A pair. record (Dict[str, Any]): Its question, with answers."""
    from spacy_bert.answers import Answer, set_answers

    found = [Answer(text, start, start + len(text)) for text, start in record["gold"]]
    set_answers(doc, found, id=record["id"])


def predict(nlp: Language, job: Dict[str, Any], records: List[Dict[str, Any]]) -> List[Any]:
    """nlp (Language): The pipeline. job (Dict[str, Any]): What was trained.
    records (List[Dict[str, Any]]): Examples. RETURNS (List[Any]): A prediction each."""
    if job["kind"] == "similarity":
        vectors = [vectors_of(nlp, [record["texts"][i] for record in records]) for i in (0, 1)]
        return (vectors[0] * vectors[1]).sum(axis=1).tolist()
    docs = nlp.pipe(make_doc(nlp, job["kind"], record) for record in records)
    return [PREDICTIONS[job["kind"]](doc) for doc in docs]


def vectors_of(nlp: Language, texts: List[str]) -> np.ndarray:
    """RETURNS (np.ndarray): Mean vectors, of length 1; shape (n_texts, width)."""
    means = np.stack([doc._.bert.pooled("mean") for doc in nlp.pipe(texts)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def best_answer(doc: Doc) -> str:
    from spacy_bert.answers import answers_of

    return next((answer.text for answer in answers_of(doc)), "")


PREDICTIONS: Dict[str, Callable[[Doc], Any]] = {
    "label": lambda doc: max(doc.cats, key=doc.cats.__getitem__),
    "number": lambda doc: doc._.score,
    "entities": lambda doc: [[ent.start, ent.end, ent.label_] for ent in doc.ents],
    "answers": best_answer,
}


def logger(n_steps: int) -> Callable:
    """n_steps (int): How many steps there will be. RETURNS (Callable): A logger that prints a line now and then."""

    def setup(nlp: Any, stdout: Any, stderr: Any) -> Tuple[Callable, Callable]:
        done = 0

        def step(info: Any) -> None:
            nonlocal done
            done += 1
            if done % 50 == 0 or done == n_steps:
                print(f"step {done} of {n_steps}", file=sys.stderr)

        return step, lambda: None

    return setup


if __name__ == "__main__":
    main()
