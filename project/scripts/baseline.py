"""Measure how far two simple methods get on a corpus, to know whether it asks for more.

The topic is predicted from the bag of words, with spaCy's stock text classifier. The entities are
looked up among the names of the training documents.
"""

import random
from collections import Counter
from pathlib import Path
from typing import Annotated, Optional

import spacy
import srsly
import typer
from spacy.pipeline import EntityRuler
from spacy.scorer import Scorer
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from spacy.vocab import Vocab

BATCH_SIZE = 16


def read_docs(path: Path, *, vocab: Vocab) -> list[Doc]:
    """Read a part of the corpus.

    path (Path): A .spacy file.
    vocab (Vocab): Vocabulary of the pipeline that will use it.
    RETURNS (list[Doc]): Its documents.
    """
    return list(DocBin().from_disk(path).get_docs(vocab))


def topic_accuracy(
    train: list[Doc], tests: list[list[Doc]], *, lang: str = "en", epochs: int = 15, seed: int = 0
) -> list[float]:
    """Train a bag-of-words classifier and measure the share of right topics.

    train (list[Doc]): Training documents.
    tests (list[list[Doc]]): Sets of documents to measure on.
    lang (str): Language of the tokenizer.
    epochs (int): Times to go through the training documents.
    seed (int): Seed of the weights and of the order.
    RETURNS (list[float]): The share for each set.
    """
    fix_random_seed(seed)
    nlp = spacy.blank(lang)
    model = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": True,
        "ngram_size": 1,
        "no_output_layer": False,
        "length": 8192,
    }
    nlp.add_pipe("textcat", config={"model": model})
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in train]
    optimizer = nlp.initialize(lambda: examples)
    # The stock rate is made for large networks and leaves a linear model half trained.
    optimizer.learn_rate = 0.01
    rng = random.Random(seed)
    for _ in range(epochs):
        rng.shuffle(examples)
        for batch in minibatch(examples, size=BATCH_SIZE):
            nlp.update(batch, sgd=optimizer)
    return [sum(_topic(nlp(doc.text)) == _topic(doc) for doc in docs) / len(docs) for docs in tests]


def _topic(doc: Doc) -> str:
    return max(doc.cats, key=lambda topic: doc.cats[topic])


def lookup_score(train: list[Doc], test: list[Doc], *, lang: str = "en") -> float:
    """Measure how many entities can be found by looking up the names of the training documents.

    train (list[Doc]): Training documents.
    test (list[Doc]): Test documents.
    lang (str): Language of the tokenizer.
    RETURNS (float): F-score of the entities.
    """
    labels: dict[str, Counter[str]] = {}
    for doc in train:
        for ent in doc.ents:
            labels.setdefault(ent.text, Counter())[ent.label_] += 1
    nlp = spacy.blank(lang)
    ruler = nlp.add_pipe("entity_ruler")
    assert isinstance(ruler, EntityRuler)
    # A name with several labels gets the most frequent one.
    ruler.add_patterns(
        [{"label": seen.most_common(1)[0][0], "pattern": text} for text, seen in labels.items()]
    )
    examples = [Example(nlp(doc.text), doc) for doc in test]
    return float(Scorer.score_spans(examples, "ents")["ents_f"])


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    train: Annotated[Path, typer.Argument(help="Training documents, a .spacy file.")],
    test: Annotated[Path, typer.Argument(help="Test documents, a .spacy file.")],
    lang: Annotated[str, typer.Option(help="Language of the tokenizer.")] = "en",
    epochs: Annotated[int, typer.Option(min=1, help="Times to go through TRAIN.")] = 15,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the order.")] = 0,
    output: Annotated[Optional[Path], typer.Option(help="A .json file to write them to.")] = None,
) -> None:
    """Print what simple methods get: topics by their words, where each document has one, and entities
    by the names of TRAIN."""
    missing = [str(path) for path in (train, test) if not path.is_file()]
    if missing:
        typer.echo(
            f"Found no {' and no '.join(missing)}, expected .spacy files. The step `corpus` writes "
            f"those of the demo; for your own, set `train` and `test` under `vars`.",
            err=True,
        )
        raise typer.Exit(code=1)
    vocab = Vocab()
    train_docs, test_docs = (read_docs(path, vocab=vocab) for path in (train, test))
    found: dict[str, float] = {}
    topics = [[doc for doc in docs if doc.cats] for docs in (train_docs, test_docs)]
    # Of several topics at once, none is the most likely one.
    if all(topics) and all(sum(doc.cats.values()) == 1 for docs in topics for doc in docs):
        learnt, scored = topics
        (share,) = topic_accuracy(learnt, [scored], lang=lang, epochs=epochs, seed=seed)
        found["chance_topic"] = 1 / len({topic for doc in learnt for topic in doc.cats})
        found["bag_of_words_topic"] = share
    if any(doc.ents for doc in train_docs):
        found["name_lookup_ents_f"] = lookup_score(train_docs, test_docs, lang=lang)
    for name, value in found.items():
        typer.echo(f"{name}: {value:.3f}")
    if output is not None:
        srsly.write_json(output, found)


if __name__ == "__main__":
    app()
