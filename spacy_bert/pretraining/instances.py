"""What is read together: instances, as in the paper's create_pretraining_data.py.

    sentences of a document   | s0 | s1 | s2 | s3 | s4 | ...
    taken until the target    [--- chunk ---]
    A ends at random          [ A ][--- B --]           next: [CLS] s0 [SEP] s1 s2 [SEP]
    or B is random            [ A ]                     [CLS] s0 [SEP] (another document) [SEP]
                                   ^ the next chunk: s1 and s2 are put back

Pieces are not copied: an instance is two ranges of the store. Where this differs from the original,
which was made for documents of many sentences and sentences of few pieces:

- A target is drawn for each instance, not for each document: a book with a short target would be
  thousands of short instances.
- A sentence that is longer than the longest target is first cut into parts, where words begin.
  The original would read one stretch of it and lose the rest.
- B is of another document for certain; the original tries ten times.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Tuple

import numpy as np

# Specials of a sequence: [CLS] A [SEP] B [SEP], or [CLS] A [SEP].
N_SPECIALS_PAIR, N_SPECIALS_SINGLE = 3, 2
# Parts of a sentence that is longer than the target: four make about one target, so that there is
# a choice where A ends, and little is left over.
PARTS_OF_TARGET = 4


@dataclass(frozen=True)
class Instances:
    """Instances of some documents, as ranges of the pieces of a store.

    a (np.ndarray): First piece of A, and the end, shape (n, 2), int64.
    b (np.ndarray): The same of B, shape (n, 2), int64; empty ranges where there is no B.
    not_next (np.ndarray): Whether B is from another document, shape (n,), bool.
    n_specials (int): [CLS] and [SEP] of each instance.
    """

    a: np.ndarray
    b: np.ndarray
    not_next: np.ndarray
    n_specials: int

    def __len__(self) -> int:
        return len(self.a)

    @property
    def lengths(self) -> np.ndarray:
        """RETURNS (np.ndarray): Length of each sequence, specials included, shape (n,), int64."""
        return self.a[:, 1] - self.a[:, 0] + self.b[:, 1] - self.b[:, 0] + self.n_specials

    def __getitem__(self, rows: np.ndarray) -> "Instances":
        return Instances(self.a[rows], self.b[rows], self.not_next[rows], self.n_specials)


class Text(NamedTuple):
    """Documents, as they are in a store.

    pieces (np.ndarray): All pieces, shape (n_pieces,).
    sentence_offsets (np.ndarray): Where each sentence begins, and the end, shape (n_sentences + 1,).
    documents (np.ndarray): First sentence of each document, and the end, shape (n_documents, 2).
    continues (np.ndarray): Piece -> whether it goes on with the word before it, bool.
    """

    pieces: np.ndarray
    sentence_offsets: np.ndarray
    documents: np.ndarray
    continues: np.ndarray


def make_pairs(
    text: Text,
    stretches: np.ndarray,
    owners: np.ndarray,
    *,
    max_length: int,
    short_share: float,
    draws: np.random.Generator,
) -> Instances:
    """Instances of two segments, for masked LM and next-sentence prediction.

    text (Text): All documents, of which random B's are taken.
    stretches (np.ndarray): What to make instances of: first sentence and end, shape (n, 2); whole
        documents, or parts of them.
    owners (np.ndarray): Of which document each stretch is, shape (n,).
    max_length (int): Longest sequence, specials included; at least 5.
    short_share (float): How many instances have a target that is drawn from 2 to the longest.
    draws (np.random.Generator): Decides everything.
    RETURNS (Instances): In the order of the text. Every sequence is `max_length` long or shorter.
    RAISES (ValueError): There is one document only.
    """
    if len(text.documents) < 2:
        raise ValueError(
            f"Next-sentence prediction takes half of the second segments from another document, "
            f"but there is {len(text.documents)} here. Give more documents (cut the text into "
            f"chapters, say), hold out less, or set nsp = false under [objective]."
        )
    longest = max_length - N_SPECIALS_PAIR
    numbers = _numbers(draws)
    starts: List[int] = []  # of A
    cuts: List[int] = []  # end of A, start of a B that is next
    ends: List[int] = []  # of such a B; where it is to be random, minus the target
    counts = np.zeros(len(stretches), dtype=np.int64)
    for index, (first, sentence_ends) in enumerate(_sentences(text, stretches, longest)):
        n_before = len(starts)
        n_sentences, i, begin = len(sentence_ends), 0, first
        while i < n_sentences:
            target = longest
            if next(numbers) < short_share:
                target = 2 + int(next(numbers) * (longest - 1))
            # The chunk: up to the first sentence with which the target is reached.
            last = min(bisect_left(sentence_ends, begin + target, i), n_sentences - 1)
            n_chunk = last - i + 1
            a_end = 1 if n_chunk == 1 else 1 + int(next(numbers) * (n_chunk - 1))
            cut = sentence_ends[i + a_end - 1]
            starts.append(begin)
            cuts.append(cut)
            if n_chunk == 1 or next(numbers) < 0.5:
                ends.append(-target)
                i += a_end
            else:
                ends.append(sentence_ends[last])
                i = last + 1
            begin = sentence_ends[i - 1]
        counts[index] = len(starts) - n_before
    a = np.array([starts, cuts], dtype=np.int64).reshape(2, -1).T
    b = np.array([cuts, ends], dtype=np.int64).reshape(2, -1).T
    not_next = b[:, 1] < 0
    wanted = -b[not_next, 1] - (a[not_next, 1] - a[not_next, 0])
    b[not_next] = _random_b(text, np.repeat(owners, counts)[not_next], wanted, longest, draws)
    _truncate(a, b, longest, draws)
    return Instances(a, b, not_next, N_SPECIALS_PAIR)


def make_singles(
    text: Text,
    stretches: np.ndarray,
    *,
    max_length: int,
    short_share: float,
    draws: np.random.Generator,
) -> Instances:
    """Instances of one segment: contiguous text of one document, every piece once. A segment ends
    where its target is reached, and the next goes on from there.

    text (Text): The documents.
    stretches (np.ndarray): What to make instances of: first sentence and end, shape (n, 2).
    max_length (int): Longest sequence, specials included; at least 4.
    short_share (float): How many instances have a target that is drawn from 2 to the longest.
    draws (np.random.Generator): Decides everything.
    RETURNS (Instances): In the order of the text. All that have no short target are `max_length`
        long, except the last of a stretch.
    """
    longest = max_length - N_SPECIALS_SINGLE
    numbers = _numbers(draws)
    starts: List[int] = []
    ends: List[int] = []
    for begin, end in text.sentence_offsets[stretches].tolist():
        while begin < end:
            target = longest
            if next(numbers) < short_share:
                target = 2 + int(next(numbers) * (longest - 1))
            starts.append(begin)
            begin = min(begin + target, end)
            ends.append(begin)
    a = np.array([starts, ends], dtype=np.int64).reshape(2, -1).T
    return Instances(a, np.zeros_like(a), np.zeros(len(a), dtype=bool), N_SPECIALS_SINGLE)


def _numbers(draws: np.random.Generator) -> Iterator[float]:
    """YIELDS (float): Random numbers from [0, 1); many at a time are drawn for the price of one."""
    while True:
        yield from draws.random(4096).tolist()


def _sentences(text: Text, stretches: np.ndarray, longest: int) -> Iterator[Tuple[int, List[int]]]:
    """YIELDS (Tuple[int, List[int]]): For each stretch, where it begins and where its sentences
    end, those that are longer than `longest` cut into parts."""
    for first, end in stretches.tolist():
        offsets = np.asarray(text.sentence_offsets[first : end + 1])
        begin = int(offsets[0])
        if np.diff(offsets).max() > longest:
            offsets = cut_long(text, offsets, longest)
        yield begin, offsets[1:].tolist()


def cut_long(text: Text, offsets: np.ndarray, longest: int) -> np.ndarray:
    """Cut long sentences into parts of equal size, each at the next beginning of a word.

    text (Text): The pieces.
    offsets (np.ndarray): Where some sentences begin, and the end, shape (n + 1,), int64.
    longest (int): Pieces of the longest sentence that stays whole.
    RETURNS (np.ndarray): The same with the places of the cuts.
    """
    lengths = np.diff(offsets)
    size = part_size(longest)
    n_parts = np.where(lengths > longest, -(-lengths // size), 1)
    sentence = np.repeat(np.arange(len(lengths)), n_parts)
    part = np.arange(len(sentence)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    cuts = offsets[sentence] + lengths[sentence] * part // n_parts[sentence]
    inner = np.flatnonzero(part)
    ends = offsets[sentence + 1]
    while len(inner):
        inner = inner[cuts[inner] < ends[inner]]
        inner = inner[text.continues[text.pieces[cuts[inner]]]]
        cuts[inner] += 1
    # Parts of one very long word have become empty.
    return np.unique(np.append(cuts, offsets[-1]))


def part_size(longest: int) -> int:
    """longest (int): Pieces of the longest sentence that stays whole.
    RETURNS (int): Pieces of the parts into which a longer one is cut."""
    return max(1, longest // PARTS_OF_TARGET)


def _random_b(
    text: Text,
    owners: np.ndarray,
    wanted: np.ndarray,
    longest: int,
    draws: np.random.Generator,
) -> np.ndarray:
    """Second segments out of other documents: from a random sentence, until there are enough.

    owners (np.ndarray): The documents that they must not be from, shape (n,).
    wanted (np.ndarray): Pieces that are enough, shape (n,); there is one sentence at least.
    RETURNS (np.ndarray): First piece and end of each, shape (n, 2), int64.
    """
    n = len(owners)
    others = draws.integers(0, len(text.documents) - 1, n)
    others += others >= owners
    first, end = text.documents[others].T
    sentence = first + (draws.random(n) * (end - first)).astype(np.int64)
    begin = np.asarray(text.sentence_offsets[sentence])
    length = text.sentence_offsets[sentence + 1] - begin
    # Into a long sentence, from a random part of it.
    size = part_size(longest)
    n_parts = np.where(length > longest, -(-length // size), 1)
    begin = begin + length * (draws.random(n) * n_parts).astype(np.int64) // n_parts
    enough = begin + np.maximum(wanted, 1)
    last = np.searchsorted(text.sentence_offsets, enough, side="left")
    last = np.minimum(last, end)
    stop = text.sentence_offsets[last]
    # Out of a long sentence, when there is enough.
    in_long = stop - text.sentence_offsets[last - 1] > longest
    stop = np.where(in_long, np.minimum(enough, stop), stop)
    return np.stack([begin, stop], axis=1)


def _truncate(a: np.ndarray, b: np.ndarray, longest: int, draws: np.random.Generator) -> None:
    """Shorten pairs, in place, to `longest` pieces: one by one, always from the longer segment, and
    each time from its front or its back (create_pretraining_data.py, `truncate_seq_pair`)."""
    length_a, length_b = (ranges[:, 1] - ranges[:, 0] for ranges in (a, b))
    excess = np.maximum(length_a + length_b - longest, 0)
    # First the longer alone; once they are equal, by turns, B first.
    alone = np.minimum(excess, np.abs(length_a - length_b))
    turns = excess - alone
    from_a = np.where(length_a > length_b, alone, 0) + turns // 2
    from_b = np.where(length_a > length_b, 0, alone) + (turns + 1) // 2
    for ranges, removed in ((a, from_a), (b, from_b)):
        front = draws.binomial(removed, 0.5)
        ranges[:, 0] += front
        ranges[:, 1] -= removed - front


def stretches_of(
    sentence_offsets: np.ndarray, documents: np.ndarray, *, most: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Cut documents that have more than `most` pieces between sentences.

    sentence_offsets (np.ndarray): Where each sentence begins, and the end.
    documents (np.ndarray): First sentence of each document, and the end, shape (n_documents, 2).
    most (int): Pieces of a stretch, about.
    RETURNS (Tuple[np.ndarray, np.ndarray]): First sentence and end of each stretch, shape (n, 2),
        and the document that it is of, shape (n,).
    """
    begin, end = (np.asarray(sentence_offsets[column]) for column in documents.T)
    n_parts = np.maximum(1, -(-(end - begin) // most))
    owners = np.repeat(np.arange(len(documents)), n_parts)
    if len(owners) == len(documents):
        return documents, owners
    part = np.arange(len(owners)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    wished = begin[owners] + (end - begin)[owners] * part // n_parts[owners]
    first = np.where(part, np.searchsorted(sentence_offsets, wished), documents[owners, 0])
    same = owners[1:] == owners[:-1]
    last = documents[owners, 1].copy()
    last[:-1][same] = first[1:][same]
    kept = first < last  # a sentence may be longer than a stretch
    return np.stack([first, last], axis=1)[kept], owners[kept]
