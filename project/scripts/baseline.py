"""Measure how far two simple methods get on the demo corpus, to know that it asks for more.

The topic is predicted from the bag of words, with spaCy's stock text classifier. The entities are
looked up among the names of the training documents.
"""

import random
from collections import Counter
from pathlib import Path
from typing import Annotated

import spacy
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
    train: list[Doc], tests: list[list[Doc]], *, epochs: int = 15, seed: int = 0
) -> list[float]:
    """Train a bag-of-words classifier and measure the share of right topics.

    train (list[Doc]): Training documents.
    tests (list[list[Doc]]): Sets of documents to measure on.
    epochs (int): Times to go through the training documents.
    seed (int): Seed of the weights and of the order.
    RETURNS (list[float]): The share for each set.
    """
    fix_random_seed(seed)
    nlp = spacy.blank("en")
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


def lookup_score(train: list[Doc], test: list[Doc]) -> float:
    """Measure how many entities can be found by looking up the names of the training documents.

    train (list[Doc]): Training documents.
    test (list[Doc]): Test documents.
    RETURNS (float): F-score of the entities.
    """
    labels: dict[str, Counter[str]] = {}
    for doc in train:
        for ent in doc.ents:
            labels.setdefault(ent.text, Counter())[ent.label_] += 1
    nlp = spacy.blank("en")
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
    corpus: Annotated[Path, typer.Argument(help="Folder that make_corpus.py has written.")],
    epochs: Annotated[int, typer.Option(min=1, help="Times to go through train.spacy.")] = 15,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the order.")] = 0,
) -> None:
    """Print what simple methods get on the demo corpus."""
    paths = [corpus / f"{part}.spacy" for part in ("train", "dev", "test")]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        typer.echo(
            f"Found no {', '.join(missing)}, expected a folder with train.spacy, dev.spacy and "
            f"test.spacy. Write it with make_corpus.py.",
            err=True,
        )
        raise typer.Exit(code=1)
    vocab = Vocab()
    train, dev, test = (read_docs(path, vocab=vocab) for path in paths)
    dev_share, test_share = topic_accuracy(train, [dev, test], epochs=epochs, seed=seed)
    typer.echo(f"topic, chance:               {1 / len(train[0].cats):.3f}")
    typer.echo(f"topic, bag of words, dev:    {dev_share:.3f}")
    typer.echo(f"topic, bag of words, test:   {test_share:.3f}")
    typer.echo(f"entities, name lookup, test: {lookup_score(train, test):.3f} (F-score)")


if __name__ == "__main__":
    app()
