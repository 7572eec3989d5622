"""Exact match and F1 of answers, by the rules of SQuAD 1.1 and 2.0, and the best threshold for "no answer".

Written from the rules (Rajpurkar et al. 2016, section 6.1; 2018, section 4), to give the numbers of the
official scripts. Scores are from 0 to 100 here, as there, and from 0 to 1 in spaCy's table.
"""

import re
import string
import warnings
from collections import Counter
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from spacy.training import Example

from ..answers import answers_of, is_annotated

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)

# The null odds of a question without any context, which has certainly no answer: JSON knows no infinity.
CERTAIN = 1e9
# Question id -> the texts of its answers; none if it has no answer.
Gold = Mapping[str, Sequence[str]]


def normalize(text: str) -> str:
    """text (str): An answer.
    RETURNS (str): In lower case, without ASCII punctuation, English articles and extra blank."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(predicted: str, gold: str) -> bool:
    """predicted (str): An answer, "" for none.
    gold (str): What it should be.
    RETURNS (bool): Whether they are the same, normalised."""
    return normalize(predicted) == normalize(gold)


def f1(predicted: str, gold: str, *, empty_is_equal: bool = True) -> float:
    """predicted (str): An answer, "" for none.
    gold (str): What it should be.
    empty_is_equal (bool): Two answers of which nothing is left count as 1 (SQuAD 2.0), or as 0 (1.1).
    RETURNS (float): Harmonic mean of precision and recall of their words, from 0 to 1."""
    a, b = normalize(predicted).split(), normalize(gold).split()
    if not a or not b:
        return float(a == b and empty_is_equal)
    n_common = sum((Counter(a) & Counter(b)).values())
    # As the official scripts compute it, to the last digit.
    precision, recall = n_common / len(a), n_common / len(b)
    return 2 * precision * recall / (precision + recall) if n_common else 0.0


class Scores(NamedTuple):
    """How good the answers to each question are, from 0 to 1, by question id.

    exact (Dict[str, float]): Exact match with the best of its annotated answers.
    f1 (Dict[str, float]): F1 with the best of them.
    """

    exact: Dict[str, float]
    f1: Dict[str, float]


def score_answers(gold: Gold, predictions: Mapping[str, str]) -> Scores:
    """Score by the rules of SQuAD 2.0.

    gold (Gold): The annotated answers. Those of which normalisation leaves nothing do not count.
    predictions (Mapping[str, str]): An answer by question id; "" for none.
    RETURNS (Scores): Of the questions that there is a prediction for.
    """
    exact, scores = {}, {}
    for name, texts in gold.items():
        if name in predictions:
            known = [text for text in texts if normalize(text)] or [""]
            exact[name] = max(float(exact_match(predictions[name], text)) for text in known)
            scores[name] = max(f1(predictions[name], text) for text in known)
    return Scores(exact, scores)


def evaluate_v1(gold: Gold, predictions: Mapping[str, str]) -> Dict[str, float]:
    """The official scores of SQuAD 1.1: every question has an answer, and one that is not
    answered counts as wrong.

    gold (Gold): The annotated answers.
    predictions (Mapping[str, str]): An answer by question id.
    RETURNS (Dict[str, float]): "exact_match" and "f1", from 0 to 100, and "total".
    RAISES: ValueError if there is no question, or one without an answer.
    """
    _check(gold, predictions)
    unanswerable = [name for name, texts in gold.items() if not texts]
    if unanswerable:
        raise ValueError(
            f"The question {unanswerable[0]!r} has no annotated answer, which SQuAD 1.1 does not "
            f"know. Score by the rules of SQuAD 2.0 (evaluate_v2)."
        )
    exact = scores = 0.0
    for name, texts in gold.items():
        if name in predictions:
            exact += max(float(exact_match(predictions[name], text)) for text in texts)
            scores += max(f1(predictions[name], text, empty_is_equal=False) for text in texts)
    return {
        "exact_match": 100.0 * exact / len(gold),
        "f1": 100.0 * scores / len(gold),
        "total": len(gold),
    }


def evaluate_v2(
    gold: Gold,
    predictions: Mapping[str, str],
    *,
    null_odds: Optional[Mapping[str, float]] = None,
    threshold: float = 1.0,
) -> Dict[str, float]:
    """The official scores of SQuAD 2.0.

    gold (Gold): The annotated answers; none where there is no answer.
    predictions (Mapping[str, str]): An answer by question id; "" for none. Questions without are left out.
    null_odds (Optional[Mapping[str, float]]): How likely there is no answer, by question id, on any scale.
    threshold (float): With null_odds: from above which odds on "no answer" is the prediction.
    RETURNS (Dict[str, float]): "exact", "f1", "total"; the same as "HasAns_..." and "NoAns_..."
        for questions with and without an answer, if there are such; and with null_odds "best_exact",
        "best_exact_thresh", "best_f1", "best_f1_thresh".
    RAISES: ValueError if there is nothing to score, or odds are missing.
    """
    _check(gold, predictions)
    scores = score_answers(gold, predictions)
    if not scores.exact:
        raise ValueError("There is no prediction for any of the questions: the ids differ.")
    applied = scores
    if null_odds is not None:
        missing = [name for name in scores.exact if name not in null_odds]
        if missing:
            raise ValueError(f"There are no odds for the question {missing[0]!r}.")
        applied = Scores(
            *(
                {
                    name: value if null_odds[name] <= threshold else float(not gold[name])
                    for name, value in values.items()
                }
                for values in scores
            )
        )
    results = _means(applied, list(applied.exact))
    for prefix, has_answer in (("HasAns_", True), ("NoAns_", False)):
        names = [name for name in applied.exact if bool(gold[name]) == has_answer]
        if names:
            results.update({prefix + k: v for k, v in _means(applied, names).items()})
    if null_odds is not None:
        for key, values in zip(("exact", "f1"), scores):
            best, place = best_threshold(gold, predictions, values, null_odds)
            results.update({f"best_{key}": 100.0 * best, f"best_{key}_thresh": place})
    return results


def _means(scores: Scores, names: List[str]) -> Dict[str, float]:
    means = [100.0 * sum(values[name] for name in names) / len(names) for values in scores]
    return {"exact": means[0], "f1": means[1], "total": len(names)}


def best_threshold(
    gold: Gold,
    predictions: Mapping[str, str],
    scores: Mapping[str, float],
    null_odds: Mapping[str, float],
) -> Tuple[float, float]:
    """The threshold for "no answer" with which a score is best.

    gold (Gold): The annotated answers.
    predictions (Mapping[str, str]): Answers by question id, given or not.
    scores (Mapping[str, float]): What they would score.
    null_odds (Mapping[str, float]): How likely there is no answer.
    RETURNS (Tuple[float, float]): The best score, from 0 to 1, and the threshold: the odds of the last
        question that is still answered. 0.0 if it is best to answer none.
    """
    # What answering gains over saying nothing; as the official script has it, any answer is wrong where
    # there is none, even "the", of which its scores leave nothing.
    gains = {
        name: score if gold[name] else -float(bool(predictions[name]))
        for name, score in scores.items()
    }
    best, threshold = float(sum(not texts for texts in gold.values())), 0.0
    for odds, total in _totals(best, gains, null_odds):
        if total > best:
            best, threshold = total, odds
    return best / len(scores), threshold


def _totals(
    total: float, gains: Mapping[str, float], null_odds: Mapping[str, float]
) -> Iterator[Tuple[float, float]]:
    """The odds of each question, smallest first, and the sum of the scores if it and those before are
    answered, and none behind it; `total` is that of answering none."""
    # Among equal odds in the order of `null_odds`, as the official script has it.
    for name in sorted(null_odds, key=lambda name: null_odds[name]):
        total += gains.get(name, 0.0)
        yield null_odds[name], total


def tuned_threshold(
    gold: Gold, predictions: Mapping[str, str], null_odds: Mapping[str, float]
) -> float:
    """The threshold for "no answer" with which F1 is best, to be applied.

    gold (Gold): The annotated answers.
    predictions (Mapping[str, str]): Answers by question id, given or not.
    null_odds (Mapping[str, float]): How likely there is no answer.
    RETURNS (float): "No answer" is best given where the odds are above it. Unlike the official one, which
        is the odds of a question, it lies half-way to the next larger: with other rounding, on other
        hardware, that question would be on the other side. Below all odds if it is best to answer nothing.
    """
    scores = score_answers(gold, predictions).f1
    # Right where there is no answer, or none of which the rules leave anything ("the").
    silent = score_answers(gold, dict.fromkeys(gold, "")).f1
    gains = {name: score - silent[name] for name, score in scores.items()}
    answers_none = sum(silent.values())
    # Questions of equal odds are answered together, or none of them: the last of them has the sum.
    totals = dict(_totals(answers_none, gains, null_odds))
    threshold = max(totals, key=totals.__getitem__, default=0.0)
    if totals.get(threshold, 0.0) <= answers_none:
        return min(null_odds.values()) - 1.0
    larger = [odds for odds in null_odds.values() if threshold < odds < CERTAIN]
    return (threshold + min(larger)) / 2 if larger else threshold + 1.0


def _check(gold: Gold, predictions: Mapping[str, str]) -> None:
    if not gold:
        raise ValueError("There are no questions to score.")
    unanswered = [name for name in gold if name not in predictions]
    if unanswered:
        warnings.warn(
            f"{len(unanswered)} of {len(gold)} questions have no prediction, {unanswered[0]!r} first.",
            stacklevel=3,
        )


def make_qa_scorer() -> Callable[..., Dict[str, Any]]:
    """RETURNS (Callable): The scorer of `span_qa` (`@scorers = "spacy-bert.qa_scorer.v1"`)."""
    return score_qa


def score_qa(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score the best answer of each Doc by the rules of SQuAD 2.0.

    examples (Iterable[Example]): Examples; those whose annotated Doc has no doc.spans["answers"] are
        left out, an empty group says that there is no answer.
    RETURNS (Dict[str, Any]): "qa_exact" and "qa_f1", from 0 to 1; None if nothing is annotated.
    """
    gold: Dict[str, List[str]] = {}
    predictions: Dict[str, str] = {}
    for i, example in enumerate(examples):
        if is_annotated(example.reference):
            gold[str(i)] = [answer.text for answer in answers_of(example.reference)]
            predictions[str(i)] = next((a.text for a in answers_of(example.predicted)), "")
    if not gold:
        return {"qa_exact": None, "qa_f1": None}
    means = _means(score_answers(gold, predictions), list(gold))
    return {"qa_exact": means["exact"] / 100.0, "qa_f1": means["f1"] / 100.0}
