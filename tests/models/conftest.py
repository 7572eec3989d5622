"""Sections of configs, and pipelines made of them."""

from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import spacy
from spacy import registry
from spacy.training.initialize import init_nlp

from spacy_bert.encoder import load_checkpoint
from spacy_bert.pipeline.assemble import bert_settings

TOKENS = {"@architectures": "spacy-bert.BertListener.v1", "width": 32}
POOLED = {"@architectures": "spacy-bert.BertPooledListener.v1", "width": 32, "pooling": "cls"}


def ner_of(tok2vec: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 16,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": tok2vec,
    }


def textcat_of(tok2vec: Dict[str, Any], *, exclusive: bool = True) -> Dict[str, Any]:
    return {
        "@architectures": "spacy-bert.BertTextCat.v1",
        "exclusive_classes": exclusive,
        "tok2vec": tok2vec,
    }


@pytest.fixture
def encoder_settings(tiny_checkpoint: Path) -> Dict[str, Any]:
    """The settings of spacy-bert.Bert.v1 that fit the tiny checkpoint."""
    settings = bert_settings(load_checkpoint(tiny_checkpoint).config)
    settings.pop("@architectures")
    return {**settings, "window": 24, "stride": 16}


@registry.readers("toy.AnnotatedCorpus.v1")
def annotated_corpus() -> Callable[[Any], Any]:
    return lambda nlp: iter(annotated_corpus.make(nlp))  # type: ignore[attr-defined]


@pytest.fixture
def from_sections(make_examples: Callable) -> Callable[..., Any]:
    """A function: components by name, and [initialize] -> an initialised pipeline, by way of a
    config, as `spacy train` makes it."""
    annotated_corpus.make = make_examples  # type: ignore[attr-defined]

    def make(components: Dict[str, Any], initialize: Any = None, **training: Any) -> Any:
        corpus = {"@readers": "toy.AnnotatedCorpus.v1"}
        config = spacy.blank("en").config.merge(
            {
                "nlp": {"lang": "en", "pipeline": list(components)},
                "components": components,
                "corpora": {"train": corpus, "dev": corpus},
                "training": {"seed": 0, **training},
                "initialize": initialize or {},
            }
        )
        return init_nlp(config)

    return make
