"""The `fill_mask` component: asks a masked language model what stands behind each mask."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Union

from spacy import util
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..encoder import Checkpoint, load_checkpoint
from ..layers.doc_encoder import find_part, has_encoder, is_loaded
from ..layers.masked_lm import MaskPredictions
from ..layers.weights import load_weights
from ..wordpiece import WordPieceTokenizer
from .mask_view import store
from .streaming import Streamed, annotate_all


class FillMask(Streamed, Pipe):
    """Ranks the pieces of the vocabulary for each "[MASK]" in the raw text of a Doc (factory
    `fill_mask`), as the masked language model does that the checkpoint was pretrained as.

    The results are in `doc._.fill_mask`; with two such components, those of the later one. Which
    text is a mask is what the checkpoint's own tokenizer says; case counts. It works on the raw
    text, and leaves `nlp.tokenizer` as it is. Long texts are read in windows, each mask where its
    context is widest; a Doc that is a pair (`doc.spans["segments"]`) is read as one.

    It has an encoder of its own, and is not trained: in a pipeline that is, it stays as it is.
    `python -m spacy_bert pretrain` trains masked language models.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[MaskPredictions]]): Such as "spacy-bert.BertMaskedLM.v1".
    name (str): The component's name.
    top_k (int): How many pieces to name for each mask. Can be changed later; what a saved pipeline
        has is in its config.
    RAISES: ValueError if top_k is not positive, or the model is no masked language model.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], List[MaskPredictions]],
        name: str = "fill_mask",
        *,
        top_k: int = 5,
    ) -> None:
        if not has_encoder(model) or "top_k" not in find_part(model, "doc-encoder").attrs:
            raise ValueError(
                f"The model of the component '{name}' is {model.name!r}, which is no masked "
                f"language model. Use spacy-bert.BertMaskedLM.v1."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.top_k = top_k

    @property
    def top_k(self) -> int:
        """RETURNS (int): How many pieces are named for each mask."""
        return self._top_k

    @top_k.setter
    def top_k(self, value: int) -> None:
        """value (int): How many from now on; no more than the vocabulary has are."""
        if value < 1:
            raise ValueError(
                f"top_k of the component '{self.name}' is {value}, but at least 1 piece has to be "
                f"named for each mask."
            )
        self._top_k = value
        find_part(self.model, "doc-encoder").attrs["top_k"] = value

    # Weights

    @property
    def is_loaded(self) -> bool:
        """RETURNS (bool): Whether there are weights."""
        return is_loaded(self.model)

    @property
    def tokenizer(self) -> WordPieceTokenizer:
        """RETURNS (WordPieceTokenizer): Text -> pieces.
        RAISES: ValueError if no checkpoint was loaded."""
        self._check_loaded()
        return find_part(self.model, "doc-windows").attrs["tokenizer"].get()

    def _check_loaded(self) -> None:
        if not self.is_loaded:
            raise ValueError(
                f"The component '{self.name}' has neither weights nor vocabulary yet. Name a "
                f"checkpoint with a masked-LM head and initialise: in the config, "
                f"[initialize.components.{self.name}] checkpoint = "
                f'"path/to/checkpoint", then nlp.initialize() or `spacy train`; in Python, '
                f'spacy_bert.from_checkpoint(path, component="fill_mask").'
            )

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Take the weights and vocabulary of a checkpoint. In place.

        checkpoint (Checkpoint): What `spacy_bert.load_checkpoint` returns.
        RAISES: ValueError if it has no masked-LM head, or its sizes differ from those in the config.
        """
        load_weights(self.model, checkpoint)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        checkpoint: Optional[str] = None,
        revision: Optional[str] = None,
    ) -> None:
        """Load the weights, unless they are there already.

        get_examples (Callable[[], Iterable[Example]]): Not used: there is nothing to learn.
        nlp (Optional[Language]): The pipeline.
        checkpoint (Optional[str]): Folder or hub id of a BERT in HuggingFace's format.
        revision (Optional[str]): Revision of the hub id.
        RAISES: ValueError if there are no weights and no checkpoint is named, or it does not fit.
        """
        if not self.is_loaded and checkpoint:
            self.load_checkpoint(load_checkpoint(checkpoint, revision=revision))
        self._check_loaded()

    # Prediction

    def __call__(self, doc: Doc) -> Optional[Doc]:  # type: ignore[override]
        """doc (Doc): A Doc.
        RETURNS (Optional[Doc]): The same, with `doc._.fill_mask`; None, as of spaCy's own
            components, if it failed and the error handler did not raise."""
        return next(iter(annotate_all(self, [doc])), None)

    def predict(self, docs: Iterable[Doc]) -> List[MaskPredictions]:
        """Rank pieces for the masks of some Docs, without changing them.

        docs (Iterable[Doc]): The Docs.
        RETURNS (List[MaskPredictions]): One entry a Doc.
        RAISES: ValueError if there are no weights.
        """
        self._check_loaded()
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Sequence[Doc], predictions: Sequence[MaskPredictions]) -> None:
        """Leave predictions on the Docs.

        docs (Sequence[Doc]): The Docs.
        predictions (Sequence[MaskPredictions]): What `predict` made of them.
        """
        names = self.tokenizer.pieces
        for doc, found in zip(docs, predictions, strict=True):
            store(doc, found, names)

    # Saving

    def to_bytes(self, *, exclude: Iterable[str] = tuple()) -> bytes:
        """exclude (Iterable[str]): Fields to leave out: "model", "vocab".
        RETURNS (bytes): The component, weights and vocabulary of pieces included."""
        writers: Dict[str, Callable[[], bytes]] = {
            "model": self.model.to_bytes,
            "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
        }
        return util.to_bytes(writers, exclude)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = tuple()) -> "FillMask":
        """bytes_data (bytes): What `to_bytes` made.
        exclude (Iterable[str]): Fields to leave out.
        RETURNS (FillMask): This component with those weights."""
        readers: Dict[str, Callable[[bytes], Any]] = {
            "model": self.model.from_bytes,
            "vocab": lambda data: self.vocab.from_bytes(data, exclude=exclude),
        }
        util.from_bytes(bytes_data, readers, exclude)
        self.top_k = self._top_k  # the config's, not what was in force when it was saved
        return self

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = tuple()) -> None:
        """path (Union[str, Path]): Folder to write to.
        exclude (Iterable[str]): Fields to leave out."""
        writers: Dict[str, Callable[[Path], Any]] = {
            "model": self.model.to_disk,
            "vocab": lambda folder: self.vocab.to_disk(folder, exclude=exclude),
        }
        util.to_disk(path, writers, exclude)

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = tuple()) -> "FillMask":
        """path (Union[str, Path]): Folder that `to_disk` wrote.
        exclude (Iterable[str]): Fields to leave out.
        RETURNS (FillMask): This component with those weights."""
        readers: Dict[str, Callable[[Path], Any]] = {
            "model": self.model.from_disk,
            "vocab": lambda folder: self.vocab.from_disk(folder, exclude=exclude),
        }
        util.from_disk(path, readers, exclude)
        self.top_k = self._top_k
        return self


__all__ = ["FillMask"]
