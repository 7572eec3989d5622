"""Take one kind of vectors out of what an encoder makes of Docs."""

from typing import Callable, List, Tuple

from thinc.api import Model
from thinc.types import Floats2d

from .config_attr import ConfigStr
from .doc_encoder import DocGradients, DocVectors
from .piece_rows import PieceRows


def take_tokens(width: int) -> Model[DocVectors, List[Floats2d]]:
    """width (int): Width of the vectors.
    RETURNS (Model[DocVectors, List[Floats2d]]): Token vectors of each Doc."""
    return Model("take-tokens", _tokens, dims={"nO": width})


def _tokens(
    model: Model[DocVectors, List[Floats2d]], vectors: DocVectors, is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    def backprop(gradients: List[Floats2d]) -> DocGradients:
        return DocGradients(tokens=gradients, pooled={})

    return vectors.tokens, backprop


def take_pieces(width: int) -> Model[DocVectors, List[PieceRows]]:
    """width (int): Width of the vectors.
    RETURNS (Model[DocVectors, List[PieceRows]]): The rows of each Doc's windows."""
    return Model("take-pieces", _pieces, dims={"nO": width})


def _pieces(
    model: Model[DocVectors, List[PieceRows]], vectors: DocVectors, is_train: bool
) -> Tuple[List[PieceRows], Callable]:
    assert vectors.rows is not None

    def backprop(gradients: List[PieceRows]) -> DocGradients:
        return DocGradients(rows=[gradient.data for gradient in gradients])

    return [PieceRows(*both) for both in zip(vectors.rows, vectors.pieces)], backprop


def take_pooled(pooling: str, width: int) -> Model[DocVectors, Floats2d]:
    """pooling (str): "cls", "pooler", "mean" or "max".
    width (int): Width of the vectors.
    RETURNS (Model[DocVectors, Floats2d]): One vector a Doc, shape (n_docs, width)."""
    return Model("take-pooled", _pooled, dims={"nO": width}, attrs={"pooling": ConfigStr(pooling)})


def _pooled(
    model: Model[DocVectors, Floats2d], vectors: DocVectors, is_train: bool
) -> Tuple[Floats2d, Callable]:
    pooling = str(model.attrs["pooling"])

    def backprop(gradient: Floats2d) -> DocGradients:
        return DocGradients(tokens=None, pooled={pooling: gradient})

    return vectors.pooled[pooling], backprop
