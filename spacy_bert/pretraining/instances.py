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
    n_parts = _numbers_of_parts(lengths, longest)
    sentence = np.repeat(np.arange(len(lengths)), n_parts)
    part = np.arange(len(sentence)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    cuts = offsets[sentence] + lengths[sentence] * part // n_parts[sentence]
    inner = np.flatnonzero(part)
    cuts[inner] = _to_words(text, cuts[inner], offsets[sentence[inner] + 1])
    # Parts of one very long word have become empty.
    return np.unique(np.append(cuts, offsets[-1]))


def part_size(longest: int) -> int:
    """longest (int): Pieces of the longest sentence that stays whole.
    RETURNS (int): Pieces of the parts into which a longer one is cut."""
    return max(1, longest // PARTS_OF_TARGET)


def _numbers_of_parts(lengths: np.ndarray, longest: int) -> np.ndarray:
    """How many parts sentences of these lengths are cut into, shape (n,); 1 says that it stays whole."""
    return np.where(lengths > longest, -(-lengths // part_size(longest)), 1)


def _to_words(text: Text, places: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """For each place in a sentence, the first beginning of a word from there on, or the sentence's
    end, shape (n,)."""
    places = places.copy()
    within = np.arange(len(places))
    while len(within):
        within = within[places[within] < ends[within]]
        within = within[text.continues[text.pieces[places[within]]]]
        places[within] += 1
    return places


def _random_b(
    text: Text,
    owners: np.ndarray,
    wanted: np.ndarray,
    longest: int,
    draws: np.random.Generator,
) -> np.ndarray:
    """Second segments out of other documents: from a random sentence, until there are enough. Of long
    sentences they are whole parts, the same that a B which is next is made of: otherwise lengths, and
    how a segment begins, would tell the two apart.

    owners (np.ndarray): The documents that they must not be from, shape (n,).
    wanted (np.ndarray): Pieces that are enough, shape (n,); there is one sentence, or part, at least.
    RETURNS (np.ndarray): First piece and end of each, shape (n, 2), int64.
    """
    others = draws.integers(0, len(text.documents) - 1, len(owners))
    others += others >= owners
    first, end = text.documents[others].T
    begin = _random_parts(text, first, end, longest, draws)
    enough = begin + np.maximum(wanted, 1)
    # The sentence with which there is enough, or the document's last.
    last = np.minimum(np.searchsorted(text.sentence_offsets, enough, side="left"), end) - 1
    start, stop = (np.asarray(text.sentence_offsets[last + after]) for after in (0, 1))
    n_parts = _numbers_of_parts(stop - start, longest)
    long = np.flatnonzero((n_parts > 1) & (enough < stop))
    stop[long] = _first_cut(text, start[long], stop[long], n_parts[long], enough[long])
    return np.stack([begin, stop], axis=1)


def _random_parts(
    text: Text, first: np.ndarray, end: np.ndarray, longest: int, draws: np.random.Generator
) -> np.ndarray:
    """Where random sentences begin, or parts of long ones; each of a document's is as likely.

    first (np.ndarray): First sentence of each document, shape (n,).
    end (np.ndarray): The end of it, shape (n,).
    RETURNS (np.ndarray): One place in each, shape (n,), int64.
    """
    offsets, size = text.sentence_offsets, part_size(longest)
    n_sentences = end - first
    begin = np.asarray(offsets[first])
    n_pieces = offsets[end] - begin
    # A sentence has to be drawn as often as it has parts. What is quick to draw is a sentence, or the
    # one of a piece: as often as 1 + length / size, which is more. Some of those are refused.
    by_number = n_sentences / (n_sentences + n_pieces / size)
    sentence = np.empty_like(first)
    wanting = np.arange(len(first))
    while len(wanting):
        chance, inside, luck = draws.random((3, len(wanting)))
        drawn = first[wanting] + (inside * n_sentences[wanting]).astype(np.int64)
        piece = begin[wanting] + (inside * n_pieces[wanting]).astype(np.int64)
        of_piece = np.searchsorted(offsets, piece, side="right") - 1
        drawn = np.where(chance < by_number[wanting], drawn, of_piece)
        sentence[wanting] = drawn
        length = offsets[drawn + 1] - offsets[drawn]
        refused = luck * (1 + length / size) >= _numbers_of_parts(length, longest)
        wanting = wanting[refused]
    start, stop = (np.asarray(offsets[sentence + after]) for after in (0, 1))
    n_parts = _numbers_of_parts(stop - start, longest)
    part = (draws.random(len(start)) * n_parts).astype(np.int64)
    cut = start + (stop - start) * part // n_parts
    inner = np.flatnonzero(part)
    cut[inner] = _to_words(text, cut[inner], stop[inner])
    # Within the sentence's last word, there is no part.
    return np.where(cut < stop, cut, start)


def _first_cut(
    text: Text, start: np.ndarray, stop: np.ndarray, n_parts: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """The first of the cuts of long sentences that is at a place, or behind it, shape (n,).

    start (np.ndarray): Where each sentence begins, shape (n,).
    stop (np.ndarray): Where it ends, shape (n,).
    n_parts (np.ndarray): Its parts, shape (n,).
    places (np.ndarray): Places in it, shape (n,).
    """
    length = stop - start
    # Before they were moved to words: the first cut there, and the one before, which a long word may
    # have moved far enough.
    part = -(-(places - start) * n_parts // length)
    before, there = (
        _to_words(text, start + length * number // n_parts, stop) for number in (part - 1, part)
    )
    return np.where((part > 1) & (before >= places), before, there)


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
