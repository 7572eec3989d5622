"""Word counts -> pieces: the most frequent pair of neighbours becomes a piece, over and over.

    h ##u ##g   10            the pair (##u, ##g) comes 15 times, (h, ##u) comes 10 times:
    p ##u ##g    5     ─>     ##ug is a piece, and the words are now  h ##ug,  p ##ug,  h ##u ##b
    h ##u ##b    2

As the `tokenizers` library trains WordPiece (Sennrich et al. 2016, algorithm 1, with WordPiece's
mark for pieces inside a word), but in a fixed order: of pairs that are equally frequent, the one
whose pieces are older comes first. The library's own choice depends on its hash seeds.
"""

import heapq
from collections import defaultdict
from typing import Callable, DefaultDict, Dict, List, Mapping, Optional, Sequence, Set, Tuple

PREFIX = "##"
Pair = Tuple[int, int]  # ids of two pieces, the second of them inside a word


def merge_pairs(
    words: Mapping[str, int],
    pieces: Sequence[str],
    *,
    size: int,
    min_frequency: int,
    progress: Optional[Callable[[int], None]] = None,
) -> List[str]:
    """Grow a vocabulary by merging pairs of pieces.

    words (Mapping[str, int]): Word -> how often it comes, in an order that does not change. Every
        character of every word has a piece: as it is at the start, with "##" inside.
    pieces (Sequence[str]): The vocabulary to begin with.
    size (int): How many pieces to stop at.
    min_frequency (int): A pair has to come as often as this.
    progress (Optional[Callable[[int], None]]): Called with the number of new pieces, now and then.
    RETURNS (List[str]): The vocabulary, `pieces` first; shorter than `size` if there are no more
        pairs that come often enough.
    """
    vocab = list(pieces)
    ids = {piece: index for index, piece in enumerate(vocab)}
    spelt = [[ids[word[0]], *(ids[PREFIX + char] for char in word[1:])] for word in words]
    counts = list(words.values())
    pair_counts, where = _count_pairs(spelt, counts)
    # Counts of pairs only fall, except those of new pairs: what is out of date is put back.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    reported = len(vocab)
    while len(vocab) < size and heap:
        negative, pair = heapq.heappop(heap)
        count = pair_counts[pair]
        if -negative != count:
            if count > 0:
                heapq.heappush(heap, (-count, pair))
            continue
        if count < min_frequency:
            break
        merged = vocab[pair[0]] + vocab[pair[1]].removeprefix(PREFIX)
        # The same piece may come of other pairs too: "ab" + "##c" and "a" + "##bc".
        new = ids.setdefault(merged, len(vocab))
        if new == len(vocab):
            vocab.append(merged)
        for changed in _merge(pair, new, spelt, counts, pair_counts, where):
            heapq.heappush(heap, (-pair_counts[changed], changed))
        if progress and len(vocab) - reported >= 100:
            progress(len(vocab) - reported)
            reported = len(vocab)
    if progress:
        progress(len(vocab) - reported)
    return vocab


def _count_pairs(
    spelt: List[List[int]], counts: List[int]
) -> Tuple[DefaultDict[Pair, int], DefaultDict[Pair, Set[int]]]:
    """How often each pair comes, and the numbers of the words that it is in."""
    pair_counts: DefaultDict[Pair, int] = defaultdict(int)
    where: DefaultDict[Pair, Set[int]] = defaultdict(set)
    for index, (pieces, count) in enumerate(zip(spelt, counts)):
        for pair in zip(pieces, pieces[1:]):
            pair_counts[pair] += count
            where[pair].add(index)
    return pair_counts, where


def _merge(
    pair: Pair,
    new: int,
    spelt: List[List[int]],
    counts: List[int],
    pair_counts: Dict[Pair, int],
    where: DefaultDict[Pair, Set[int]],
) -> Set[Pair]:
    """Put the new piece in the place of a pair, in all words. In place.

    RETURNS (Set[Pair]): The pairs that come more often than before.
    """
    left, right = pair
    more: Set[Pair] = set()
    for index in where.pop(pair):
        old = spelt[index]
        pieces: List[int] = []
        at, last = 0, len(old) - 1
        while at <= last:
            if at < last and old[at] == left and old[at + 1] == right:
                pieces.append(new)
                at += 2
            else:
                pieces.append(old[at])
                at += 1
        count = counts[index]
        for gone in zip(old, old[1:]):
            pair_counts[gone] -= count
        for there in zip(pieces, pieces[1:]):
            pair_counts[there] += count
            if new in there:
                where[there].add(index)
                more.add(there)
        spelt[index] = pieces
    pair_counts.pop(pair, None)
    return more
