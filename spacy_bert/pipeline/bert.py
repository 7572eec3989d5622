"""The `bert` component: runs the shared encoder, annotates Docs, and leads its training."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, cast

from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer

from ..encoder import Checkpoint, load_checkpoint
from ..encoder.side_by_side import hand_over
from ..layers.annotations import annotate
from ..layers.doc_encoder import (
    ROWS,
    DocVectors,
    find_part,
    is_loaded,
    shim_of,
)
from ..layers.finite import describe
from ..layers.listeners import BertListenerModel, check_device
from ..layers.piece_rows import row_values
from ..layers.shared_batch import SharedBatch
from ..layers.shim import read_weights, weights_apart
from ..layers.tokenizer_attr import NOT_LOADED
from ..layers.weights import load_weights, randomize_weights, to_checkpoint
from ..models.encoder import replace_listener_config
from ..wordpiece import WordPieceTokenizer
from .advice import check_upstreams, unmarked_pair, warn_of_warm_up
from .bare_tokens import bare_tokens, warn_of
from .doc_view import install_similarity
from .listened_to import ListenedTo
from .streaming import Streamed

WEIGHTS = "weights.safetensors"
KEEPABLE = ("tokens", "pooler", "max", ROWS)


class Bert(ListenedTo, Streamed, TrainablePipe):
    """The shared BERT encoder of a pipeline (factory `bert`).

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], DocVectors]): The encoder, such as "spacy-bert.Bert.v1".
    name (str): The component's name.
    set_tensor (bool): Make the token vectors `doc.tensor`. With several encoders in a pipeline, spaCy's
        tok2vec among them, the last one that sets it owns it; the others' vectors stay readable by
        our listeners.
    keep (Sequence[str]): What else to leave on each Doc, in `doc.user_data`: "tokens" (survive
        DocBin, which drops tensors), "pooler" and "max" (vectors of the whole Doc; "cls" and "mean" are always left),
        "rows" (vectors of every row of every window, which otherwise go when the head that needs them has read them).
    inference (str): What predictions are computed in; see the property of this name.
    RAISES: ValueError for an unknown name in `keep`, or an unknown precision.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], DocVectors],
        name: str = "bert",
        *,
        set_tensor: bool = True,
        keep: Sequence[str] = (),
        inference: str = "fp32",
    ) -> None:
        unknown = [item for item in keep if item not in KEEPABLE]
        if unknown:
            raise ValueError(
                f"keep of the component '{name}' lists {unknown[0]!r}, but only "
                f"{', '.join(KEEPABLE)} can be kept."
            )
        if not model.layers or model.layers[-1].name != "doc-encoder":
            raise ValueError(
                f"The model of the component '{name}' is {model.name!r}, which is no shared encoder. Use "
                f"spacy-bert.Bert.v1; BertTok2Vec and BertPooled belong in the model of a head."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.set_tensor = set_tensor
        self.keep = list(keep)
        self.cfg: Dict[str, Any] = {}
        self._batch: Optional[SharedBatch] = None
        self._deferred: Optional[Optimizer] = None
        self._losses: Dict[str, float] = {}
        self._told = 0.0  # what they have been given of the latest batch
        self._latest = "no batch"
        self._warned_of: Set[str] = set()
        # Tokens that got zeros because they have no pieces; whitespace, which has none, aside.
        self.n_bare_tokens = 0
        self.inference = inference
        self.begin_listening()

    # Sizes and weights

    @property
    def is_loaded(self) -> bool:
        """RETURNS (bool): Whether the encoder has weights."""
        return is_loaded(self.model)

    @property
    def inference(self) -> str:
        """RETURNS (str): What predictions are computed in; it can be changed at any time. "fp32";
        "bf16" and "int8", which are faster on most processors, and whose vectors differ a little;
        or "auto": the first prediction measures which of these is fastest here. A change holds for
        this object: to save it with the pipeline, set it in the component's config."""
        return shim_of(self.model).inference

    @inference.setter
    def inference(self, inference: str) -> None:
        shim_of(self.model).inference = inference
        # For nlp.replace_listeners, which shows it the config of the model alone.
        of_own = partial(replace_listener_config, inference=inference)
        self.model.attrs["replace_listener_cfg"] = of_own

    @property
    def engine(self) -> str:
        """RETURNS (str): How predictions are computed here: precision, and whose kernels.
        RAISES: ValueError if no checkpoint was loaded."""
        self._check_loaded()
        engine = shim_of(self.model).engine()
        if engine:
            return str(engine)
        # The module itself, in 32 bits whatever was asked for.
        return f"{self.inference}, torch" + ("" if self.inference == "fp32" else ", 32 bits")

    @property
    def tokenizer(self) -> WordPieceTokenizer:
        """RETURNS (WordPieceTokenizer): Text -> pieces.
        RAISES: ValueError if no checkpoint was loaded."""
        return find_part(self.model, "doc-windows").attrs["tokenizer"].get()

    @property
    def _has_vocabulary(self) -> bool:
        return find_part(self.model, "doc-windows").attrs["tokenizer"].tokenizer is not None

    def _check_loaded(self) -> None:
        if not self.is_loaded:
            raise ValueError(f"The component '{self.name}' has no weights. {NOT_LOADED}")

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Take the weights and vocabulary of a checkpoint. In place.

        checkpoint (Checkpoint): What `spacy_bert.load_checkpoint` returns.
        RAISES: ValueError if its sizes differ from those in the config.
        """
        load_weights(self.model, checkpoint)

    def to_checkpoint(self) -> Checkpoint:
        """The encoder as it is now, such as after fine-tuning, to be written in HuggingFace's format:
        `spacy_bert.save_checkpoint(folder, nlp.get_pipe("bert").to_checkpoint())`.

        RETURNS (Checkpoint): A copy of encoder and pooler, with the vocabulary. Masked-LM and
            next-sentence heads are not kept by a pipeline.
        RAISES: ValueError if no checkpoint was loaded."""
        self._check_loaded()
        self._settle()
        return to_checkpoint(self.model, f"component '{self.name}'")

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        checkpoint: Optional[str] = None,
        revision: Optional[str] = None,
        vocab: Optional[str] = None,
    ) -> None:
        """Load the weights, unless they are there already.

        get_examples (Callable[[], Iterable[Example]]): Examples, only to check that there are some.
        nlp (Optional[Language]): The pipeline.
        checkpoint (Optional[str]): Folder or hub id of a BERT in HuggingFace's format.
        revision (Optional[str]): Revision of the hub id.
        vocab (Optional[str]): Instead of a checkpoint: folder of a vocabulary, for random weights.
        RAISES: ValueError if there are no examples; if there are no weights and neither is named, or both are; if a listener would
            predict from vectors of another encoder than it learns from; or if the encoder of a listener is
            not there, or behind it.
        """
        validate_get_examples(get_examples, "Bert.initialize")
        sample = [example.x for example in islice(get_examples(), 2)]
        if not sample:
            raise ValueError(
                "There are no texts to learn from: the training corpus is empty. Name a file that ends in "
                ".spacy, or a folder of such, as spaCy reads no others (`--paths.train train.spacy`)."
            )
        self.check_listeners(initializing=True)
        if nlp is not None:
            check_upstreams(nlp)
            warn_of_warm_up(nlp)
        if checkpoint and vocab:
            raise ValueError(
                f"[initialize.components.{self.name}] names both checkpoint = {checkpoint!r} and "
                f"vocab = {vocab!r}. Name one: a checkpoint brings its own vocabulary."
            )
        if not self.is_loaded:
            if checkpoint:
                self.load_checkpoint(load_checkpoint(checkpoint, revision=revision))
            elif vocab:
                randomize_weights(self.model, WordPieceTokenizer.from_disk(vocab))
            else:
                raise ValueError(f"The component '{self.name}' cannot be initialised. {NOT_LOADED}")
        self.model.initialize(X=sample)

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> DocVectors:
        """Encode some Docs, without changing them.

        docs (Iterable[Doc]): The Docs.
        RETURNS (DocVectors): Their pieces and vectors.
        RAISES: ValueError if the encoder has no weights, or `check_listeners` does; FloatingPointError if the
            weights are spoilt.
        """
        docs = list(docs)
        self._check_loaded()
        self.check_listeners()
        if not self._readers.is_whole:
            self._set_poolings()
        if self._is_over(docs):
            self._settle()
        vectors = self.model.predict(docs)
        bare = bare_tokens(docs, [pieces.alignment for pieces in vectors.pieces])
        is_first = bool(bare) and not self.n_bare_tokens
        self.n_bare_tokens += len(bare)
        if is_first:
            # One warning, not one a Doc or batch: in some corpora every text has such a token.
            warn_of(bare, sum(map(len, docs)))
        return vectors

    def _is_over(self, docs: Sequence[Doc]) -> bool:
        """Whether an update has come to its end, as other Docs are predicted: not before any head has
        answered, unless there was a gradient to step with before."""
        if self._batch is None or self._batch.covers(docs):
            return False  # while it annotates its own batch, it goes on
        return bool(self._batch.reported) or shim_of(self.model).has_gradient

    def set_annotations(self, docs: Sequence[Doc], vectors: DocVectors) -> None:
        """Leave the vectors on the Docs.

        docs (Sequence[Doc]): The Docs.
        vectors (DocVectors): What `predict` made of them.
        """
        # A view would keep the vectors of the whole batch alive as long as any of its Docs lives.
        alone = len(docs) == 1
        pieces_of, owns_tensor = self.tokenizer.pieces, self.owns_tensor
        for i, doc in enumerate(docs):
            pieces = vectors.pieces[i]
            values: Dict[str, Any] = {
                "ids": pieces.ids,
                "offsets": pieces.offsets,
                "pieces": " ".join([pieces_of[id_] for id_ in pieces.ids.tolist()]),
                **{name: rows[i].copy() for name, rows in vectors.pooled.items()},
            }
            if vectors.rows is not None:
                rows = vectors.rows[i]
                values.update(row_values(rows if alone else rows.copy(), pieces.windows))
            annotate(
                doc,
                self.name,
                vectors.tokens[i] if alone else vectors.tokens[i].copy(),
                values,
                set_tensor=self.set_tensor,
                owns_tensor=owns_tensor,
                keep="tokens" in self.keep,
            )
            if self.set_tensor:
                install_similarity(doc)

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Encode a batch for the listeners' updates, which come next and send their gradients back.

        examples (Iterable[Example]): The batch.
        drop (float): Not used: the encoder's dropout is part of its architecture.
        sgd (Optional[Optimizer]): Step with this as soon as the gradient is complete.
        losses (Optional[Dict[str, float]]): Is given the squared gradient under the component's name.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "Bert.update")
        self._check_loaded()
        self.check_listeners()
        self._finish_batch()
        docs = [example.predicted for example in examples]
        if not self.listeners:
            self._warn_once(
                "nobody",
                f"Nothing that is trained listens to '{self.name}', so it learns nothing. A component learns on "
                f'it with spacy-bert.BertListener.v1, or another listener, in its model (nlp.add_pipe("ner") '
                f"alone gives it an encoder of its own); or list '{self.name}' in frozen_components.",
            )
            return losses
        if warning := unmarked_pair(self.rivals.home, docs):
            self._warn_once("unmarked", warning)
        try:
            vectors, backprop = self.model.begin_update(docs)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} This came after {self._latest}.") from None
        self._losses, self._told = losses, 0.0
        self._batch = SharedBatch(
            docs, vectors, backprop, ops=self.model.ops, on_report=self._on_report
        )
        for listener in self.listeners:
            check_device(listener, self.name, self.model)
            self.note_learner(listener)
            if isinstance(listener, BertListenerModel):
                listener.receive(self._batch)
            else:
                tokens, d_tokens = self._batch.read_tokens(docs, listener.id, 1.0)
                cast(Tok2VecListener, listener).receive(
                    Tok2VecListener.get_batch_id(docs), tokens, d_tokens
                )
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned_of:
            self._warned_of.add(kind)
            warnings.warn(message, stacklevel=3)

    def finish_update(self, sgd: Optimizer) -> None:
        """Step with the gradients so far. A forward pass that no listener has answered yet puts
        the step off until they have: plain `nlp.update(sgd=...)` asks for it that early.

        sgd (Optimizer): The optimizer.
        RAISES: FloatingPointError before the step if the gradient is not finite.
        """
        if self._batch is not None and not self._batch.reported:
            self._deferred = sgd
            return
        self._finish_batch()
        self._step(sgd)

    def _on_report(self) -> None:
        """A listener's gradient has arrived."""
        assert self._batch is not None
        if self._batch.is_complete({listener.id for listener in self.listeners}):
            self._finish_batch()
        else:
            # Whoever is still missing may be disabled, and the caller looks at the losses now.
            self._tell_loss(self._batch)

    def _tell_loss(self, batch: SharedBatch) -> None:
        """Add to the losses what they lack of this batch. (Whoever gave them may have cleared them by now.)"""
        loss = batch.squared_gradient()
        self._losses[self.name] = self._losses.get(self.name, 0.0) + loss - self._told
        self._told = loss

    def _settle(self) -> None:
        """Take a step that was put off, as no more gradients are to be expected, before anything
        reads the weights."""
        if self._deferred is not None:
            self._finish_batch()

    def _finish_batch(self) -> None:
        """Run the backward pass that is still to come, and the step that was put off for it."""
        batch, self._batch = self._batch, None
        deferred, self._deferred = self._deferred, None
        if batch is not None:
            for listener in self.listeners:
                if isinstance(listener, BertListenerModel):
                    listener.receive(None)
                else:
                    # None is how it is born, but its annotation says int.
                    cast(Tok2VecListener, listener).receive(cast(int, None), None, None)
            if batch.is_open:  # else what it had was spoilt, and is dropped
                self._tell_loss(batch)
            self._latest = describe(batch.docs)
            batch.backward()
        if deferred is not None:
            self._step(deferred)

    def _step(self, sgd: Optimizer) -> None:
        try:
            self.model.finish_update(sgd)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} This came after {self._latest}.") from None

    def use_params(self, params: Dict[Any, Any]) -> Iterator[None]:
        """Use other weights for a while. (A plain generator, as spaCy's own is.)

        params (Dict[Any, Any]): The weights, such as the averages that an optimizer keeps.
        """
        # A backward pass needs the weights of its forward pass, and a step taken in here would be
        # undone in the end.
        if self._deferred is not None or (self._batch is not None and self._batch.reported):
            self._finish_batch()
        yield from super().use_params(params)

    # Saving

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles and copies: without the optimizer of a step that was put off."""
        self._settle()
        return super().__reduce_ex__(protocol)

    def to_bytes(self, *, exclude: Iterable[str] = tuple()) -> bytes:
        """exclude (Iterable[str]): Fields to leave out.
        RETURNS (bytes): The component, weights and vocabulary included."""
        self._settle()
        return super().to_bytes(exclude=exclude)

    def to_disk(self, path: Any, *, exclude: Iterable[str] = tuple()) -> None:
        """path (Union[str, Path]): Folder to write to.
        exclude (Iterable[str]): Fields to leave out."""
        self._settle()
        with weights_apart():
            super().to_disk(path, exclude=exclude)
        if "model" not in exclude:
            shim_of(self.model).save_weights(Path(path) / WEIGHTS, like=Path(path) / "model")

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = tuple()) -> "Bert":
        """bytes_data (bytes): What `to_bytes` made.
        RETURNS (Bert): This component with those weights."""
        super().from_bytes(bytes_data, exclude=exclude)
        self._set_poolings()
        return self

    def from_disk(self, path: Any, *, exclude: Iterable[str] = tuple()) -> "Bert":
        """path (Union[str, Path]): Folder that `to_disk` wrote.
        RETURNS (Bert): This component with those weights.
        RAISES: ValueError if the weights are missing or damaged."""
        weights = Path(path) / WEIGHTS
        # Read meanwhile: neither this nor making the tokenizer keeps the other waiting for long.
        with ThreadPoolExecutor(1) as pool:
            is_apart = "model" not in exclude and weights.exists()
            state = hand_over(pool, read_weights, weights) if is_apart else None
            super().from_disk(path, exclude=exclude)
        if state is not None:
            shim_of(self.model).take_weights(state.result())
        elif "model" not in exclude and not self.is_loaded and self._has_vocabulary:
            raise ValueError(
                f"{weights}, the weights of the encoder, is missing, but its vocabulary is there: the "
                f"pipeline was not copied as a whole. Copy or save it again."
            )
        self._set_poolings()
        return self

    def add_label(self, label: str) -> int:
        """RAISES: ValueError: an encoder has no labels."""
        raise ValueError(f"The component '{self.name}' is an encoder and has no labels.")


__all__ = ["Bert"]
