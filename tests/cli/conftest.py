"""The command line without a process of its own, and annotated texts to train on."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
import spacy
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_bert import make_pair
from spacy_bert.cli.app import app
from spacy_bert.targets import set_score

# words, tags, parts of speech, heads, dependencies, lemmas; the first word is an entity
SENTENCES = [
    ("Alice likes Paris .", "NNP VBZ NNP .", "PROPN VERB PROPN PUNCT", "1 1 1 1", "nsubj ROOT dobj punct", "Alice like Paris ."),
    ("Bob works in London", "NNP VBZ IN NNP", "PROPN VERB ADP PROPN", "1 1 1 2", "nsubj ROOT prep pobj", "Bob work in London"),
    ("Carol lives in Berlin", "NNP VBZ IN NNP", "PROPN VERB ADP PROPN", "1 1 1 2", "nsubj ROOT prep pobj", "Carol live in Berlin"),
    ("Bob liked London .", "NNP VBD NNP .", "PROPN VERB PROPN PUNCT", "1 1 1 1", "nsubj ROOT dobj punct", "Bob like London ."),
]  # fmt: skip


@pytest.fixture
def run() -> Callable[..., Any]:
    """A function: arguments of the command line -> what it printed, and its exit status."""

    def invoke(*arguments: Any) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of texts with every annotation that some pipe learns from."""
    nlp = spacy.blank("en")
    docs = []
    for i in range(2 * len(SENTENCES)):
        text, tags, pos, heads, deps, lemmas = SENTENCES[i % len(SENTENCES)]
        words = text.split()
        doc = Doc(
            nlp.vocab,
            words=words,
            tags=tags.split(),
            pos=pos.split(),
            morphs=[f"Number={'Sing' if p == 'PROPN' else 'Plur'}" for p in pos.split()],
            heads=list(map(int, heads.split())),
            deps=deps.split(),
            lemmas=lemmas.split(),
            ents=["B-PERSON", *["O"] * (len(words) - 1)],
        )
        doc.cats = {"WORK": float("work" in text), "LIFE": float("work" not in text)}
        set_score(doc, len(words))
        doc.spans["sc"] = [Span(doc, 0, 1, label="WHO"), Span(doc, 0, 2, label="WHAT")]
        docs.append(doc)
    return _save(docs, tmp_path_factory)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of pairs of texts: the same, or not."""
    nlp = spacy.blank("en")
    docs = []
    for i in range(8):
        a, b = SENTENCES[i % 4][0], SENTENCES[i % 4 if i % 2 else (i + 1) % 4][0]
        doc = make_pair(nlp, a, b)
        doc.cats = {"SAME": float(a == b), "OTHER": float(a != b)}
        docs.append(doc)
    return _save(docs, tmp_path_factory)


def _save(docs: List[Doc], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture
def train_pipeline(tmp_path: Path) -> Callable[..., Any]:
    """A function: a config, a corpus and overrides -> the pipeline of the last of a few steps,
    by what `spacy train` runs."""

    def run_train(config: Path, data: Path, overrides: Optional[Dict[str, Any]] = None) -> Any:
        settings = {
            "paths.train": str(data),
            "paths.dev": str(data),
            "training.max_steps": 3,
            "training.eval_frequency": 2,
            # At the first step of the warm-up the rate is zero: the others are to count.
            "training.optimizer.learn_rate.warmup_steps": 1,
            "training.optimizer.learn_rate.initial_rate": 0.001,
            "training.batcher.size": 12,
        }
        train(config, tmp_path / "trained", overrides={**settings, **(overrides or {})})
        return spacy.load(tmp_path / "trained" / "model-last")

    return run_train
