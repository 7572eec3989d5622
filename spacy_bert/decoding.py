"""Scores of tags -> entities: the best set of them, and how probable each is. Pure arrays.

    tokens    Ada   Lovelace  met  Bob  .
    tags      B     L         O    U    O          (I: inside a longer one)
    state  -     A          -    -    -    -       between tokens: no entity open (-), or one of a label

Whatever tags come next depends on the state alone: with none open O, B or U, with one open I or L of
its label. So a step looks at n_labels + 1 states instead of all pairs of 4 n_labels + 1 tags. BIO is
decoded as the same tags, with I's score for L and B's for U: either way each set of entities is one
sequence of tags.

Legend: T tokens of a batch of texts, one text behind the other. L labels.
"""

from typing import Any, List, NamedTuple, Tuple

import numpy as np

# Scheme -> the tags that each label has. The columns of scores: O, then these for every label in turn.
SCHEMES = {"biluo": "BILU", "bio": "BI"}


class TagScores(NamedTuple):
    """What each tag adds to the score of a sequence of tags; -inf where it must not be.

    outside (np.ndarray): O, shape (T,).
    begin (np.ndarray): B of each label, shape (T, L).
    inside (np.ndarray): I, shape (T, L).
    last (np.ndarray): L, shape (T, L).
    unit (np.ndarray): U, shape (T, L).
    """

    outside: np.ndarray
    begin: np.ndarray
    inside: np.ndarray
    last: np.ndarray
    unit: np.ndarray


class Entities(NamedTuple):
    """Entities, in order of the tokens.

    starts (np.ndarray): First token of each, counted over the batch, shape (n_entities,).
    ends (np.ndarray): The token after its last, shape (n_entities,).
    labels (np.ndarray): Index of its label, shape (n_entities,).
    """

    starts: np.ndarray
    ends: np.ndarray
    labels: np.ndarray


def check_scheme(scheme: str) -> str:
    """scheme (str): The name of a scheme of tags.
    RETURNS (str): The same.
    RAISES: ValueError if there is none of this name."""
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is {scheme!r}, but it must be one of {', '.join(SCHEMES)}.")
    return scheme


def split_tags(scores: np.ndarray, scheme: str) -> TagScores:
    """scores (np.ndarray): Scores by tag: O, then the scheme's tags for each label, shape (T, n_tags).
    scheme (str): "biluo" or "bio".
    RETURNS (TagScores): The same in 64 bits, as scores of B, I, L and U."""
    tags = SCHEMES[scheme]
    wide = scores.astype(np.float64)
    n_labels = (wide.shape[1] - 1) // len(tags)
    by_label = wide[:, 1:].reshape(len(wide), n_labels, len(tags))  # (T, L, B I [L U])
    begin, inside = by_label[:, :, 0], by_label[:, :, 1]
    last = by_label[:, :, 2] if scheme == "biluo" else inside
    unit = by_label[:, :, 3] if scheme == "biluo" else begin
    return TagScores(wide[:, 0], *(x.copy() for x in (begin, inside, last, unit)))


def forbid(
    scores: TagScores, *, taken: np.ndarray, spaces: np.ndarray, final: np.ndarray
) -> TagScores:
    """Rule out entities where there must be none. O is possible everywhere.

    scores (TagScores): Scores of tags.
    taken (np.ndarray): Tokens that belong to another entity, or to none by decree, shape (T,), bool.
    spaces (np.ndarray): Tokens with which no entity starts or ends, shape (T,), bool.
    final (np.ndarray): Tokens with which an open entity has to end, shape (T,), bool.
    RETURNS (TagScores): The scores, with -inf for what is ruled out.
    """
    edge = (taken | spaces)[:, None]

    def ruled_out(values: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.where(where, -np.inf, values)

    return TagScores(
        outside=scores.outside,
        begin=ruled_out(scores.begin, edge | final[:, None]),
        inside=ruled_out(scores.inside, (taken | final)[:, None]),
        last=ruled_out(scores.last, edge),
        unit=ruled_out(scores.unit, edge),
    )


class Steps(NamedTuple):
    """The tokens of all stretches side by side, the longest stretch first, so that a step takes one
    token of each and nothing is padded. A stretch ends where no entity can be open.

    rows (np.ndarray): The token of each place in the order of the steps, shape (T,).
    bounds (List[Tuple[int, int]]): First place of each step, and the one after its last.
    """

    rows: np.ndarray
    bounds: List[Tuple[int, int]]


def plan_steps(scores: TagScores) -> Steps:
    """scores (TagScores): Scores in which the last token of each text begins and continues nothing.
    RETURNS (Steps): How to go through them.
    RAISES: ValueError if an entity could go on after the last token."""
    onwards = np.concatenate([scores.begin, scores.inside], axis=1)
    closing = onwards.max(axis=1, initial=-np.inf) == -np.inf
    if len(closing) and not closing[-1]:
        raise ValueError(
            "The scores let an entity go on after the last token. Mark the last token of each text "
            "as final in `forbid`."
        )
    ends = np.flatnonzero(closing) + 1
    lengths = np.diff(ends, prepend=0)
    places = np.arange(len(closing)) - np.repeat(ends - lengths, lengths)
    # By step and, within, the longest first: those that have ended are always the last ones.
    rows = np.lexsort((np.repeat(-lengths, lengths), places))
    stops = np.cumsum(np.bincount(places)) if len(places) else np.zeros(0, np.int64)
    starts = [0, *stops.tolist()]
    return Steps(rows, list(zip(starts, starts[1:])))


def decode(scores: TagScores) -> Entities:
    """Find the set of entities with the highest sum of scores (Viterbi).

    scores (TagScores): Scores, as `forbid` leaves them.
    RETURNS (Entities): The entities.
    """
    n_tokens, n_labels = scores.begin.shape
    if not n_labels or not n_tokens:
        return Entities(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    steps = plan_steps(scores)
    units, stay = scores.unit.argmax(1), _stay(scores, np.maximum)
    closed, opened = _forward(scores, stay, steps, np.maximum)
    # State after a token -> the best one before it. States: 0 none open, 1 + i label i open.
    ending = opened + scores.last
    back = np.zeros((n_tokens, n_labels + 1), dtype=np.int64)
    best = ending.argmax(1)
    is_end = np.take_along_axis(ending, best[:, None], 1)[:, 0] > closed + stay
    back[:, 0] = np.where(is_end, best + 1, 0)
    goes_on = opened + scores.inside > closed[:, None] + scores.begin
    back[:, 1:] = np.where(goes_on, np.arange(1, n_labels + 1), 0)
    before = _trace(back, steps)

    after = np.append(before[1:], 0)  # each stretch ends, and the next begins, with none open
    is_unit = (before == 0) & (after == 0) & (scores.unit.max(1) > scores.outside)
    starts = np.flatnonzero(is_unit | ((before == 0) & (after > 0)))
    lasts = np.flatnonzero(is_unit | ((before > 0) & (after == 0)))
    labels = np.where(is_unit[lasts], units[lasts], before[lasts] - 1)
    return Entities(starts, lasts + 1, labels)


def probabilities(scores: TagScores, entities: Entities) -> np.ndarray:
    """How probable each entity is, if a set of entities is as probable as the product of its tags'
    probabilities makes it among all possible sets (forward-backward).

    scores (TagScores): Scores, as `forbid` leaves them: logarithms of probabilities, up to a constant a token.
    entities (Entities): The entities in question, which must not overlap.
    RETURNS (np.ndarray): The probability that exactly this entity is there, shape (n_entities,).
    """
    starts, ends, labels = entities
    if not len(starts):
        return np.zeros(0)
    steps = plan_steps(scores)
    stay = _stay(scores, np.logaddexp)
    closed, _ = _forward(scores, stay, steps, np.logaddexp)
    rest = _backward(scores, stay, steps)
    lengths = ends - starts
    rows = np.repeat(starts, lengths) + _ranges(lengths)
    columns = np.repeat(labels, lengths)
    is_first, is_last = rows == np.repeat(starts, lengths), rows == np.repeat(ends - 1, lengths)
    tags = np.where(is_first, scores.begin[rows, columns], scores.inside[rows, columns])
    tags = np.where(is_last, scores.last[rows, columns], tags)
    tags = np.where(is_first & is_last, scores.unit[rows, columns], tags)
    inner = np.add.reduceat(tags, np.cumsum(lengths) - lengths)
    # `rest` of a stretch's first token is the sum over all its sets.
    firsts = np.sort(steps.rows[: steps.bounds[0][1]])
    total = rest[firsts[np.searchsorted(firsts, starts, side="right") - 1]]
    is_cut = np.isin(ends, firsts) | (ends == len(rest))
    behind = np.where(is_cut, 0.0, rest[np.minimum(ends, len(rest) - 1)])
    return np.exp(np.minimum(closed[starts] + inner + behind - total, 0.0))


def _ranges(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... for each length in turn."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _stay(scores: TagScores, plus: Any) -> np.ndarray:
    """Score of going on with none open, by O or by any U, shape (T,)."""
    return plus(scores.outside, plus.reduce(scores.unit, axis=1))


def _forward(
    scores: TagScores, stay: np.ndarray, steps: Steps, plus: Any
) -> Tuple[np.ndarray, np.ndarray]:
    """What leads up to each token, within its stretch.

    plus (np.ufunc): np.maximum for the best way, np.logaddexp for the sum of all.
    RETURNS (Tuple[np.ndarray, np.ndarray]): Scores of having none open before it, shape (T,), and of
        each label open, shape (T, L).
    """
    # In the order of the steps, each of them a slice.
    stays, begin, inside, last = (
        x[steps.rows] for x in (stay, scores.begin, scores.inside, scores.last)
    )
    closed, opened = np.zeros_like(stays), np.full_like(begin, -np.inf)
    here, into = closed[: steps.bounds[0][1]], opened[: steps.bounds[0][1]]
    for (start, _), (after, end) in zip(steps.bounds, steps.bounds[1:]):
        width = end - after
        here, into = here[:width], into[:width]
        now = slice(start, start + width)
        through = plus(here + stays[now], plus.reduce(into + last[now], axis=1))
        into = plus(here[:, None] + begin[now], into + inside[now])
        here = through
        closed[after:end], opened[after:end] = here, into
    return _in_text_order(closed, steps), _in_text_order(opened, steps)


def _backward(scores: TagScores, stay: np.ndarray, steps: Steps) -> np.ndarray:
    """The sum of all that may follow from each token on, none open before it, to the end of its
    stretch, shape (T,)."""
    stays, begin, inside, last = (
        x[steps.rows] for x in (stay, scores.begin, scores.inside, scores.last)
    )
    n_labels = begin.shape[1]
    result = np.zeros_like(stays)
    rest, open_rest = np.zeros(0), np.zeros((0, n_labels))
    for start, stop in reversed(steps.bounds):
        new = stop - start - len(rest)
        if new:  # stretches that end here, none open
            rest = np.append(rest, np.zeros(new))
            open_rest = np.vstack([open_rest, np.full((new, n_labels), -np.inf)])
        now = slice(start, stop)
        opening = np.logaddexp.reduce(begin[now] + open_rest, axis=1)
        open_rest = np.logaddexp(last[now] + rest[:, None], inside[now] + open_rest)
        rest = np.logaddexp(stays[now] + rest, opening)
        result[now] = rest
    return _in_text_order(result, steps)


def _trace(back: np.ndarray, steps: Steps) -> np.ndarray:
    """State before each token on the best way that ends with none open, shape (T,).

    back (np.ndarray): State after each token -> the best one before it, shape (T, L + 1).
    """
    ordered = back[steps.rows]
    states = np.zeros(len(back), dtype=np.int64)
    state = np.zeros(0, dtype=np.int64)
    for start, stop in reversed(steps.bounds):
        new = stop - start - len(state)
        if new:
            state = np.append(state, np.zeros(new, dtype=np.int64))
        state = ordered[np.arange(start, stop), state]
        states[start:stop] = state
    return _in_text_order(states, steps)


def _in_text_order(values: np.ndarray, steps: Steps) -> np.ndarray:
    result = np.empty_like(values)
    result[steps.rows] = values
    return result
