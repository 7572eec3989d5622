"""Tags to entities, against all sets of entities that a short text can have."""

from typing import Dict, Iterator, List, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_bert import decoding as module
from spacy_bert.decoding import (
    SCHEMES,
    TagScores,
    check_scheme,
    decode,
    forbid,
    plan_steps,
    probabilities,
    split_tags,
)

Entity = Tuple[int, int, int]


def sets_of(n_tokens: int, n_labels: int, start: int = 0) -> Iterator[List[Entity]]:
    """All sets of entities that do not overlap."""
    if start == n_tokens:
        yield []
        return
    yield from sets_of(n_tokens, n_labels, start + 1)
    for end in range(start + 1, n_tokens + 1):
        for label in range(n_labels):
            for rest in sets_of(n_tokens, n_labels, end):
                yield [(start, end, label), *rest]


def tags_of(entities: List[Entity], n_tokens: int, scheme: str) -> List[int]:
    """The columns that spell a set of entities, straight from the definition of the scheme."""
    columns, size = [0] * n_tokens, len(SCHEMES[scheme])
    for start, end, label in entities:
        for i in range(start, end):
            if scheme == "bio":
                tag = "B" if i == start else "I"
            elif end - start == 1:
                tag = "U"
            else:
                tag = "B" if i == start else "L" if i == end - 1 else "I"
            columns[i] = 1 + label * size + SCHEMES[scheme].index(tag)
    return columns


class Texts:
    """Random scores of a batch of short texts, and places where no entity may be."""

    def __init__(self, seed: int, lengths: List[int], n_labels: int, scheme: str) -> None:
        random = np.random.default_rng(seed)
        self.lengths, self.n_labels, self.scheme = lengths, n_labels, scheme
        n_tokens = sum(lengths)
        n_tags = 1 + len(SCHEMES[scheme]) * n_labels
        self.scores = random.normal(scale=3.0, size=(n_tokens, n_tags)).astype("f")
        self.taken, self.spaces, self.final = (random.random((3, n_tokens)) < 0.15).astype(bool)
        self.final[np.cumsum(lengths) - 1] = True

    def tags(self) -> TagScores:
        return forbid(
            split_tags(self.scores, self.scheme),
            taken=self.taken,
            spaces=self.spaces,
            final=self.final,
        )

    def is_allowed(self, entities: List[Entity], first: int) -> bool:
        """first (int): Where the text begins in the batch."""
        for start, end, _ in entities:
            inside = slice(first + start, first + end)
            if self.taken[inside].any() or self.final[inside][:-1].any():
                return False
            if self.spaces[first + start] or self.spaces[first + end - 1]:
                return False
        return True

    def brute_force(self) -> Tuple[List[Entity], Dict[Entity, float]]:
        """RETURNS: The best entities, and the probability of each possible one."""
        best: List[Entity] = []
        probable: Dict[Entity, float] = {}
        first = 0
        for n_tokens in self.lengths:
            found = [
                entities
                for entities in sets_of(n_tokens, self.n_labels)
                if self.is_allowed(entities, first)
            ]
            rows = self.scores[first : first + n_tokens].astype(np.float64)
            sums = np.array(
                [
                    rows[np.arange(n_tokens), tags_of(entities, n_tokens, self.scheme)].sum()
                    for entities in found
                ]
            )
            shares = np.exp(sums - sums.max()) / np.exp(sums - sums.max()).sum()
            for entities, share in zip(found, shares):
                for start, end, label in entities:
                    key = (first + start, first + end, label)
                    probable[key] = probable.get(key, 0.0) + share
            best += [(first + a, first + b, label) for a, b, label in found[sums.argmax()]]
            first += n_tokens
        return best, probable


def as_list(entities) -> List[Entity]:
    return list(zip(*(values.tolist() for values in entities)))


texts = st.builds(
    Texts,
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 2),
    st.sampled_from(list(SCHEMES)),
)


@settings(max_examples=60)
@given(texts)
def test_best_of_all(texts):
    """Catches a sequence of tags that is not the best of all that spell entities, or that spells an
    impossible one; entities that reach from text to text; and a probability that is another than
    the share of all sets that have the entity."""
    tags = texts.tags()
    entities = decode(tags)
    best, probable = texts.brute_force()
    assert as_list(entities) == best
    found = probabilities(tags, entities)
    np.testing.assert_allclose(found, [probable[entity] for entity in best], atol=1e-9)


@settings(max_examples=30)
@given(texts)
def test_any_entity_has_a_probability(texts):
    """Catches probabilities that are right only of what was decoded."""
    tags = texts.tags()
    for entity, share in texts.brute_force()[1].items():
        one = type(decode(tags))(*(np.array([value]) for value in entity))
        np.testing.assert_allclose(probabilities(tags, one), [share], atol=1e-9)


@settings(max_examples=40)
@given(texts, st.integers(0, 2**32 - 1))
def test_batch_does_not_matter(texts, seed):
    """Catches a text whose entities, or probabilities, depend on those beside it."""
    tags = texts.tags()
    entities = decode(tags)
    found = dict(zip(as_list(entities), probabilities(tags, entities)))
    ends = np.cumsum(texts.lengths)
    for end, length in zip(ends, texts.lengths):
        part = TagScores(*(values[end - length : end] for values in tags))
        alone = decode(part)
        for (a, b, label), share in zip(as_list(alone), probabilities(part, alone)):
            key = (a + end - length, b + end - length, label)
            assert abs(found.pop(key) - share) < 1e-12
    assert not found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_extreme_scores(scheme):
    """Catches overflow and underflow: scores of hundreds, one entity of a thousand tokens, and a
    token within it that is taken."""
    n_tokens, size = 3000, len(SCHEMES[scheme])
    scores = np.zeros((n_tokens, 1 + size), dtype="f")
    scores[:, 1:] = -800.0
    scores[1000:2000, 1 + SCHEMES[scheme].index("I")] = 800.0
    final, taken = np.zeros((2, n_tokens), dtype=bool)
    final[-1] = True
    nothing = np.zeros(n_tokens, dtype=bool)
    with np.errstate(all="raise", under="ignore"):
        tags = forbid(split_tags(scores, scheme), taken=taken, spaces=nothing, final=final)
        entities = decode(tags)
        shares = probabilities(tags, entities)
        assert len(entities.starts) == 1 and entities.ends[0] - entities.starts[0] >= 1000
        assert 0.0 < shares[0] <= 1.0
        taken[1500] = True
        tags = forbid(split_tags(scores, scheme), taken=taken, spaces=nothing, final=final)
        entities = decode(tags)
    assert len(entities.starts) == 2
    for start, end in zip(entities.starts, entities.ends):
        assert not start <= 1500 < end
    shares = probabilities(tags, entities)
    assert np.isfinite(shares).all() and (shares > 0).all()


def test_a_long_text_beside_short_ones():
    """Catches padding: 50,000 tokens in a row beside 5,000 short texts, which padded would be 250
    million tokens; the long one is cut into sentences, too."""
    random = np.random.default_rng(0)
    lengths = np.array([50_000, *[3] * 5_000])
    scores = random.normal(scale=3.0, size=(lengths.sum(), 9)).astype("f")
    final = np.zeros(len(scores), dtype=bool)
    final[np.cumsum(lengths) - 1] = True
    final[:50_000:20] = True
    nothing = np.zeros(len(scores), dtype=bool)
    tags = forbid(split_tags(scores, "biluo"), taken=nothing, spaces=nothing, final=final)
    steps = plan_steps(tags)
    assert len(steps.bounds) == 20 and steps.bounds[-1][1] == len(scores)
    assert sorted(steps.rows) == list(range(len(scores)))
    entities = decode(tags)
    assert (entities.ends > entities.starts).all() and len(entities.starts) > 1000
    assert (entities.starts[1:] >= entities.ends[:-1]).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("lengths, n_labels", [([1200], 1), ([700, 3, 1], 3), ([300, 299, 298], 2)])
def test_long_texts_are_cut_without_a_trace(lengths, n_labels, scheme, monkeypatch):
    """Catches entities that are lost, or begin, where a long text is cut to go through its parts at once;
    and a cut that is never made."""
    # Long entities, many of which reach from one part into the next.
    texts = Texts(3, lengths, n_labels, scheme)
    texts.taken[:] = False
    texts.spaces[:] = texts.spaces & (np.arange(len(texts.spaces)) % 3 == 0)
    texts.final[:] = False
    texts.final[np.cumsum(lengths) - 1] = True
    texts.scores[:, 2::2] += 2.0
    tags = texts.tags()
    cut = [plan_steps(tags, plus).rank.max() for plus in (np.maximum, np.logaddexp)]
    found = decode(tags)
    share = probabilities(tags, found)
    monkeypatch.setattr(module, "WORTH_CUTTING", 10**9)
    assert min(cut) > 5 and plan_steps(tags).rank.max() == 0
    expected = decode(tags)
    for one, other in zip(found, expected):
        assert one.tolist() == other.tolist()
    assert len(found.starts) > 50 and (found.ends - found.starts).max() > 5
    np.testing.assert_allclose(share, probabilities(tags, expected), rtol=1e-6, atol=1e-9)


def test_many_long_texts_are_not_cut():
    """Catches a cut that costs more than it saves, or one that cannot be told from none."""
    texts = Texts(0, [400] * 40, 6, "biluo")
    assert plan_steps(texts.tags()).rank.max() == 0


def test_no_labels_and_no_tokens():
    """Catches an empty batch that fails."""
    nothing = np.zeros(0, dtype=bool)
    for shape in ((0, 9), (0, 1)):
        tags = split_tags(np.zeros(shape, dtype="f"), "biluo")
        tags = forbid(tags, taken=nothing, spaces=nothing, final=nothing)
        entities = decode(tags)
        assert as_list(entities) == [] and probabilities(tags, entities).shape == (0,)


def test_an_open_end_is_an_error():
    """Catches the last entity of a text that reaches into nothing."""
    tags = split_tags(np.zeros((3, 5), dtype="f"), "biluo")
    with pytest.raises(ValueError, match="go on after the last token.*final"):
        decode(tags)


def test_unknown_scheme():
    """Catches a misspelt scheme that is taken for another."""
    with pytest.raises(ValueError, match="scheme is 'BILUO', but it must be one of biluo, bio"):
        check_scheme("BILUO")
