"""NaN and infinity: found before a step, and told by the batch that they came up in."""

from typing import Protocol, Sequence

from thinc.api import get_array_module
from thinc.types import FloatsXd


class HasText(Protocol):
    """A Doc, or what is left of one."""

    @property
    def text(self) -> str: ...


def check_finite(gradients: Sequence[FloatsXd], docs: Sequence[HasText]) -> None:
    """gradients (Sequence[FloatsXd]): What a head sends back.
    docs (Sequence[HasText]): The Docs that it was trained with.
    RAISES: FloatingPointError if there is a NaN or an infinity among them."""
    filled = [gradient for gradient in gradients if gradient.size]
    if not filled:
        return
    # One number for all: each that is fetched from a GPU has to wait for it.
    largest = get_array_module(filled[0]).stack([abs(gradient).max() for gradient in filled])
    if not bool(largest.max() < float("inf")):
        raise FloatingPointError(
            f"The loss of {describe(docs)} is not finite: its gradient holds NaN or infinity. "
            f"No step was taken with it. Use a lower learning rate, or look for broken "
            f"examples in the batch."
        )


def describe(docs: Sequence[HasText]) -> str:
    """docs (Sequence[HasText]): A batch.
    RETURNS (str): What to call it in an error."""
    texts = [repr(doc.text[:60]) for doc in docs[:3]]
    more = f" and {len(docs) - 3} more" if len(docs) > 3 else ""
    return f"the batch of {len(docs)} Docs that starts with {', '.join(texts)}{more}"


def spoilt(what: str, name: str) -> str:
    """what (str): What a component made: "scores", "numbers".
    name (str): Its name.
    RETURNS (str): What to say where that is not finite in prediction."""
    return (
        f"The {what} of the component '{name}' are not finite: its weights are spoilt. Load it anew "
        f"from where it was saved."
    )
