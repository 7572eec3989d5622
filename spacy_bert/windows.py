"""Pieces -> overlapping windows, each with its own [CLS] and [SEP]. Pure arrays.

    pieces     0 1 2 3 4 5 6 7 8 9          capacity 6, stride 3
    window 0   0 1 2 3 4 5                  read:  0 1 2 3 4
    window 1         3 4 5 6 7 8            read:            5 6 7
    window 2               6 7 8 9          read:                  8 9

Each piece is read from the window in which its narrower side has the widest context, which cuts every
overlap in the middle. (The rule of the paper's code for SQuAD; there, long windows get a small bonus, so
that the last, shorter one may be cut a piece later, and gives up its overlap if it adds a piece or two only.) Of a pair, segment A stands
in every window before its part of segment B: `[CLS] A [SEP] part of B [SEP]`.
"""

from typing import List, NamedTuple, Optional


class Window(NamedTuple):
    """One sequence for the encoder.

    context_end (Optional[int]): Pieces [0, context_end) stand before the part as segment A; None for a single text.
    start (int): First piece of the part.
    end (int): The piece after the part.
    read_start (int): First piece whose vector is read here.
    read_end (int): The piece after the last one that is read here.
    reads_context (bool): Whether segment A is read here as well.
    """

    context_end: Optional[int]
    start: int
    end: int
    read_start: int
    read_end: int
    reads_context: bool

    @property
    def length(self) -> int:
        """RETURNS (int): Rows of the sequence, [CLS] and [SEP] included."""
        return self.part_row + self.end - self.start + 1

    @property
    def part_row(self) -> int:
        """RETURNS (int): The row of the part's first piece: behind [CLS], or [CLS] A [SEP]."""
        return 1 if self.context_end is None else 2 + self.context_end


def check_window(max_length: int, stride: int) -> None:
    """max_length (int): Longest sequence, [CLS] and [SEP] included.
    stride (int): Pieces from the start of one window to the start of the next.
    RAISES: ValueError if pieces would fall between windows, or nothing fits."""
    if max_length < 8:
        raise ValueError(
            f"window is {max_length} pieces, but at least 8 are needed to hold [CLS], [SEP] and some text."
        )
    if not 1 <= stride <= max_length - 2:
        raise ValueError(
            f"stride is {stride}, but with windows of {max_length} pieces ([CLS] and [SEP] "
            f"included) it must be from 1 to {max_length - 2}, or pieces would be left out."
        )


def split_windows(
    n_pieces: int, *, max_length: int, stride: int, split: Optional[int] = None
) -> List[Window]:
    """Cut a document into windows that together read every piece once.

    n_pieces (int): Number of pieces of the document.
    max_length (int): Longest sequence, [CLS] and [SEP] included.
    stride (int): Pieces from the start of one window to the start of the next. Where segment A
        leaves too little room for it, the step shrinks so that the overlap stays.
    split (Optional[int]): First piece of segment B, for a pair. A segment A longer than half a
        window is read from windows of its own; only as much of it as fills half a window then
        stands before B.
    RETURNS (List[Window]): At least one window, in the order of the text.
    """
    single = max_length - 2
    overlap = single - stride
    if split is None:
        return _stride(0, n_pieces, single, stride, None)
    own: List[Window] = []
    context = min(split, (max_length - 3) // 2)
    if n_pieces <= max_length - 3:  # the whole pair fits
        context = split
    if context < split:
        own = _stride(0, split, single, stride, None)
    capacity = max_length - 3 - context
    step = max(1, min(stride, capacity - min(overlap, capacity // 2)))
    parts = _stride(split, n_pieces, capacity, step, context)
    if not own:
        parts[0] = parts[0]._replace(reads_context=True)
    return own + parts


def _stride(
    first: int, last: int, capacity: int, step: int, context_end: Optional[int]
) -> List[Window]:
    """Windows of `capacity` pieces, `step` apart, over the pieces [first, last)."""
    spans = [(first, min(first + capacity, last))]
    while spans[-1][1] < last:
        start = spans[-1][0] + step
        spans.append((start, min(start + capacity, last)))
    # Between neighbours, the piece in the middle of the overlap has equal context on both sides.
    cuts = [(start + end + 1) // 2 for (_, end), (start, _) in zip(spans, spans[1:])]
    reads = zip([first, *cuts], [*cuts, last])
    return [
        Window(context_end, start, end, read_start, read_end, False)
        for (start, end), (read_start, read_end) in zip(spans, reads)
    ]
