"""The `bert_ner` component: named entities from a tag for each token."""

from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..decoding import SCHEMES, check_scheme, decode, probabilities, split_tags
from ..layers.doc_encoder import has_encoder, is_loaded
from ..layers.finite import check_finite, spoilt
from ..layers.piece_listener import release_rows
from ..layers.tag_loss import tag_loss
from .entity_tags import (
    DocEntities,
    gold_columns,
    no_entities,
    per_doc,
    tag_columns,
    where_possible,
    write_entities,
)
from .streaming import Streamed


class BertNER(Streamed, TrainablePipe):
    """BERT's named entity recogniser (factory `bert_ner`): each token gets a tag, and the best
    sequence of tags that makes entities is looked for.

    Sets `doc.ents`, and `doc.spans[spans_key]`, where `attrs["scores"]` holds for each entity the
    probability that exactly this one is there. As spaCy's `ner`, it leaves alone the entities that a
    Doc has already and tokens that were blocked.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): Scores of tags, such as "spacy-bert.BertTokenClassifier.v1".
    name (str): The component's name.
    scheme (str): The tags of a label: "biluo" (begin, inside, last, unit) or "bio" (begin, inside).
    label_smoothing (float): In training, how much probability to spread over the other tags.
    spans_key (Optional[str]): Where in `doc.spans` to put entities with their scores; None for nowhere.
    scorer (Optional[Callable]): How to evaluate.
    RAISES: ValueError for an unknown scheme, or a label_smoothing that leaves the right tag nothing.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], List[Floats2d]],
        name: str = "bert_ner",
        *,
        scheme: str = "biluo",
        label_smoothing: float = 0.0,
        spans_key: Optional[str] = "bert_ner",
        scorer: Optional[Callable] = None,
    ) -> None:
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                f"label_smoothing of the component '{name}' is {label_smoothing}, but it must be 0 "
                f"(none) or more, and less than 1."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scheme = check_scheme(scheme)
        self.label_smoothing = label_smoothing
        self.spans_key = spans_key
        self.scorer = scorer
        self.cfg: Dict[str, Any] = {"labels": []}

    # Labels

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels of entities."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
        """RETURNS (List[str]): What `spacy init labels` writes for [initialize]."""
        return list(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        """Add a label. One that is added after training is not predicted before it is trained, and
        changes nothing about the others.

        label (str): The label.
        RETURNS (int): 0 if it is there already, otherwise 1.
        RAISES: ValueError if it is no text, or empty.
        """
        if not isinstance(label, str):
            raise ValueError(Errors.E187)
        return self._add_labels([label])

    def _add_labels(self, labels: Iterable[str]) -> int:
        new = [label for label in dict.fromkeys(labels) if label not in self.cfg["labels"]]
        if "" in new:
            raise ValueError(f"A label of the component '{self.name}' is empty. Give it a name.")
        for label in new:
            self.vocab.strings.add(label)
        self.cfg["labels"].extend(new)
        if new and self.is_resizable:
            self.set_output(self._n_tags)
        return len(new)

    @property
    def _n_tags(self) -> int:
        return 1 + len(SCHEMES[self.scheme]) * len(self.cfg["labels"])

    # Weights

    @property
    def is_loaded(self) -> bool:
        """RETURNS (bool): Whether there are weights."""
        has_own = not has_encoder(self.model) or is_loaded(self.model)
        return has_own and bool(self.model.get_ref("output_layer").has_param("W"))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Sequence[str]] = None,
    ) -> None:
        """Find the labels, and give the output layer its first weights.

        get_examples (Callable[[], Iterable[Example]]): Examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Sequence[str]]): The labels, as `spacy init labels` writes them; those of
            all examples if not given.
        RAISES: ValueError if there are none.
        """
        validate_get_examples(get_examples, "BertNER.initialize")
        if labels is None:
            n_docs, found = 0, set[str]()
            for example in get_examples():  # they may be more than memory holds
                n_docs += 1
                found.update(ent.label_ for ent in example.y.ents)
            labels = sorted(found)
            if not labels and not self.labels:
                raise ValueError(
                    f"The component '{self.name}' has nothing to learn from: none of {n_docs} annotated "
                    f"Docs has entities in doc.ents. Set them, or list the labels in [initialize.components."
                    f"{self.name}]; and see that the path names a file that ends in .spacy, or a folder of such."
                )
        self._add_labels(labels)
        self._require_labels()
        sample = [example.x for example in islice(get_examples(), 10)]
        outputs = [self.model.ops.alloc2f(len(doc), self._n_tags) for doc in sample]
        self.model.initialize(X=sample, Y=outputs)

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> List[DocEntities]:
        """Find entities in some Docs, without changing them.

        docs (Iterable[Doc]): The Docs.
        RETURNS (List[DocEntities]): The entities of each that it does not have yet.
        RAISES: ValueError if there are no labels, or not as many as the model's tags;
            FloatingPointError if the scores are not finite.
        """
        docs = list(docs)
        self._require_labels()
        if not any(len(doc) for doc in docs):
            return [no_entities(scored=self.spans_key is not None) for _ in docs]
        flat = self.model.ops.to_numpy(self.model.ops.flatten(self.model.predict(docs)))
        if flat.shape[1] != self._n_tags:
            raise ValueError(
                f"The model of the component '{self.name}' gives {flat.shape[1]} scores a token, but "
                f"{len(self.labels)} labels in the scheme {self.scheme!r} need {self._n_tags}. Use the "
                f"scheme and the labels that it was trained with."
            )
        if not np.isfinite(flat).all():
            raise FloatingPointError(spoilt("scores", self.name))
        tags = where_possible(split_tags(flat, self.scheme), docs)
        entities = decode(tags)
        probable = None if self.spans_key is None else probabilities(tags, entities)
        return per_doc(entities, probable, docs)

    def set_annotations(self, docs: Iterable[Doc], predictions: Sequence[DocEntities]) -> None:
        """Leave entities on the Docs.

        docs (Iterable[Doc]): The Docs.
        predictions (Sequence[DocEntities]): What `predict` found in them.
        """
        docs = [docs] if isinstance(docs, Doc) else list(docs)
        for doc, found in zip(docs, predictions, strict=True):
            write_entities(doc, found, self.labels, self.spans_key)
        release_rows(self.model, docs)

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch.

        examples (Iterable[Example]): The batch. Without any annotation of entities, nothing is done.
        drop (float): Dropout on the token vectors.
        sgd (Optional[Optimizer]): Step with this.
        losses (Optional[Dict[str, float]]): Is given the loss under the component's name.
        RETURNS (Dict[str, float]): The losses.
        RAISES: ValueError for an entity of an unknown label; FloatingPointError, before the step, if
            the loss is not finite.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "BertNER.update")
        if not any(len(eg.x) and eg.y.has_annotation("ENT_IOB") for eg in examples):
            return losses
        if not self.is_loaded:
            raise ValueError(Errors.E109.format(name=self.name))
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update([eg.x for eg in examples])
        loss, gradient = self.get_loss(examples, scores)
        backprop(gradient)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Iterable[Example], scores: List[Floats2d]
    ) -> Tuple[float, List[Floats2d]]:
        """The cross entropy of the tags, over all tokens whose tag is known.

        examples (Iterable[Example]): The batch.
        scores (List[Floats2d]): What the model made of it, shape (n_tokens, n_tags) for each Doc.
        RETURNS (Tuple[float, List[Floats2d]]): The loss, and its gradient.
        RAISES: As `update`.
        """
        examples = list(examples)
        validate_examples(examples, "BertNER.get_loss")
        ops = self.model.ops
        columns = tag_columns(self.labels, self.scheme)
        gold = np.concatenate([gold_columns(example, columns) for example in examples])
        loss, gradient = tag_loss(
            ops, ops.flatten(scores), gold, label_smoothing=self.label_smoothing
        )
        check_finite([gradient], [example.x for example in examples])
        lengths = ops.asarray1i([len(example.x) for example in examples])
        return loss, ops.unflatten(gradient, lengths)


__all__ = ["BertNER"]
