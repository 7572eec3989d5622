"""The listener for heads that read pieces, window by window: answers to questions, first pieces.

Rows take several times the memory of token vectors where windows overlap. So the encoder leaves
them on a Doc only for such a listener, and the head takes them off when it has read them.
"""

from functools import partial
from typing import Callable, List, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model

from .annotations import drop_values
from .doc_encoder import ROWS
from .finite import check_finite
from .listeners import PIECE_VECTORS, BertListenerModel
from .piece_rows import PieceRows, no_rows, rows_of
from .weak_list import WeakList


class PieceListenerModel(BertListenerModel):
    """Listens to the rows of windows: a Model[List[Doc], List[PieceRows]], which are Raggeds.

    upstream (str): Name of the encoder's component, or "*".
    width (int): Width of its vectors.
    grad_factor (float): Factor on the gradient that is sent to it.
    """

    def __init__(self, *, upstream: str, width: int, grad_factor: float) -> None:
        super().__init__(
            "bert-piece-listener",
            forward_pieces,
            upstream=upstream,
            width=width,
            grad_factor=grad_factor,
        )
        # Whether nobody reads the rows on a Doc after this one: the encoder says.
        self.is_last = False


def forward_pieces(
    model: PieceListenerModel, docs: List[Doc], is_train: bool
) -> Tuple[List[PieceRows], Callable]:
    """docs (List[Doc]): The Docs.
    RETURNS (Tuple[List[PieceRows], Callable]): The rows of each one's windows, shape (n_rows, width)."""
    batch = model.pending(docs, is_train)
    if batch is not None:
        return batch.read_rows(docs, model.id, model.grad_factor)
    model.end_initialization(docs)
    outputs = []
    for doc in docs:
        rows = rows_of(doc, model.encoder or "*")
        if rows is None:
            if not model.is_sample(doc):
                raise model.missing(doc, PIECE_VECTORS)
            rows = no_rows(doc, model.get_dim("nO"), model.ops.alloc2f)
        # A Doc that was saved has them on the host.
        outputs.append(rows.with_data(model.ops.asarray2f(rows.data)))
    return outputs, partial(_no_gradient, docs)


def _no_gradient(docs: Sequence[Doc], gradients: Sequence[PieceRows]) -> list:
    check_finite([gradient.data for gradient in gradients], docs)
    return []


def release_rows(model: Model, docs: Sequence[Doc]) -> None:
    """Take the rows that a head has read off its Docs, unless somebody else may read them. In place.

    model (Model): The head's model.
    docs (Sequence[Doc]): The Docs.
    """
    for node in model.walk():
        if isinstance(node, PieceListenerModel) and node.is_last:
            for doc in docs:
                drop_values(doc, node.encoder or "*", (ROWS, "windows"))


class PieceReaders(WeakList[PieceListenerModel]):
    """The piece listeners of an encoder, in the order of the pipeline."""

    def link(self, linked: Sequence[PieceListenerModel], *, keep: bool) -> None:
        """Learn which there are, and tell them whether they may take rows off. In place.

        linked (Sequence[PieceListenerModel]): Those of enabled components, in the order of the pipeline.
        keep (bool): Whether rows are to stay on Docs in any case.
        """
        linked = list(dict.fromkeys(linked))
        known = list(dict.fromkeys((*self, *linked)))
        # Where those that are disabled stand among the others shows when all are linked again.
        is_whole = len(known) == len(linked)
        in_order = linked if is_whole else known
        for listener in in_order:
            listener.is_last = listener is in_order[-1] and is_whole and not keep
        self.replace(in_order)
