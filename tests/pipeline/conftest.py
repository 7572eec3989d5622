"""Pipelines on tiny BERTs, and annotated files to train on."""

from pathlib import Path
from typing import Any, Callable

import pytest
from spacy.language import Language
from spacy.tokens import DocBin

from spacy_bert import load_checkpoint
from spacy_bert.pipeline.assemble import bert_settings

from .heads import listener, ner, perturb, pooled_listener, textcat


@pytest.fixture(scope="session")
def wide_checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """The folder of a BERT of another width (48) than the tiny one, and other weights."""
    return make_checkpoint(seed=1, width=48, heads=4)


@pytest.fixture
def joint_nlp(tiny_nlp: Language, make_examples: Callable[..., Any]) -> Language:
    """A pipeline of `bert`, `ner` and `textcat`, with weights that no checkpoint has and that
    annotate something."""
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    perturb(tiny_nlp)
    return tiny_nlp


@pytest.fixture
def add_encoder() -> Callable[..., Any]:
    """A function: adds another `bert`, with the weights of a checkpoint, to a pipeline."""

    def add(nlp: Language, name: str, checkpoint: Path, **settings: Any) -> Any:
        loaded = load_checkpoint(checkpoint)
        model = {**bert_settings(loaded.config), "window": 32, "stride": 24}
        pipe: Any = nlp.add_pipe("bert", name=name, config={"model": model, **settings})
        pipe.load_checkpoint(loaded)
        return pipe

    return add


@pytest.fixture
def corpus(tiny_nlp: Language, make_examples: Callable[..., Any], tmp_path: Path) -> Path:
    """The toy corpus in spaCy's binary form."""
    path = tmp_path / "texts.spacy"
    DocBin(docs=[example.reference for example in make_examples(tiny_nlp)]).to_disk(path)
    return path
