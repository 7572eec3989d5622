"""A list that keeps nothing alive."""

import weakref
from typing import Any, Generic, Iterable, Iterator, List, Tuple, TypeVar

Item = TypeVar("Item")


class WeakList(Generic[Item]):
    """Objects in order, each once, as long as somebody else holds them: spaCy tells nobody that a component
    was removed.

    items (Iterable[Item]): Some of them.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._references: List[weakref.ref[Item]] = []
        self.add(items)

    def __iter__(self) -> Iterator[Item]:
        found = (reference() for reference in self._references)
        return (item for item in found if item is not None)

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (list(self),)

    def add(self, items: Iterable[Item]) -> None:
        """items (Iterable[Item]): More of them, which go to the end if they are new. In place."""
        self.replace((*self, *items))

    def replace(self, items: Iterable[Item]) -> None:
        """items (Iterable[Item]): What it is to hold instead. In place."""
        # Not a set: what compares equal may be two.
        unique = {id(item): item for item in items}
        self._references = [weakref.ref(item) for item in unique.values()]

    def forget(self, item: object) -> None:
        """item (object): One that is to go. In place."""
        self._references = [r for r in self._references if r() is not item]

    @property
    def is_whole(self) -> bool:
        """RETURNS (bool): Whether all that were added are still there."""
        return all(reference() is not None for reference in self._references)
