"""The `text_regressor` component: one number a text, or a pair of texts."""

from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..layers.finite import check_finite, spoilt
from ..targets import score_of, set_score
from .correlation import pearson, spearman
from .streaming import Streamed


class TextRegressor(Streamed, TrainablePipe):
    """Predicts a number for each Doc (factory `text_regressor`): how alike two texts are, how hard one is
    to read, what it sold for.

    It learns from `doc._.score` of the annotated Docs, and sets it on the Docs it predicts for. A Doc
    without one (None or NaN) is not learnt from, nor scored on. To keep the numbers in a file of
    annotated Docs, write it with `DocBin(store_user_data=True)`.

    The model works in standard deviations from the mean of what it was initialised with, so any range of
    numbers trains alike; the loss is the mean squared error in these units.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], Floats2d]): One number a Doc, such as "spacy-bert.BertRegressor.v1".
    name (str): The component's name.
    scorer (Optional[Callable]): Scores Examples; the default gives "score_pearson" and "score_spearman".
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], Floats2d],
        name: str = "text_regressor",
        *,
        scorer: Optional[Callable] = None,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        # Not known yet; they are saved with the weights, without which they mean nothing.
        self.cfg: Dict[str, Any] = {"mean": None, "scale": None}

    @property
    def is_loaded(self) -> bool:
        """RETURNS (bool): Whether it was initialised, or loaded after training."""
        return self.cfg["mean"] is not None

    def _check_initialized(self) -> None:
        if not self.is_loaded:
            raise ValueError(
                f"The component '{self.name}' was not initialised, so it knows neither weights nor the "
                f"range of its numbers. Call nlp.initialize with examples, or train it."
            )

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Optional[Language] = None
    ) -> None:
        """Learn the mean and the spread of the numbers, and make the weights.

        get_examples (Callable[[], Iterable[Example]]): Examples of what it is to learn from.
        nlp (Optional[Language]): The pipeline.
        RAISES: ValueError if none of them has a number.
        """
        validate_get_examples(get_examples, "TextRegressor.initialize")
        targets = [score_of(example.reference) for example in get_examples()]
        known = np.array([target for target in targets if target is not None], dtype="float64")
        if not known.size:
            raise ValueError(
                f"The component '{self.name}' has nothing to learn from: none of {len(targets)} "
                f"annotated Docs has a number in doc._.score. Set it, and write files with "
                f"DocBin(store_user_data=True), which keeps it."
            )
        # Numbers that are all the same have no spread; their own unit does. (Rounding may give them one.)
        self.cfg.update(
            mean=float(known.mean()), scale=float(known.std()) if np.ptp(known) else 1.0
        )
        sample = [example.reference for example in islice(get_examples(), 10)]
        self.model.initialize(X=sample, Y=self.model.ops.alloc2f(len(sample), 1))

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> np.ndarray:
        """Predict numbers for some Docs, without changing them.

        docs (Iterable[Doc]): The Docs.
        RETURNS (np.ndarray): One number a Doc, in the unit of the data, shape (n_docs,).
        RAISES: ValueError if it was not initialised; FloatingPointError if a number is not finite.
        """
        docs = list(docs)
        self._check_initialized()
        if not docs:
            return np.zeros(0)
        outputs = self.model.ops.to_numpy(self.model.predict(docs))
        if not np.isfinite(outputs).all():
            raise FloatingPointError(spoilt("numbers", self.name))
        return self.cfg["mean"] + self.cfg["scale"] * outputs[:, 0].astype("float64")

    def set_annotations(self, docs: Sequence[Doc], numbers: np.ndarray) -> None:
        """Set `doc._.score`.

        docs (Sequence[Doc]): The Docs.
        numbers (np.ndarray): What `predict` made of them.
        """
        for doc, number in zip(docs, numbers.tolist(), strict=True):
            set_score(doc, number)

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

        examples (Iterable[Example]): The batch.
        drop (float): Dropout in the head.
        sgd (Optional[Optimizer]): Steps the weights; without, gradients add up until `finish_update`.
        losses (Optional[Dict[str, float]]): Is given the loss under the component's name.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "TextRegressor.update")
        self._check_initialized()
        if all(score_of(example.reference) is None for example in examples):
            # As of spaCy's own heads: a gradient of zeros would still decay the weights.
            return losses
        set_dropout_rate(self.model, drop)
        outputs, backprop = self.model.begin_update([example.predicted for example in examples])
        loss, gradient = self.get_loss(examples, outputs)
        backprop(gradient)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> "tuple[float, Floats2d]":
        """Mean squared error, in the model's own unit.

        examples (Iterable[Example]): The batch.
        scores (Floats2d): What the model gave, shape (n_docs, 1).
        RETURNS (Tuple[float, Floats2d]): The loss, the mean over Docs that have a number, and the gradient of
            half their sum, as that of spaCy's `textcat`: beside others on one encoder, a head's
            share must not depend on which.
        RAISES: FloatingPointError if that is not finite.
        """
        targets = [score_of(example.reference) for example in examples]
        mean, scale, ops = self.cfg["mean"], self.cfg["scale"], self.model.ops
        wanted = [[0.0 if target is None else (target - mean) / scale] for target in targets]
        known = [[float(target is not None)] for target in targets]
        gradient = (scores - ops.asarray2f(wanted)) * ops.asarray2f(known)
        # Here, before it gets into the gradients of the head, where it would stay.
        check_finite([gradient], [example.x for example in examples])
        n_known = sum(target is not None for target in targets)
        return float((gradient.ravel() ** 2).sum()) / max(1, n_known), gradient

    def add_label(self, label: str) -> int:
        """RAISES: ValueError: numbers have no labels."""
        raise ValueError(f"The component '{self.name}' predicts a number and has no labels.")


def score_numbers(examples: Iterable[Example], **cfg: Any) -> Dict[str, Optional[float]]:
    """Correlation of the numbers in `doc._.score` with the annotated ones, as STS-B is scored.

    examples (Iterable[Example]): Examples with predictions.
    **cfg: Not used; spaCy hands the component's settings over.
    RETURNS (Dict[str, Optional[float]]): "score_pearson" and "score_spearman", from -1 to 1, over the Docs
        that have an annotated number; None if these are fewer than two, or all the same.
    """
    predicted, gold = [], []
    for example in examples:
        wanted = score_of(example.reference)
        if wanted is None:
            continue
        found = score_of(example.predicted)
        if found is None:
            raise ValueError(
                f"The Doc {example.predicted.text[:60]!r} was not given a number, so there is nothing "
                f"to score. Run `text_regressor` on it."
            )
        predicted.append(found)
        gold.append(wanted)
    return {"score_pearson": pearson(predicted, gold), "score_spearman": spearman(predicted, gold)}


def make_scorer() -> Callable:
    """RETURNS (Callable): `score_numbers`, as "spacy-bert.text_regressor_scorer.v1" in a config."""
    return score_numbers


__all__ = ["TextRegressor", "make_scorer", "score_numbers"]
