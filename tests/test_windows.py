"""Windows: every piece read once, from where its context is widest, and none cut off."""

from typing import Any, List, NamedTuple, Optional

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spacy_bert.windows import Window, check_window, split_windows


class Case(NamedTuple):
    n_pieces: int
    max_length: int
    stride: int
    split: Optional[int]

    def windows(self) -> List[Window]:
        return split_windows(
            self.n_pieces, max_length=self.max_length, stride=self.stride, split=self.split
        )


@st.composite
def cases(draw: Any, pair: bool) -> Case:
    n_pieces = draw(st.integers(0, 90))
    max_length = draw(st.integers(8, 30))
    stride = draw(st.integers(1, max_length - 2))
    split = draw(st.integers(0, n_pieces)) if pair else None
    return Case(n_pieces, max_length, stride, split)


def context(window: Window, piece: int) -> int:
    """The paper's SQuAD rule: what is to the narrower side of a piece, of its own segment."""
    return min(piece - window.start, window.end - 1 - piece)


def check_reads(windows: List[Window], first: int, last: int) -> None:
    """Every piece of [first, last) is read once, where its context is widest."""
    for piece in range(first, last):
        readers = [w for w in windows if w.read_start <= piece < w.read_end]
        holders = [w for w in windows if w.start <= piece < w.end]
        assert len(readers) == 1 and readers[0] in holders
        assert context(readers[0], piece) == max(context(w, piece) for w in holders)


@given(case=cases(pair=False))
def test_single(case: Case) -> None:
    """A piece that is lost, read twice or read at the edge of a window though another has it in
    its middle; a window that is too long, empty, or not where the stride says."""
    windows = case.windows()
    check_reads(windows, 0, case.n_pieces)
    for i, window in enumerate(windows):
        assert window.start == i * case.stride
        assert window.length == 2 + window.end - window.start <= case.max_length
        assert window.end > window.start or case.n_pieces == 0
        assert window.start <= window.read_start <= window.read_end <= window.end
        assert window.context_end is None and not window.reads_context
    assert windows[-1].end == case.n_pieces
    assert all(w.length == case.max_length for w in windows[:-1])
    # No window more than is needed.
    assert all(w.end < case.n_pieces for w in windows[:-1])


@given(case=cases(pair=True))
def test_pair(case: Case) -> None:
    """A segment A that is left out of a window, read twice or never; a part of B that is lost; a
    window that is too long because A is."""
    assert case.split is not None
    windows = case.windows()
    own = [w for w in windows if w.context_end is None]
    parts = [w for w in windows if w.context_end is not None]
    assert windows == own + parts and parts
    assert all(w.length <= case.max_length for w in windows)
    check_reads(parts, case.split, case.n_pieces)
    assert parts[0].start == case.split and parts[-1].end == case.n_pieces
    contexts = {w.context_end for w in parts}
    if own:
        # A is too long to stand before B: it is read by itself, and some of it repeated.
        check_reads(own, 0, case.split)
        assert own[0].start == 0 and own[-1].end == case.split
        assert contexts == {(case.max_length - 3) // 2}
        assert not any(w.reads_context for w in parts)
    else:
        assert contexts == {case.split}
        assert [w.reads_context for w in parts] == [True] + [False] * (len(parts) - 1)


@given(case=cases(pair=True))
def test_pair_overlap(case: Case) -> None:
    """Windows of B that lose their overlap because A takes room: what the stride leaves to both
    neighbours has to stay, as far as half a window allows."""
    parts = [w for w in case.windows() if w.context_end is not None]
    assume(len(parts) > 1)
    wanted = case.max_length - 2 - case.stride
    for left, right in zip(parts, parts[1:]):
        capacity = left.end - left.start
        assert right.start > left.start
        assert left.end - right.start >= min(wanted, capacity // 2)


@given(sizes=st.lists(st.integers(0, 15), min_size=2, max_size=2), room=st.integers(0, 3))
def test_pair_that_fits(sizes: List[int], room: int) -> None:
    """A pair that fits one window but is spread over several."""
    split, n_pieces = sizes[0], sum(sizes)
    max_length = max(8, n_pieces + 3 + room)
    (window,) = split_windows(n_pieces, max_length=max_length, stride=1, split=split)
    assert window == Window(split, split, n_pieces, split, n_pieces, True)
    assert window.length == n_pieces + 3


def test_example() -> None:
    """A picture in the module's docstring that the code does not draw."""
    windows = split_windows(10, max_length=8, stride=3)
    assert [(w.start, w.end) for w in windows] == [(0, 6), (3, 9), (6, 10)]
    assert [(w.read_start, w.read_end) for w in windows] == [(0, 5), (5, 8), (8, 10)]


def test_no_pieces() -> None:
    """A Doc without pieces that gets no window, and so no [CLS] vector."""
    assert [w.length for w in split_windows(0, max_length=8, stride=3)] == [2]
    assert [w.length for w in split_windows(0, max_length=8, stride=3, split=0)] == [3]


@pytest.mark.parametrize("max_length, stride", [(8, 6), (8, 1), (512, 448), (512, 510)])
def test_valid_settings(max_length: int, stride: int) -> None:
    """A bound that is one too strict."""
    check_window(max_length, stride)


@pytest.mark.parametrize(
    "max_length, stride, named",
    [(7, 1, "window"), (0, 1, "window"), (8, 7, "stride"), (8, 0, "stride"), (512, 511, "stride")],
)
def test_invalid_settings(max_length: int, stride: int, named: str) -> None:
    """Windows that would leave pieces out, or hold nothing; an error that does not name the key."""
    with pytest.raises(ValueError, match=named):
        check_window(max_length, stride)
