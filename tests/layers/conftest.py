"""A head that is nothing but its listener, and pipelines of such heads."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import pytest
import torch
from spacy import registry
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.training import Example
from thinc.api import Adam, Linear, Model, chain, fix_random_seed, with_array

import spacy_bert
import spacy_bert.layers.doc_encoder as doc_encoder_module
from spacy_bert.encoder import packing
from spacy_bert.layers.optimizer import AdamW

from .reference import network_of

POISON = "poison"


@pytest.fixture(autouse=True)
def filled_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The micro-batches of tests are filled up, too, small as they are."""
    monkeypatch.setattr(packing, "WORTH_FILLING", 1)
    monkeypatch.setattr(doc_encoder_module, "ENGINE_ROWS", 4)
    monkeypatch.setattr(doc_encoder_module, "TRAINING_ROWS", 8)


class ToyHead(TrainablePipe):
    """Pulls every number that its model gives towards 1. Texts with "skip" have no gold annotation
    for it; those with "poison" give a gradient that is not finite."""

    def __init__(self, vocab: Any, model: Any, name: str) -> None:
        self.vocab, self.model, self.name, self.cfg = vocab, model, name, {}

    def initialize(self, get_examples: Callable, *, nlp: Optional[Language] = None) -> None:
        sample = [example.x for example in get_examples()][:4]
        self.model.initialize(X=sample)
        # As containers do that have to know what a layer gives.
        self.shapes = [output.data.shape for output in self.model.predict(sample)]

    def predict(self, docs: List[Any]) -> Any:
        return self.model.predict(docs)

    def set_annotations(self, docs: List[Any], scores: Any) -> None:
        pass

    def update(self, examples: List[Example], *, drop: float = 0.0, sgd: Any = None, losses: Any = None) -> Any:  # fmt: skip
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        docs = [example.predicted for example in examples]
        if any("skip" in doc.text for doc in docs):
            return losses
        outputs, backprop = self.model.begin_update(docs)
        factor = float("inf") if any(POISON in doc.text for doc in docs) else 1.0
        if isinstance(outputs, list):
            backprop([(output - 1.0) * factor for output in outputs])
        else:
            backprop((outputs - 1.0) * factor)
        return losses

    def add_label(self, label: str) -> int:
        return 0


Language.factory(
    "toy_head",
    default_config={"model": {"@architectures": "spacy-bert.BertListener.v1", "width": 32}},
    func=lambda nlp, name, model: ToyHead(nlp.vocab, model, name),
)


@registry.architectures("toy.Linear.v1")
def toy_linear(tok2vec: Model) -> Model:
    """A listener for tokens, and weights of the head's own."""
    model: Model = chain(tok2vec, with_array(Linear(3, 32)))
    model.set_ref("tok2vec", tok2vec)
    return model


LISTENERS: Dict[str, Dict[str, Any]] = {
    "tokens": {"@architectures": "spacy-bert.BertListener.v1", "width": 32},
    "pooled": {"@architectures": "spacy-bert.BertPooledListener.v1", "width": 32},
    "stock": {"@architectures": "spacy.Tok2VecListener.v1", "width": 32},
}


def listener_config(kind: str, **settings: Any) -> Dict[str, Any]:
    return {**LISTENERS[kind], **settings}


@pytest.fixture
def make_nlp(tiny_checkpoint: Path) -> Callable[..., Any]:
    """A function: name=kind of listener or config of a model -> `bert` and toy heads of these names.

    All pipelines it makes have the same weights.
    """

    def make(**heads: Any) -> Any:
        settings = {"window": 16, "stride": 10, "batch_pieces": 40}
        nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": settings})
        for name, model in heads.items():
            model = listener_config(model) if isinstance(model, str) else model
            nlp.add_pipe("toy_head", name=name, config={"model": model})
        fix_random_seed(1)
        nlp.initialize(lambda: examples_of(nlp, ["Bob works", "Alice"]))
        return nlp

    return make


def examples_of(nlp: Any, texts: List[str]) -> List[Example]:
    return [Example.from_dict(nlp.make_doc(text), {}) for text in texts]


TEXTS = ["Alice lives in Paris.", "Bob", "Carol doesn't like Berlin, but Alice's worker was in it."]


@pytest.fixture
def texts() -> List[str]:
    return list(TEXTS)


def weights_of(nlp: Any, name: str = "bert") -> Dict[str, torch.Tensor]:
    """A copy of an encoder's weights."""
    network = network_of(nlp.get_pipe(name).model)
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def gradients_of(nlp: Any, name: str = "bert") -> Dict[str, torch.Tensor]:
    """A copy of an encoder's gradients, those that there are, of all rows of the table of pieces."""
    parameters = network_of(nlp.get_pipe(name).model).named_parameters()
    return {key: p.grad.to_dense().clone() for key, p in parameters if p.grad is not None}


def head_weights(nlp: Any, name: str) -> List[Any]:
    return [
        node.get_param(param).copy()
        for node in nlp.get_pipe(name).model.walk()
        for param in node.param_names
    ]


def is_same(one: Dict[str, torch.Tensor], other: Dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def assert_close(one: Dict[str, torch.Tensor], other: Dict[str, torch.Tensor], tolerance: float = 1e-5) -> None:  # fmt: skip
    assert one.keys() == other.keys()
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=10 * tolerance, atol=tolerance)


OPTIMIZERS: Dict[str, Callable[..., Any]] = {"AdamW": AdamW, "thinc": Adam}


@pytest.fixture(params=list(OPTIMIZERS))
def make_optimizer(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Ours, and Thinc's own."""
    return lambda rate=0.01, **settings: OPTIMIZERS[request.param](rate, **settings)


@pytest.fixture
def backward_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[List[int]]:
    """Grows by one with each backward pass of an encoder."""
    passes: List[int] = []
    original = torch.autograd.backward

    def counted(*args: Any, **kwargs: Any) -> None:
        passes.append(1)
        original(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "backward", counted)
    yield passes


@registry.readers("toy.Corpus.v1")
def toy_corpus(texts: Sequence[str] = TEXTS) -> Callable[[Language], Iterator[Example]]:
    """The texts, in order, again and again if training goes on."""
    return lambda nlp: iter(examples_of(nlp, list(texts)))
