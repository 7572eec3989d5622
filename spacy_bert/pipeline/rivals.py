"""Other encoders behind a `bert` component: spaCy's tok2vec, or a second BERT.

They replace what it left in `doc.tensor`, and `upstream = "*"` behind them means them. spaCy links what is
enabled only, and links anew while components are disabled: frozen ones, while others are initialised, or
what a user loads without. So that is asked of the pipeline itself, or remembered where it is unknown.
"""

import weakref
from typing import Any, Iterable, List, Optional, Tuple

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2Vec

from ..layers.weak_list import WeakList


class Home:
    """The pipeline that a component was made for, as long as it lives and the component is in it. (One that
    was unpickled is in another.)

    nlp (Optional[Language]): The pipeline.
    """

    def __init__(self, nlp: Optional[Language] = None) -> None:
        self._nlp = None if nlp is None else weakref.ref(nlp)

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), ()

    def enabled(self) -> List[Any]:
        """RETURNS (List[Any]): Its components that are enabled; none if it is not known."""
        nlp = None if self._nlp is None else self._nlp()
        return [] if nlp is None else [pipe for _, pipe in nlp.pipeline]

    def is_foreign(self, component: Any) -> bool:
        """component (Any): A component.
        RETURNS (bool): Whether it is known to be in another pipeline."""
        nlp = None if self._nlp is None else self._nlp()
        return nlp is not None and all(pipe is not component for _, pipe in nlp.components)

    def behind(self, component: Any, *, disabled: bool) -> Optional[List[Any]]:
        """component (Any): A component.
        disabled (bool): Whether to list those that are disabled, too.
        RETURNS (Optional[List[Any]]): All components behind it; None if it is not known where it is."""
        nlp = None if self._nlp is None else self._nlp()
        if nlp is None:
            return None
        place = next((i for i, (_, pipe) in enumerate(nlp.components) if pipe is component), None)
        if place is None:
            return None
        off = () if disabled else nlp.disabled
        return [pipe for name, pipe in nlp.components[place + 1 :] if name not in off]


class Rivals:
    """Encoders behind another one, disabled ones, too.

    home (Home): The pipeline, if it is known.
    """

    def __init__(self, home: Optional[Home] = None) -> None:
        self.home = home or Home()
        self._seen: WeakList[Any] = WeakList()

    def add(self, component: Any) -> None:
        """component (Any): A component that was linked behind this one. In place."""
        if self.home.is_foreign(component):
            # `nlp.add_pipe(source=...)` shares a component: what it is asked about may be of either pipeline.
            self.home = Home()
        if is_encoder(component):
            self._seen.add([component])

    def forget(self, component: Any) -> None:
        """component (Any): One that is before this one now. In place."""
        self._seen.forget(component)

    def of(self, component: Any) -> List[Any]:
        """component (Any): Whose rivals they are.
        RETURNS (List[Any]): The encoders behind it."""
        pipeline = self.home.behind(component, disabled=True)
        if pipeline is None:
            return [*self._seen]
        return [pipe for pipe in pipeline if is_encoder(pipe)]


def is_encoder(component: Any) -> bool:
    """component (Any): A component.
    RETURNS (bool): Whether others listen to it."""
    return isinstance(component, Tok2Vec) or hasattr(component, "set_tensor")


def takes_tensor(components: Iterable[Any]) -> List[str]:
    """components (Iterable[Any]): Components.
    RETURNS (List[str]): The names of those that set `doc.tensor`."""
    return [c.name for c in components if is_encoder(c) and getattr(c, "set_tensor", True)]
