"""The listeners of a `bert` component: who they are, and what they need it to make."""

import warnings
import weakref
from typing import Any, Dict, List, MutableMapping, NamedTuple, Optional, Sequence

from spacy.pipeline import TextCategorizer
from spacy.pipeline.tok2vec import Tok2VecListener
from thinc.api import Model

from ..layers.config_attr import ConfigList
from ..layers.doc_encoder import ROWS, check_pooling, find_part, shim_of
from ..layers.layer_mix import check_mixes
from ..layers.listeners import BertListenerModel, PooledListenerModel, check_width
from ..layers.piece_listener import PieceListenerModel, PieceReaders
from ..layers.shim import BertShim
from ..layers.weak_list import WeakList
from .rivals import Rivals, takes_tensor
from .segments import check_place_of_segments

# Listener -> the encoder that it learnt from, as far as that is known. Names say nothing: a sourced head
# listens to whoever has the name of its own encoder.
TEACHERS: MutableMapping[Model, "weakref.ref[BertShim]"] = weakref.WeakKeyDictionary()
# Layers that take rows of windows.
READERS_OF_ROWS = {"take-first-pieces", "with-rows"}
LISTENERS = (BertListenerModel, Tok2VecListener)
# What spaCy's text classifiers begin with.
READERS_OF_TOKENS = {"list2ragged"}


class Stranger(NamedTuple):
    """A listener of spaCy's own behind a `bert` component that does not mean it.

    upstream (str): Whom it means.
    width (Optional[int]): Width of the vectors that it reads.
    """

    upstream: str
    width: Optional[int]


class ListenedTo:
    """What spaCy asks of a component that others listen to (`spacy.ty.ListenedToComponent`).

    model (Model): Its encoder.
    name (str): Its name in the pipeline.
    set_tensor (bool): Whether it sets `doc.tensor`.
    keep (Sequence[str]): What it leaves on Docs, whoever listens.
    """

    model: Model
    name: str
    set_tensor: bool
    keep: Sequence[str]

    def begin_listening(self) -> None:
        """Nobody listens yet. Called once, when the rest is there."""
        self.rivals = Rivals()
        self._strangers: Dict[str, Stranger] = {}
        self.listener_map = {}
        # Those of components that are disabled while the pipeline is linked stay: they read what they read
        # before.
        self._heard: WeakList[PooledListenerModel] = WeakList()
        self._readers = PieceReaders()
        self._set_poolings()

    @property
    def width(self) -> int:
        """RETURNS (int): Width of the vectors."""
        return find_part(self.model, "doc-encoder").get_dim("nO")

    @property
    def listener_map(self) -> Dict[str, List[Model]]:
        """RETURNS (Dict[str, List[Model]]): Component -> its layers that read this encoder's vectors."""
        return self._listener_map

    @listener_map.setter
    def listener_map(self, value: Dict[str, List[Model]]) -> None:
        """value (Dict[str, List[Model]]): An empty map, when spaCy links the pipeline anew."""
        self._listener_map = value
        # As far as the pipeline is linked: components come in its order, those that are enabled.
        self._is_nearest, self._is_last_to_set = True, self.set_tensor
        behind = self.rivals.home.behind(self, disabled=True) or []
        # Their own names, which nlp.rename_pipe leaves as they were.
        there = {getattr(pipe, "name", None) for pipe in behind}
        self._strangers = {name: s for name, s in self._strangers.items() if name in there}

    @property
    def owns_tensor(self) -> bool:
        """RETURNS (bool): Whether nothing behind it sets `doc.tensor`, now or when it is enabled."""
        return self.set_tensor and not takes_tensor(self.rivals.of(self))

    @property
    def listeners(self) -> List[Model]:
        """RETURNS (List[Model]): The layers that read this encoder's vectors."""
        return [listener for names in self.listener_map.values() for listener in names]

    @property
    def listening_components(self) -> List[str]:
        """RETURNS (List[str]): The components that they belong to."""
        return list(self.listener_map)

    def add_listener(self, listener: Model, component_name: str) -> None:
        """listener (Model): A layer that is to read this encoder's vectors.
        component_name (str): The component that it belongs to.
        RAISES: ValueError if it expects vectors of another width."""
        check_width(listener, self.name, self.width)
        listeners = self.listener_map.setdefault(component_name, [])
        if listener not in listeners:
            listeners.append(listener)
        if isinstance(listener, BertListenerModel):
            listener.link(self.name, self.width)
        self._set_poolings()

    def remove_listener(self, listener: Model, component_name: str) -> bool:
        """listener (Model): A layer.
        component_name (str): The component that it belongs to.
        RETURNS (bool): Whether it was a listener of this encoder."""
        listeners = self.listener_map.get(component_name, [])
        others = [other for other in listeners if other is not listener]
        if len(others) == len(listeners):
            return False
        # A new list: nlp.replace_listeners is walking over the old one.
        self.listener_map[component_name] = others
        if not others:
            del self.listener_map[component_name]
        self._heard.forget(listener)
        self._readers.forget(listener)
        self._set_poolings()
        return True

    def find_listeners(self, component: Any) -> None:
        """component (Any): A component behind this one, whose listeners are to be linked.
        RAISES: ValueError if one of them expects vectors of another width, or of another number of layers."""
        check_place_of_segments(component, self.name)
        self.rivals.add(component)
        self._strangers.pop(getattr(component, "name", ""), None)
        if not isinstance(getattr(component, "model", None), Model):
            return
        if isinstance(component, ListenedTo):
            # Components behind it that listen to "*" mean that one.
            self._is_nearest = False
            component.rivals.forget(self)
        if takes_tensor([component]):
            self._is_last_to_set = False
        for node in component.model.walk():
            if isinstance(node, BertListenerModel):
                if node.upstream == self.name or self._is_meant_by(node):
                    self._link(node, component)
            elif isinstance(node, Tok2VecListener) and self._is_heard_by(node, component.name):
                self._link(node, component)

    def _is_meant_by(self, listener: BertListenerModel) -> bool:
        """Whether "*" of a listener means this encoder. One that was linked to a nearer encoder, which is
        only disabled at the moment, goes on to mean that."""
        if listener.upstream != "*" or not self._is_nearest:
            return False
        return listener.encoder not in {
            rival.name for rival in self.rivals.of(self) if isinstance(rival, ListenedTo)
        }

    def _link(self, listener: Model, component: Any) -> None:
        check_mixes(component.model, listener, len(shim_of(self.model)._model.layers))
        self._warn_of_rows(listener, component)
        self._warn_of_stranger(listener, component)
        self.add_listener(listener, component.name)

    def _warn_of_rows(self, listener: Model, component: Any) -> None:
        """Warn if rows of windows, or vectors of whole Docs, go to a head of spaCy's that reads token vectors:
        what Thinc says of it is that this may be a bug in Thinc."""
        names = {node.name for node in component.model.walk()}
        is_stock = type(component).__module__.startswith("spacy.")
        if not is_stock:
            return
        reads_pooled = isinstance(component, TextCategorizer) and not names & READERS_OF_TOKENS
        others = [
            x for x in component.model.walk() if isinstance(x, LISTENERS) and x is not listener
        ]
        # Beside another one, it is part of a model of the user's own.
        if isinstance(listener, PooledListenerModel) and not reads_pooled and not others:
            warnings.warn(
                f"The component '{component.name}' listens to '{self.name}' by spacy-bert.BertPooledListener.v1, "
                f"which gives one vector a Doc, but its model reads a vector for each token. Give it "
                f"spacy-bert.BertListener.v1; or a text classifier the architecture spacy-bert.BertTextCat.v1.",
                stacklevel=2,
            )
        if isinstance(listener, PieceListenerModel) and not names & READERS_OF_ROWS:
            warnings.warn(
                f"The component '{component.name}' listens to '{self.name}' by spacy-bert.BertPieceListener.v1, "
                f"which gives vectors of pieces, for bert_ner and span_qa. Give it spacy-bert.BertListener.v1, "
                f"of which a token's vector is the mean of its pieces'.",
                stacklevel=2,
            )

    def note_learner(self, listener: Model) -> None:
        """listener (Model): A layer of a head that learns from this encoder's vectors, as of now."""
        TEACHERS[listener] = weakref.ref(shim_of(self.model))

    def _warn_of_stranger(self, listener: Model, component: Any) -> None:
        """Warn if a head that has weights learnt from another encoder: it will run, as names and widths
        agree, and predict nonsense."""
        teacher = TEACHERS.get(listener, lambda: None)()
        if teacher is None or not has_weights(component.model):
            self.note_learner(listener)
        elif teacher.differs_from(shim_of(self.model)):
            warnings.warn(
                f"The component '{component.name}' learnt from another encoder than the '{self.name}' of this "
                f"pipeline, which it reads now. Unless it is trained again, its predictions mean little. If "
                f"it comes from another pipeline, call nlp.replace_listeners there before sourcing it, so "
                f"that it brings its own encoder along.",
                stacklevel=2,
            )

    def _is_heard_by(self, listener: Tok2VecListener, component: str) -> bool:
        """Whether spaCy's own listener, behind this encoder, listens to it. In prediction it reads
        `doc.tensor`, so it has to mean whoever sets that last."""
        upstream, width = listener.upstream_name, listener.maybe_get_dim("nO")
        if upstream == self.name and not self._is_last_to_set:
            raise ValueError(
                f"A spacy.Tok2VecListener.v1 has upstream = '{self.name}'. In prediction it reads "
                f"doc.tensor, which '{self.name}' does not set, or which another encoder behind it sets. "
                f"Use spacy-bert.BertListener.v1, which finds the vectors of its own encoder."
            )
        if upstream == self.name or (upstream == "*" and width in (None, self.width)):
            return self._is_last_to_set
        # Not an error yet: pipelines are built in steps, and templates of spaCy's stop half way.
        self._strangers[component] = Stranger(upstream, width)
        return False

    def check_listeners(self, *, initializing: bool = False) -> None:
        """initializing (bool): Whether components may only be disabled because they are frozen.
        RAISES: ValueError if a listener would predict from vectors of another encoder than it learns from."""
        if not (self.set_tensor and self._strangers):
            return
        behind = self.rivals.home.behind(self, disabled=initializing)
        for name, stranger in self._strangers.items():
            if behind is None:
                encoders = takes_tensor(self.rivals.of(self))
            elif name in (names := [getattr(pipe, "name", None) for pipe in behind]):
                encoders = takes_tensor(behind[: names.index(name)])
            else:
                continue
            if not (encoders if stranger.upstream == "*" else stranger.upstream in encoders):
                fits = stranger.width in (None, self.width)
                cure = f'set upstream = "{self.name}" if that is what it is to read; else put it '
                raise ValueError(
                    f"The component '{name}' behind '{self.name}' has a spacy.Tok2VecListener.v1 with upstream "
                    f"= '{stranger.upstream}' and width = {stranger.width}; the vectors of '{self.name}' have "
                    f"width {self.width}. In prediction it reads doc.tensor, which '{self.name}' sets: "
                    f"{cure if fits else 'put it '}"
                    f"before '{self.name}', or its own encoder behind, enabled; or give '{self.name}' "
                    f"set_tensor = false. Vectors of another BERT it reads as spacy-bert.BertListener.v1."
                )

    def _set_poolings(self) -> None:
        """Have the encoder make the vectors of whole Docs that are left on Docs or listened to. A
        component that is disabled while the pipeline is linked is not among the listeners then, but
        still reads what it read before."""
        self._heard.add(x for x in self.listeners if isinstance(x, PooledListenerModel))
        linked = [x for x in self.listeners if isinstance(x, PieceListenerModel)]
        self._readers.link(linked, keep=ROWS in self.keep)
        wanted = {"cls", "mean", *self.keep, *(x.pooling for x in self._heard)} - {"tokens", ROWS}
        rows = [ROWS] if [*self._readers] or ROWS in self.keep else []
        find_part(self.model, "doc-encoder").attrs["poolings"] = ConfigList(
            [*sorted(map(check_pooling, wanted)), *rows]
        )


def has_weights(model: Model) -> bool:
    """model (Model): The model of a component.
    RETURNS (bool): Whether any of its layers has some."""
    return any(node.has_param(name) for node in model.walk() for name in node.param_names)
