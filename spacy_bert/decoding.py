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

from typing import Any, Iterator, List, NamedTuple, Tuple

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


# How long a stretch has to be for cutting it to be worth while, and up to how many numbers a step may then
# take (measured: less takes no less time).
WORTH_CUTTING = 256
CHEAP_STEP = {np.maximum: 512, np.logaddexp: 128}


class Steps(NamedTuple):
    """The tokens of all parts side by side, the longest part first, so that a step takes one token of each
    and nothing is padded. A part is a stretch, which ends where no entity can be open, or a piece of a very
    long one.

    rows (np.ndarray): The token of each place in the order of the steps, shape (T,).
    bounds (List[Tuple[int, int]]): First place of each step, and the one after its last.
    order (np.ndarray): Which part is the first of a step, the second, ..., shape (n_parts,).
    rank (np.ndarray): Which part of its stretch each part is, counted from 0, shape (n_parts,).
    """

    rows: np.ndarray
    bounds: List[Tuple[int, int]]
    order: np.ndarray
    rank: np.ndarray


def plan_steps(scores: TagScores, plus: Any = np.maximum) -> Steps:
    """scores (TagScores): Scores in which the last token of each text begins and continues nothing.
    plus (np.ufunc): What is to be computed; see `_forward`.
    RETURNS (Steps): How to go through them.
    RAISES: ValueError if an entity could go on after the last token."""
    onwards = np.concatenate([scores.begin, scores.inside], axis=1)
    closing = onwards.max(axis=1, initial=-np.inf) == -np.inf
    if len(closing) and not closing[-1]:
        raise ValueError(
            "The scores let an entity go on after the last token. Mark the last token of each text "
            "as final in `forbid`."
        )
    lengths = np.diff(np.flatnonzero(closing) + 1, prepend=0)
    size = _part_size(lengths, scores.begin.shape[1], plus)
    n_parts = -(-lengths // size)
    rank = _ranges(n_parts)
    lengths = np.minimum(size, np.repeat(lengths, n_parts) - rank * size)
    places = _ranges(lengths)
    # By step and, within, the longest first: those that have ended are always the last ones.
    rows = np.lexsort((np.repeat(-lengths, lengths), places))
    stops = np.cumsum(np.bincount(places)) if len(places) else np.zeros(0, np.int64)
    starts = [0, *stops.tolist()]
    order = np.argsort(-lengths, kind="stable")
    return Steps(rows, list(zip(starts, starts[1:])), order, rank)


def _part_size(lengths: np.ndarray, n_labels: int, plus: Any) -> int:
    """How long a part is to be. A step takes about as long for one token as for some hundreds: a long text
    alone is cut, and all that each of its parts may begin and end with is gone through."""
    longest = int(lengths.max(initial=1))
    width = lengths.sum() / longest
    if longest < WORTH_CUTTING or width * n_labels * (n_labels + 1) > CHEAP_STEP[plus]:
        return longest
    return int(longest**0.5) + 1


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
    across = _across(scores, stay, steps, np.maximum)
    closed, opened = _forward(scores, stay, steps, np.maximum, across)
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
    steps = plan_steps(scores, np.logaddexp)
    stay = _stay(scores, np.logaddexp)
    across = _across(scores, stay, steps, np.logaddexp)
    closed, _ = _forward(scores, stay, steps, np.logaddexp, across)
    rest = _backward(scores, stay, steps, across)
    lengths = ends - starts
    rows = np.repeat(starts, lengths) + _ranges(lengths)
    columns = np.repeat(labels, lengths)
    is_first, is_last = rows == np.repeat(starts, lengths), rows == np.repeat(ends - 1, lengths)
    tags = np.where(is_first, scores.begin[rows, columns], scores.inside[rows, columns])
    tags = np.where(is_last, scores.last[rows, columns], tags)
    tags = np.where(is_first & is_last, scores.unit[rows, columns], tags)
    inner = np.add.reduceat(tags, np.cumsum(lengths) - lengths)
    # `rest` of a stretch's first token is the sum over all its sets.
    firsts = np.sort(steps.rows[: steps.bounds[0][1]])[steps.rank == 0]
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


def _ordered(scores: TagScores, stay: np.ndarray, steps: Steps) -> Iterator[np.ndarray]:
    """In the order of the steps, each of them a slice."""
    return (x[steps.rows] for x in (stay, scores.begin, scores.inside, scores.last))


def _across(scores: TagScores, stay: np.ndarray, steps: Steps, plus: Any) -> np.ndarray:
    """What leads from each state before a part to each behind it, shape (n_parts, L + 1, L + 1). States: 0
    none open, 1 + i label i open. Not computed (all 0), where no stretch is cut."""
    n_parts, n_labels = len(steps.order), scores.begin.shape[1]
    if not steps.rank.any():
        return np.zeros((n_parts, n_labels + 1, n_labels + 1))
    stays, begin, inside, last = _ordered(scores, stay, steps)
    at = np.full((n_parts, n_labels + 1, n_labels + 1), -np.inf)
    at[:] = np.where(np.eye(n_labels + 1) == 1, 0.0, -np.inf)
    for start, stop in steps.bounds:
        now = slice(start, stop)
        # Parts that have ended, the last ones, stay as they are.
        here, into = at[: stop - start, :, :1], at[: stop - start, :, 1:]
        through = plus(here[..., 0] + stays[now, None], plus.reduce(into + last[now, None], axis=2))
        into[:] = plus(here + begin[now, None], into + inside[now, None])
        here[..., 0] = through
    result = np.empty_like(at)
    result[steps.order] = at
    return result


def _parts_by_rank(steps: Steps) -> List[np.ndarray]:
    """The first parts of all stretches, the second ones, ..."""
    by_rank = np.argsort(steps.rank, kind="stable")
    return np.split(by_rank, np.cumsum(np.bincount(steps.rank))[:-1]) if len(by_rank) else []


def _states(n_parts: int, n_labels: int) -> np.ndarray:
    """None open, for certain, shape (n_parts, L + 1)."""
    result = np.full((n_parts, n_labels + 1), -np.inf)
    result[:, 0] = 0.0
    return result


def _forward(
    scores: TagScores, stay: np.ndarray, steps: Steps, plus: Any, across: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """What leads up to each token, within its stretch.

    plus (np.ufunc): np.maximum for the best way, np.logaddexp for the sum of all.
    across (np.ndarray): What leads through each part, shape (n_parts, L + 1, L + 1).
    RETURNS (Tuple[np.ndarray, np.ndarray]): Scores of having none open before it, shape (T,), and of
        each label open, shape (T, L).
    """
    entry = _states(len(across), scores.begin.shape[1])
    for parts in _parts_by_rank(steps)[1:]:
        entry[parts] = plus.reduce(entry[parts - 1][:, :, None] + across[parts - 1], axis=1)
    entry = entry[steps.order]
    stays, begin, inside, last = _ordered(scores, stay, steps)
    closed, opened = np.empty_like(stays), np.empty_like(begin)
    here, into = entry[:, 0], entry[:, 1:]
    for start, stop in steps.bounds:
        now = slice(start, stop)
        here, into = here[: stop - start], into[: stop - start]
        closed[now], opened[now] = here, into
        through = plus(here + stays[now], plus.reduce(into + last[now], axis=1))
        into = plus(here[:, None] + begin[now], into + inside[now])
        here = through
    return _in_text_order(closed, steps), _in_text_order(opened, steps)


def _backward(scores: TagScores, stay: np.ndarray, steps: Steps, across: np.ndarray) -> np.ndarray:
    """The sum of all that may follow from each token on, none open before it, to the end of its
    stretch, shape (T,)."""
    after = _states(len(across), scores.begin.shape[1])
    for parts in _parts_by_rank(steps)[:0:-1]:
        after[parts - 1] = np.logaddexp.reduce(across[parts] + after[parts][:, None], axis=2)
    after = after[steps.order]
    stays, begin, inside, last = _ordered(scores, stay, steps)
    result = np.zeros_like(stays)
    rest, open_rest = after[:0, 0], after[:0, 1:]
    for start, stop in reversed(steps.bounds):
        if len(rest) < stop - start:  # parts that end here
            new = slice(len(rest), stop - start)
            rest = np.append(rest, after[new, 0])
            open_rest = np.vstack([open_rest, after[new, 1:]])
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
    after = np.zeros(len(steps.order), dtype=np.int64)
    if steps.rank.any():
        # Which state before a part each of those behind it comes from.
        found = np.empty((len(steps.order), back.shape[1]), dtype=np.int64)
        found[steps.order] = _walk_back(ordered, steps, np.arange(back.shape[1]))[0]
        for parts in _parts_by_rank(steps)[:0:-1]:
            after[parts - 1] = found[parts, after[parts]]
    states = _walk_back(ordered, steps, after[steps.order][:, None])[1]
    return _in_text_order(states, steps)


def _walk_back(
    ordered: np.ndarray, steps: Steps, after: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """From the end of each part to its beginning.

    ordered (np.ndarray): State after each place -> the best one before it, shape (T, L + 1).
    after (np.ndarray): States behind each part, or all of them, shape (n_parts or 1, n).
    RETURNS (Tuple[np.ndarray, np.ndarray]): States before each part, shape (n_parts, n), and before each place of the
        first of them, shape (T,).
    """
    after = np.broadcast_to(after, (len(steps.order), after.shape[-1]))
    states = np.zeros(len(ordered), dtype=np.int64)
    state = after[:0]
    for start, stop in reversed(steps.bounds):
        if len(state) < stop - start:
            state = np.vstack([state, after[len(state) : stop - start]])
        state = ordered[np.arange(start, stop)[:, None], state]
        states[start:stop] = state[:, 0]
    return state, states


def _in_text_order(values: np.ndarray, steps: Steps) -> np.ndarray:
    result = np.empty_like(values)
    result[steps.rows] = values
    return result
