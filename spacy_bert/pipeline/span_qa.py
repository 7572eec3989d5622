"""The `span_qa` component: finds the answer to a question in a text, or that there is none."""

import warnings
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, cast

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from ..answers import Answer, answers_of, context_start, is_annotated, set_answers
from ..layers.doc_encoder import has_encoder, is_loaded
from ..layers.finite import check_finite, spoilt
from ..layers.piece_listener import release_rows
from ..layers.piece_rows import PieceRows
from ..segments import split_character
from .answer_spans import Candidates, Targets, answer_targets, best_answers, window_loss
from .streaming import Streamed


class SpanQA(Streamed, TrainablePipe):
    """Extractive question answering (factory `span_qa`; paper, sections 4.2 and 4.3).

    It reads pairs: `spacy_bert.make_pair(nlp, question, context)`. The best answers are then in
    `doc.spans["answers"]`, best first, as the tokens that cover them, and with exact characters, texts
    and scores in the group's `attrs` (see spacy_bert.answers). The group is empty if the score of
    "no answer" is higher than that of the best answer by more than `null_threshold`; `attrs`
    has "null_score", that score, and "null_odds", the difference (the bigger, the likelier there is none).

    It learns from the first answer in `doc.spans["answers"]` of the annotated Docs; Docs without that
    group are passed over, an empty group says that there is no answer. A window that does not hold the
    answer is taught to point to [CLS]. A question that fills more than half a window stands before
    the context with its first half a window only, with a warning.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[PieceRows]]): Such as "spacy-bert.BertSpanQA.v1".
    name (str): The component's name.
    n_best (int): How many answers to give (the paper's code: 20).
    max_answer_pieces (int): Longest answer in pieces (the paper's code: 30).
    null_threshold (Optional[float]): See above; None to give an answer always, as SQuAD 1.1 has it.
    scorer (Optional[Callable]): Scores Examples; the default gives "qa_exact" and "qa_f1".
    RAISES: ValueError if a number is not positive, or the threshold not finite.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], List[PieceRows]],
        name: str = "span_qa",
        *,
        n_best: int = 20,
        max_answer_pieces: int = 30,
        null_threshold: Optional[float] = 0.0,
        scorer: Optional[Callable] = None,
    ) -> None:
        for key, value in (("n_best", n_best), ("max_answer_pieces", max_answer_pieces)):
            if value < 1:
                raise ValueError(
                    f"{key} of the component '{name}' is {value}, but must be 1 or more."
                )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.n_best = n_best
        self.max_answer_pieces = max_answer_pieces
        self.scorer = scorer
        self.cfg: Dict[str, Any] = {}
        self.null_threshold = null_threshold
        # The config says this already; what is set later has to be saved.
        self._configured = self.cfg.pop("null_threshold")

    @property
    def null_threshold(self) -> Optional[float]:
        """RETURNS (Optional[float]): By how much "no answer" has to be better to be given; None for never."""
        return self.cfg.get("null_threshold", self._configured)

    @null_threshold.setter
    def null_threshold(self, value: Optional[float]) -> None:
        """value (Optional[float]): The threshold from now on; saved with the component.
        RAISES: ValueError if it is not finite."""
        if value is not None and not np.isfinite(value):
            raise ValueError(
                f"null_threshold of the component '{self.name}' is {value}, but it must be a finite "
                f"number, or None to give an answer always."
            )
        self.cfg["null_threshold"] = value

    @property
    def is_loaded(self) -> bool:
        """RETURNS (bool): Whether there are weights."""
        has_own = not has_encoder(self.model) or is_loaded(self.model)
        return has_own and all(
            node.has_param("W") for node in self.model.walk() if node.name == "linear"
        )

    def _check_loaded(self) -> None:
        if not self.is_loaded:
            raise ValueError(
                f"The component '{self.name}' has no weights yet. Train it, or call nlp.initialize()."
            )

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Optional[Language] = None
    ) -> None:
        """Make the weights.

        get_examples (Callable[[], Iterable[Example]]): The training examples.
        nlp (Optional[Language]): The pipeline.
        RAISES: ValueError if none of them is annotated.
        """
        validate_get_examples(get_examples, "SpanQA.initialize")
        if not any(is_annotated(example.reference) for example in get_examples()):
            raise ValueError(
                f"None of the examples for '{self.name}' has doc.spans[\"answers\"], so there is nothing "
                f"to learn. Read them with spacy-bert.SquadCorpus.v1, or write them with "
                f"spacy_bert.answers.set_answers (an empty group says that there is no answer)."
            )
        self.model.initialize(X=[example.x for example in islice(get_examples(), 2)])

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> List[Candidates]:
        """Find the best answers, without changing the Docs.

        docs (Iterable[Doc]): The pairs.
        RETURNS (List[Candidates]): One entry a Doc.
        RAISES: ValueError if a Doc is no pair, or there are no weights; FloatingPointError if the scores
            are not finite.
        """
        docs = list(docs)
        self._check_loaded()
        for doc in docs:
            context_start(doc)
        outputs = self.model.predict(docs)
        self._check_windows(docs, outputs)
        found = []
        for doc, rows in zip(docs, outputs):
            logits = self.model.ops.to_numpy(rows.data)
            if not np.isfinite(logits).all():
                raise FloatingPointError(spoilt("scores", self.name))
            sizes = {"n_best": self.n_best, "max_pieces": self.max_answer_pieces}
            found.append(best_answers(logits, rows.pieces, doc.text, **sizes))
        return found

    def set_annotations(self, docs: Sequence[Doc], predictions: Sequence[Candidates]) -> None:
        """Leave answers on the Docs.

        docs (Sequence[Doc]): The pairs.
        predictions (Sequence[Candidates]): What `predict` made of them.
        """
        for doc, found in zip(docs, predictions, strict=True):
            begin = context_start(doc)
            scores = found.scores.tolist()
            null = found.null_score
            odds = None if null is None or not scores else null - scores[0]
            exponents = np.exp(np.array([*scores, null or 0.0]) - max([*scores, null or 0.0]))
            probabilities = exponents / exponents.sum()
            answers = [
                Answer(doc.text[start:end], start - begin, end - begin, score, float(p))
                for (start, end), score, p in zip(found.characters.tolist(), scores, probabilities)
            ]
            threshold = self.null_threshold
            is_answered = bool(scores) and (threshold is None or odds is None or odds <= threshold)
            set_answers(doc, answers, is_answered=is_answered, null_score=null, null_odds=odds)
        release_rows(self.model, docs)

    def _check_windows(self, docs: Sequence[Doc], outputs: Sequence[PieceRows]) -> None:
        """Whether each pair was read as one, and its question as a whole."""
        for doc, rows in zip(docs, outputs):
            windows = rows.pieces.windows
            shown = {window.context_end for window in windows} - {None}
            if not shown and split_character(doc) is not None:
                raise ValueError(
                    f"The encoder has read {rows.pieces.text!r} as one text, because its segments were "
                    f"marked afterwards. Put the component 'segments' before the encoder: "
                    f'nlp.add_pipe("segments", first=True).'
                )
            if shown and len(windows) > 1 and any(w.context_end is None for w in windows):
                warnings.warn(
                    f"The question of {rows.pieces.text!r} is longer than half a window: only its first "
                    f"{shown.pop()} pieces stand before the context. Make it shorter, or the "
                    f"encoder's window longer.",
                    stacklevel=3,
                )

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

        examples (Iterable[Example]): The batch; those without doc.spans["answers"] are passed over.
        drop (float): Dropout before the last layer, if the model has some.
        sgd (Optional[Optimizer]): Step with this.
        losses (Optional[Dict[str, float]]): Is given the loss under the component's name.
        RETURNS (Dict[str, float]): The losses.
        RAISES: ValueError if a Doc is no pair, or an answer is not where it should be.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "SpanQA.update")
        self._check_loaded()
        examples = [example for example in examples if is_annotated(example.reference)]
        if not examples:
            return losses
        gold = [self._gold(example) for example in examples]
        set_dropout_rate(self.model, drop)
        docs = [example.predicted for example in examples]
        outputs, backprop = self.model.begin_update(docs)
        self._check_windows(docs, outputs)
        targets = [answer_targets(rows.pieces, answer) for rows, answer in zip(outputs, gold)]
        self._warn_of_unfit(examples, gold, targets)
        loss, gradients = self._loss(outputs, targets)
        # Before it gets into the gradients of the head, where it would stay.
        check_finite([rows.data for rows in gradients], [example.x for example in examples])
        backprop(gradients)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Iterable[Example], scores: List[PieceRows]
    ) -> Tuple[float, List[PieceRows]]:
        """The loss of a batch: the mean, over windows, of the mean of the cross entropies of start and
        end. The softmax is over all rows of a window, the question's too, as in the paper's code.
        The gradient is that of their sum, as spaCy's own heads have it: what a question weighs must
        not depend on what else is in its batch.

        examples (Iterable[Example]): The batch, all annotated.
        scores (List[PieceRows]): What the model made of it, shape (n_rows, 2) each.
        RETURNS (Tuple[float, List[PieceRows]]): The loss and its gradient.
        """
        gold = [self._gold(example) for example in examples]
        return self._loss(scores, [answer_targets(r.pieces, a) for r, a in zip(scores, gold)])

    def _loss(
        self, scores: List[PieceRows], targets: List[Targets]
    ) -> Tuple[float, List[PieceRows]]:
        ops = self.model.ops
        parts = [window_loss(ops.to_numpy(rows.data), t) for rows, t in zip(scores, targets)]
        n_windows = max(1, sum(len(target.rows) for target in targets))
        gradients = [
            rows.with_data(ops.asarray2f(cast(Any, gradient.astype("f4"))))
            for rows, (_, gradient) in zip(scores, parts)
        ]
        return sum(loss for loss, _ in parts) / n_windows, gradients

    def _gold(self, example: Example) -> Optional[Tuple[int, int]]:
        """The first answer of an Example, in characters of the predicted Doc's text."""
        answers = answers_of(example.reference)
        begin = context_start(example.predicted)
        if not answers:
            return None
        start, end = begin + answers[0].start, begin + answers[0].end
        if example.predicted.text[start:end] != answers[0].text:
            raise ValueError(
                f"The answer {answers[0].text!r} is not at characters {answers[0].start} to "
                f"{answers[0].end} of the context of {example.predicted.text[:60]!r}, where "
                f"{example.predicted.text[start:end][:60]!r} is. The predicted and the annotated Doc "
                f"have to be of the same text."
            )
        return start, end

    def _warn_of_unfit(
        self,
        examples: Sequence[Example],
        gold: Sequence[Optional[Tuple[int, int]]],
        targets: Sequence[Targets],
    ) -> None:
        lost = [
            example.predicted.text[slice(*answer)]
            for example, answer, target in zip(examples, gold, targets)
            if answer is not None and not target.places.any()
        ]
        if lost:
            warnings.warn(
                f"{len(lost)} of {len(examples)} answers stand in no window as a whole, so that their "
                f"questions are learnt as if they had none. The first is {lost[0][:60]!r}. Use a longer "
                f"window or a smaller stride, or clean the answers (characters that BERT does not "
                f"read make no pieces).",
                stacklevel=3,
            )

    def add_label(self, label: str) -> int:
        """RAISES: ValueError: answers have no labels."""
        raise ValueError(f"The component '{self.name}' finds answers and has no labels.")


__all__ = ["SpanQA"]
