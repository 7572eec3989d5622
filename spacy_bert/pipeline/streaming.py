"""A stream of Docs through a component: in buffers, and one failing Doc fails alone."""

from typing import Any, Callable, Iterable, Iterator, List, Protocol, Sequence

from spacy.tokens import Doc

# Docs of more characters than this together end the buffer of `pipe`, whatever its batch size:
# vectors take memory, and long Docs fill micro-batches by themselves.
BUFFER_CHARACTERS = 500_000


class Annotator(Protocol):
    """A component that predicts for many Docs at once, and whose weights may not be there yet."""

    name: str

    @property
    def is_loaded(self) -> bool: ...

    def predict(self, docs: Iterable[Doc]) -> Any: ...

    def set_annotations(self, docs: Sequence[Doc], predictions: Any, /) -> None: ...

    def get_error_handler(self) -> Callable[[str, Any, List[Doc], Exception], None]: ...


def buffered(stream: Iterable[Doc], batch_size: int) -> Iterator[List[Doc]]:
    """stream (Iterable[Doc]): The Docs.
    batch_size (int): How many to buffer at most.
    YIELDS (List[Doc]): Batches, closed early when they hold much text."""
    docs: List[Doc] = []
    characters = 0
    for doc in stream:
        docs.append(doc)
        last = doc[-1] if len(doc) else None
        characters += last.idx + len(last) if last is not None else 0
        if len(docs) >= batch_size or characters >= BUFFER_CHARACTERS:
            yield docs
            docs, characters = [], 0
    if docs:
        yield docs


def annotate_all(pipe: Annotator, docs: List[Doc]) -> List[Doc]:
    """Annotate some Docs; if that fails, one by one. One that fails goes to the error handler.

    pipe (Annotator): The component. Without good weights, the handler is asked once, for all.
    docs (List[Doc]): The Docs.
    RETURNS (List[Doc]): Those that did not fail.
    """
    try:
        pipe.set_annotations(docs, pipe.predict(docs))
        return docs
    except Exception as error:
        # Spoilt weights, which make vectors that are not finite, are no fault of a single Doc.
        spoilt = isinstance(error, FloatingPointError)
        if len(docs) == 1 or spoilt or not pipe.is_loaded:
            pipe.get_error_handler()(pipe.name, pipe, docs, error)
            return []
    return [done for doc in docs for done in annotate_all(pipe, [doc])]


class Streamed:
    """Gives a component the `pipe` that goes with its `predict`; stands before TrainablePipe."""

    def pipe(self: Annotator, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream of Docs.

        stream (Iterable[Doc]): The Docs.
        batch_size (int): How many to buffer at most; fewer where they are long.
        YIELDS (Doc): The Docs, in order. One that fails goes to the error handler, alone.
        """
        for docs in buffered(stream, batch_size):
            yield from annotate_all(self, docs)
