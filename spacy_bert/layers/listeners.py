"""Listeners: the layers through which a head reads the vectors of a shared encoder.

In training they are handed the SharedBatch of their encoder; otherwise they read what the encoder
left on the Docs. A head whose encoder did not run gets an error, never zeros.
"""

import copy
import warnings
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .annotations import pooled_of, tokens_of, values_of
from .doc_encoder import CHOOSE_DEVICE_FIRST, check_pooling
from .finite import check_finite
from .shared_batch import SharedBatch

TOKEN_VECTORS, PIECE_VECTORS = "token vectors", "piece vectors"


class BertListenerModel(Model):
    """Base of the listeners.

    name (str): What the layer is called.
    forward (Callable): How it answers.
    upstream (str): Name of the encoder's component, or "*" for the nearest one before.
    width (int): Width of the encoder's vectors.
    grad_factor (float): Factor on the gradient that is sent to the encoder; 0 for none.
    RAISES: ValueError for a factor that is negative or not finite.
    """

    def __init__(
        self, name: str, forward: Callable, *, upstream: str, width: int, grad_factor: float
    ) -> None:
        if not 0.0 <= grad_factor < float("inf"):
            raise ValueError(f"grad_factor is {grad_factor}, but it must be 0 (send none) or more.")
        super().__init__(name, forward, init=remember_sample, dims={"nO": width})
        self.upstream = upstream
        self.grad_factor = grad_factor
        # Who "*" turned out to be: set when the pipeline is linked.
        self.encoder: Optional[str] = None if upstream == "*" else upstream
        self.batch: Optional[SharedBatch] = None
        self.sample: Sequence[Doc] = ()

    def link(self, name: str, width: int) -> None:
        """Learn who the encoder is; initialisation is over when this happens.

        name (str): The encoder's component.
        width (int): The width of its vectors.
        RAISES: ValueError if that is not the width that this listener declares.
        """
        check_width(self, name, width)
        self.encoder = name
        self.sample = ()

    def receive(self, batch: Optional[SharedBatch]) -> None:
        """batch (Optional[SharedBatch]): What the encoder has just computed for training; None when it is over."""
        self.batch = batch
        self.sample = ()

    def pending(self, docs: Sequence[Doc], is_train: bool) -> Optional[SharedBatch]:
        """docs (Sequence[Doc]): The Docs to answer for.
        is_train (bool): Whether this is training.
        RETURNS (Optional[SharedBatch]): The encoder's batch, if it is to be answered from."""
        if not is_train or self.batch is None:
            return None
        if self.batch.covers(docs):
            return self.batch
        if docs and self.grad_factor:
            warnings.warn(
                f"A head that listens to '{self.encoder}' is trained on other Docs than those that "
                f"'{self.encoder}' has just encoded, such as copies of them. It learns, if they have "
                f"vectors, but its gradient does not reach the encoder. Hand the model the Docs of the "
                f"examples themselves (example.predicted).",
                stacklevel=2,
            )
        return None

    def is_sample(self, doc: Doc) -> bool:
        """doc (Doc): A Doc that no encoder has seen.
        RETURNS (bool): Whether it is one of those that the model is being initialised with."""
        return any(doc is other for other in self.sample)

    def _copy(self, seen: Optional[Dict[int, Any]] = None) -> "BertListenerModel":
        # Thinc's own makes a bare Model of any subclass.
        copied = copy.copy(self)
        with Model.global_id_lock:
            Model.global_id += 1
            copied.id = Model.global_id
        copied._dims, copied._attrs = dict(self._dims), copy.deepcopy(self._attrs)
        copied.receive(None)
        return copied

    def end_initialization(self, docs: Sequence[Doc]) -> None:
        """docs (Sequence[Doc]): The Docs to answer for; if others are among them, initialisation is over."""
        if self.sample and not all(self.is_sample(doc) for doc in docs):
            self.sample = ()

    def missing(self, doc: Doc, what: str) -> ValueError:
        """doc (Doc): A Doc without vectors.
        what (str): What it lacks.
        RETURNS (ValueError): The error to raise, with the number of spaCy's own for this, whose text
            speaks of training alone."""
        name = self.encoder or self.upstream
        called = "any encoder" if name == "*" else f"the encoder '{name}'"
        it = "an encoder" if name == "*" else f"'{name}'"
        remedy = (
            f"In prediction, keep {it} enabled and before its listeners; in training, update "
            f"{it} or list it in annotating_components, also where a head behind it is listed "
            f"there. `upstream` of a listener is the name of its encoder's component."
        )
        if values_of(doc, name) is not None and what == TOKEN_VECTORS:
            remedy = (
                "It ran, but its vectors are of other tokens, or were cleared: split or merge tokens, and "
                "clean Docs, behind its listeners."
            )
        elif values_of(doc, name) is not None and what == PIECE_VECTORS:
            remedy = (
                "It ran, but vectors of pieces are taken off a Doc by the last component that reads them, and "
                f"are not stored with it. Process the text again, or set keep = [\"rows\"] on '{name}'."
            )
        elif getattr(doc.tensor, "shape", None) == (len(doc), self.get_dim("nO")):
            remedy += (
                " Or it is a part of a Doc (span.as_doc(), as entity_linker makes), which carries no results "
                "along: give that component an encoder of its own (spacy-bert.BertTok2Vec.v1), or "
                f"spacy.Tok2VecListener.v1 over '{name}', frozen and in annotating_components."
            )
        return ValueError(f"[E203] The Doc {doc.text[:60]!r} has no {what} of {called}. {remedy}")


def check_width(listener: Model, name: str, width: int) -> None:
    """listener (Model): A listener, ours or spaCy's own.
    name (str): The encoder's component.
    width (int): The width of its vectors.
    RAISES: ValueError if that is not the width that the listener declares."""
    declared = listener.maybe_get_dim("nO")
    if declared not in (None, width):
        raise ValueError(
            f"A listener declares width = {declared}, but its encoder '{name}' makes vectors of "
            f"width {width}. Set width = {width} in the listener's section of the config; in Python, "
            f'nlp.add_pipe(..., config={{"model": {{"tok2vec": {{"width": {width}}}}}}}).'
        )


def check_device(listener: Model, name: str, encoder: Model) -> None:
    """listener (Model): A listener, ours or spaCy's own.
    name (str): The encoder's component.
    encoder (Model): Its model.
    RAISES: ValueError if one of them was made for a GPU and the other was not."""
    theirs, ours = (model.ops.device_type.upper() for model in (listener, encoder))
    if theirs != ours:
        raise ValueError(
            f"The component '{name}' was made for the {ours}, what listens to it for the {theirs}. "
            f"{CHOOSE_DEVICE_FIRST}"
        )


def token_listener(*, upstream: str, width: int, grad_factor: float) -> BertListenerModel:
    """upstream (str): Name of the encoder's component, or "*".
    width (int): Width of its vectors.
    grad_factor (float): Factor on the gradient that is sent to it.
    RETURNS (BertListenerModel): A Model[List[Doc], List[Floats2d]] of token vectors."""
    return BertListenerModel(
        "bert-listener", forward_tokens, upstream=upstream, width=width, grad_factor=grad_factor
    )


def forward_tokens(
    model: BertListenerModel, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    """docs (List[Doc]): The Docs.
    RETURNS (Tuple[List[Floats2d], Callable]): Token vectors of each, shape (n_tokens, width)."""
    batch = model.pending(docs, is_train)
    if batch is not None:
        return batch.read_tokens(docs, model.id, model.grad_factor)
    model.end_initialization(docs)
    width = model.get_dim("nO")
    outputs = []
    for doc in docs:
        tokens = tokens_of(doc, model.encoder or "*", width)
        if tokens is None:
            if not model.is_sample(doc):
                raise model.missing(doc, TOKEN_VECTORS)
            tokens = model.ops.alloc2f(len(doc), width)
        outputs.append(model.ops.asarray2f(tokens))
    return outputs, partial(no_gradient, docs)


class PooledListenerModel(BertListenerModel):
    """Listens to one vector a Doc.

    pooling (str): Which: "cls", "pooler", "mean" or "max".
    """

    def __init__(self, *, pooling: str, upstream: str, width: int, grad_factor: float) -> None:
        super().__init__(
            "bert-pooled-listener",
            forward_pooled,
            upstream=upstream,
            width=width,
            grad_factor=grad_factor,
        )
        self.pooling = check_pooling(pooling)


def forward_pooled(
    model: PooledListenerModel, docs: List[Doc], is_train: bool
) -> Tuple[Floats2d, Callable]:
    """docs (List[Doc]): The Docs.
    RETURNS (Tuple[Floats2d, Callable]): One vector each, shape (n_docs, width)."""
    batch = model.pending(docs, is_train)
    if batch is not None:
        return batch.read_pooled(docs, model.pooling, model.id, model.grad_factor)
    model.end_initialization(docs)
    outputs = model.ops.alloc2f(len(docs), model.get_dim("nO"))
    for i, doc in enumerate(docs):
        vector = pooled_of(doc, model.encoder or "*", model.pooling)
        if vector is not None:
            outputs[i] = model.ops.asarray1f(vector)
        elif not model.is_sample(doc):
            raise model.missing(doc, f"{model.pooling!r} vector")
    return outputs, partial(no_gradient, docs)


def remember_sample(model: Any, X: Optional[Sequence[Doc]] = None, Y: Any = None) -> None:
    """Note the Docs that the model is initialised with. Thinc predicts on them to find out shapes,
    before any encoder has run, so for these Docs alone, and until the pipeline is linked, zeros of
    the right shape will do."""
    model.sample = tuple(X) if X is not None else ()


def no_gradient(docs: Sequence[Doc], gradient: Any) -> list:
    """The end of the line for a gradient: the vectors came from annotations. That it is finite
    matters to the head all the same, which is not stepped before its listener has answered."""
    check_finite(gradient if isinstance(gradient, list) else [gradient], docs)
    return []
