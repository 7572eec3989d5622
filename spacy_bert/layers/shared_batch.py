"""One forward pass of a shared encoder in training, and the single backward pass that follows it.

    bert.update      forward, one SharedBatch handed to all listeners
    ner.update       read -> gradient ---+
    textcat.update   read -> gradient ---+-> when all have reported, or when training moves on: backward

The backward belongs to the encoder, not to the last listener: a listener may be frozen, or have no
gold annotation in this batch, and then never reports.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple, Type

import numpy as np
from spacy.tokens import Doc
from thinc.api import Ops
from thinc.types import Floats2d

from .annotations import token_starts
from .doc_encoder import DocGradients, DocVectors
from .finite import check_finite, describe
from .piece_rows import PieceRows


class SharedBatch:
    """Vectors of a batch of Docs, and the sum of their gradients.

    docs (Sequence[Doc]): The Docs.
    vectors (DocVectors): What the encoder made of them.
    backprop (Callable[[Any], object]): The encoder's backward, which takes DocGradients.
    ops (Ops): For arrays of zeros.
    on_report (Callable[[], None]): Called after each gradient that arrives.
    """

    def __init__(
        self,
        docs: Sequence[Doc],
        vectors: DocVectors,
        backprop: Callable[[Any], object],
        *,
        ops: Ops,
        on_report: Callable[[], None],
    ) -> None:
        # The Docs are kept, so that no other Doc can get the id of one of them.
        self.docs = list(docs)
        self.places = {id(doc): i for i, doc in enumerate(self.docs)}
        self._starts = [token_starts(doc) for doc in self.docs]
        self.vectors = vectors
        self.ops = ops
        self.reported: Set[int] = set()
        # A listener may read several times before it answers: one that stands in a model twice does.
        self._unanswered: Set[object] = set()
        self._backprop: Optional[Callable[[Any], object]] = backprop
        self._on_report = on_report
        self._d_tokens: Optional[List[Floats2d]] = None
        self._d_pooled: Dict[str, Floats2d] = {}
        self._d_rows: Optional[List[Floats2d]] = None

    def __reduce__(self) -> Tuple[Type[None], Tuple[()]]:
        # It leads back to the weights that computed it: a pipeline that is copied or pickled in the
        # middle of an update starts without, or its next update would send this one's gradient.
        return type(None), ()

    @property
    def is_open(self) -> bool:
        """RETURNS (bool): Whether the backward pass is still to come."""
        return self._backprop is not None

    def is_complete(self, readers: Set[int]) -> bool:
        """readers (Set[int]): All who may read: the ids of listeners.
        RETURNS (bool): Whether the gradient is complete: each has reported, and answered all that it read."""
        return self.reported >= readers and not self._unanswered

    def covers(self, docs: Sequence[Doc]) -> bool:
        """docs (Sequence[Doc]): Some Docs.
        RETURNS (bool): Whether all of them are in this batch, in whatever order."""
        return all(id(doc) in self.places for doc in docs)

    def read_tokens(
        self, docs: Sequence[Doc], reader: int, grad_factor: float
    ) -> Tuple[List[Floats2d], Callable]:
        """docs (Sequence[Doc]): Docs of this batch.
        reader (int): Who reads: the id of a listener.
        grad_factor (float): Factor on its gradient.
        RETURNS (Tuple[List[Floats2d], Callable]): Token vectors of each Doc, and where their gradient goes.
        RAISES: ValueError if a Doc has other tokens than when it was encoded."""
        places = self._places_of_same(docs)
        ticket = self._ticket()

        def backprop(gradients: List[Floats2d]) -> list:
            self._check(gradients)
            if grad_factor:
                if self._d_tokens is None:
                    self._d_tokens = [self.ops.xp.zeros_like(t) for t in self.vectors.tokens]
                for place, gradient in zip(places, gradients):
                    self._d_tokens[place] += _scaled(gradient, grad_factor)
            self._report(reader, ticket)
            return []

        return [self.vectors.tokens[place] for place in places], backprop

    def _places_of_same(self, docs: Sequence[Doc]) -> List[int]:
        places = [self.places[id(doc)] for doc in docs]
        for doc, place in zip(docs, places):
            if not np.array_equal(token_starts(doc), self._starts[place]):
                raise ValueError(
                    f"The {len(doc)} tokens of the Doc {doc.text[:60]!r} are not the "
                    f"{len(self._starts[place])} that were encoded: a component between the "
                    f"encoder and this head merges or splits tokens. Move it before the encoder, or "
                    f"take it out of annotating_components."
                )
        return places

    def read_rows(
        self, docs: Sequence[Doc], reader: int, grad_factor: float
    ) -> Tuple[List[PieceRows], Callable]:
        """docs (Sequence[Doc]): Docs of this batch.
        reader (int): Who reads: the id of a listener.
        grad_factor (float): Factor on its gradient.
        RETURNS (Tuple[List[PieceRows], Callable]): The rows of each Doc's windows, and where their gradient goes.
        RAISES: ValueError if a Doc has other tokens than when it was encoded."""
        places = self._places_of_same(docs)
        ticket = self._ticket()
        vectors = self.vectors
        # Listeners are known before anything is encoded, and the encoder then makes rows for them.
        assert vectors.rows is not None

        def backprop(gradients: List[PieceRows]) -> list:
            self._check([gradient.data for gradient in gradients])
            if grad_factor:
                if self._d_rows is None:
                    assert vectors.rows is not None
                    self._d_rows = [self.ops.xp.zeros_like(rows) for rows in vectors.rows]
                for place, gradient in zip(places, gradients):
                    self._d_rows[place] += _scaled(gradient.data, grad_factor)
            self._report(reader, ticket)
            return []

        return [PieceRows(vectors.rows[i], vectors.pieces[i]) for i in places], backprop

    def read_pooled(
        self, docs: Sequence[Doc], pooling: str, reader: int, grad_factor: float
    ) -> Tuple[Floats2d, Callable]:
        """docs (Sequence[Doc]): Docs of this batch.
        pooling (str): Which of their vectors.
        reader (int): Who reads: the id of a listener.
        grad_factor (float): Factor on its gradient.
        RETURNS (Tuple[Floats2d, Callable]): One vector a Doc, shape (n_docs, width), and where their gradient goes."""
        places = [self.places[id(doc)] for doc in docs]
        ticket = self._ticket()

        def backprop(gradient: Floats2d) -> list:
            self._check([gradient])
            if grad_factor:
                if pooling not in self._d_pooled:
                    self._d_pooled[pooling] = self.ops.xp.zeros_like(self.vectors.pooled[pooling])
                self.ops.scatter_add(
                    self._d_pooled[pooling],
                    self.ops.asarray1i(places),
                    _scaled(gradient, grad_factor),
                )
            self._report(reader, ticket)
            return []

        return self.vectors.pooled[pooling][places], backprop

    def squared_gradient(self) -> float:
        """RETURNS (float): Sum of the squares of the gradient so far, which spaCy logs as an encoder's loss."""
        arrays = [*(self._d_tokens or []), *self._d_pooled.values(), *(self._d_rows or [])]
        # Fetched once: from a GPU, each number has to wait for it.
        return float(sum((array.ravel() ** 2).sum(dtype="float64") for array in arrays))

    def backward(self) -> None:
        """Run the encoder's backward pass with the gradient so far, once; afterwards the batch is
        closed. Without a gradient (nobody reported, or only listeners whose factor is 0) nothing is
        run, so that the encoder is not stepped: a step with a gradient of zero would decay it."""
        backprop, self._backprop = self._backprop, None
        if backprop is not None and (self._d_tokens or self._d_pooled or self._d_rows):
            backprop(DocGradients(self._d_tokens, self._d_pooled, self._d_rows))

    def _ticket(self) -> object:
        ticket = object()
        self._unanswered.add(ticket)
        return ticket

    def _report(self, reader: int, ticket: object) -> None:
        self._unanswered.discard(ticket)
        self.reported.add(reader)
        self._on_report()

    def _check(self, gradients: Sequence[Floats2d]) -> None:
        if not self.is_open:
            raise ValueError(
                f"A gradient arrived after the encoder's backward pass of {describe(self.docs)}. "
                f"Call nlp.update, or update the encoder before each of its listeners."
            )
        try:
            check_finite(gradients, self.docs)
        except FloatingPointError:
            # What others reported of this batch is dropped with it.
            self._backprop, self._d_tokens, self._d_pooled, self._d_rows = None, None, {}, None
            raise


def _scaled(gradient: Floats2d, factor: float) -> Floats2d:
    return gradient if factor == 1.0 else gradient * factor
