"""Configs of small heads on a shared encoder, and weights that no checkpoint has."""

from typing import Any, Dict, Iterable

import numpy as np
import torch
from spacy.language import Language

from spacy_bert.layers.doc_encoder import find_part, has_encoder, shim_of

WIDTH = 32  # of the tiny BERT


def listener(width: int = WIDTH, **settings: Any) -> Dict[str, Any]:
    return {"@architectures": "spacy-bert.BertListener.v1", "width": width, **settings}


def pooled_listener(width: int = WIDTH, pooling: str = "mean", **settings: Any) -> Dict[str, Any]:
    architecture = "spacy-bert.BertPooledListener.v1"
    return {"@architectures": architecture, "width": width, "pooling": pooling, **settings}


def ner(tok2vec: Dict[str, Any]) -> Dict[str, Any]:
    """The config of spaCy's `ner` on some tok2vec layer."""
    return {
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 16,
            "maxout_pieces": 2,
            "use_upper": False,
            "tok2vec": tok2vec,
        }
    }


def tagger(tok2vec: Dict[str, Any]) -> Dict[str, Any]:
    return {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}


def textcat(tok2vec: Dict[str, Any]) -> Dict[str, Any]:
    """The config of spaCy's `textcat` on some layer that gives one vector a Doc."""
    return {
        "model": {
            "@architectures": "spacy-bert.BertTextCat.v1",
            "exclusive_classes": True,
            "tok2vec": tok2vec,
        }
    }


def perturb(nlp: Language, *, seed: int = 0) -> None:
    """Change all weights of a pipeline, so that none is what a checkpoint or a constructor gave it."""
    generator = torch.Generator().manual_seed(seed)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for _, pipe in nlp.components:
            model = getattr(pipe, "model", None)
            if model is None:
                continue
            if has_encoder(model):
                for parameter in shim_of(model)._model.parameters():
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            for node in model.walk():
                for name in node.param_names:
                    if node.has_param(name):
                        value = node.get_param(name)
                        noise = random.normal(scale=0.1, size=value.shape)
                        node.set_param(name, value + noise.astype("f"))


def weights(nlp: Language, name: str = "bert") -> Dict[str, np.ndarray]:
    """A copy of the weights of a component's encoder."""
    network = shim_of(nlp.get_pipe(name).model)._model  # type: ignore[attr-defined]
    return {key: value.numpy().copy() for key, value in network.state_dict().items()}


def equal(one: Dict[str, np.ndarray], other: Dict[str, np.ndarray]) -> bool:
    """Whether two encoders have the same weights."""
    assert one.keys() == other.keys()
    return all(np.array_equal(value, other[key]) for key, value in one.items())


def assert_same(docs: Iterable[Any], others: Iterable[Any]) -> None:
    """Docs have the same annotations, the encoder's and the heads'."""
    for doc, other in zip(docs, others, strict=True):
        assert doc.text == other.text
        np.testing.assert_allclose(doc.tensor, other.tensor, atol=1e-5)
        assert doc._.bert.names == other._.bert.names
        for name in doc._.bert.names:
            one, two = doc._.bert[name], other._.bert[name]
            assert one.pieces == two.pieces
            np.testing.assert_array_equal(one.offsets, two.offsets)
            np.testing.assert_allclose(one.cls, two.cls, atol=1e-5)
            np.testing.assert_allclose(one.pooled("mean"), two.pooled("mean"), atol=1e-5)
        assert [(e.start, e.end, e.label_) for e in doc.ents] == [
            (e.start, e.end, e.label_) for e in other.ents
        ]
        assert doc.cats.keys() == other.cats.keys()
        for label, score in doc.cats.items():
            assert abs(score - other.cats[label]) < 1e-5


__all__ = [
    "WIDTH",
    "assert_same",
    "equal",
    "find_part",
    "listener",
    "ner",
    "perturb",
    "pooled_listener",
    "tagger",
    "textcat",
    "weights",
]
