"""Texts -> the words in them, as BERT's tokenizer sees words, and how often each comes."""

from collections import Counter
from typing import Dict, Iterable

from tokenizers import Tokenizer

from .settings import Settings
from .tokenizer import WordPieceTokenizer, _readable

# Different words that are counted at once. The rarest of more are forgotten; some 300 MB.
MAX_WORDS = 2_000_000
# Different strings from blank to blank that are held before words are made of them.
MAX_CHUNKS = 500_000
# Characters of these: without blanks, as Chinese is written, each may be a paragraph.
MAX_CHUNK_CHARS = 20_000_000


class WordCounter:
    """Counts the normalised words of texts, exactly, and the same whatever the order of threads.

    Memory does not grow with the texts: with more than `max_words` different words, the rarest are
    forgotten, as many as are needed to halve the number. What is left is then counted too low by no
    more than `n_forgotten` each.
    """

    def __init__(self, settings: Settings, *, max_words: int = MAX_WORDS) -> None:
        """Start with no words.

        settings (Settings): Casing, accents and so on.
        max_words (int): Different words to count at once.
        """
        specials = list(settings.specials.values())
        self._library: Tokenizer = WordPieceTokenizer(specials, **vars(settings))._library
        self.max_words = max_words
        self.n_forgotten = 0
        self._chunks: Counter[str] = Counter()
        self._n_chars = 0
        self._words: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """text (str): A text to count the words of."""
        # Words are made of few different strings, so the dear part waits for all of them. The
        # tokenizer ends words at these blanks whatever else it does.
        for blank in "\n\t\r":
            if blank in text:
                text = text.replace(blank, " ")
        self._chunks.update(text.split(" "))
        self._n_chars += len(text)
        if self._n_chars > MAX_CHUNK_CHARS:
            # So many at most, as what comes again is not held again. With room for half of the budget,
            # the next time to count is far away.
            self._n_chars = sum(map(len, self._chunks))
            if self._n_chars > MAX_CHUNK_CHARS // 2:
                self._flush()
        if len(self._chunks) > MAX_CHUNKS:
            self._flush()

    def counts(self) -> Dict[str, int]:
        """RETURNS (Dict[str, int]): Word -> how often it came; most frequent words first, then by
        their characters."""
        self._flush()
        return dict(sorted(self._words.items(), key=lambda item: (-item[1], item[0])))

    def _flush(self) -> None:
        normalizer, splitter = self._library.normalizer, self._library.pre_tokenizer
        for chunk, count in self._chunks.items():
            if not chunk.isascii():
                chunk = _readable([chunk])[0]
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(chunk)):
                self._words[word] += count
        self._chunks.clear()
        self._n_chars = 0
        if len(self._words) > self.max_words:
            self._forget()

    def _forget(self) -> None:
        by_count = sorted(self._words.values())
        threshold = by_count[len(by_count) // 2]
        self.n_forgotten += threshold
        self._words = Counter({w: n for w, n in self._words.items() if n > threshold})


def count_words(
    texts: Iterable[str], settings: Settings, *, max_words: int = MAX_WORDS
) -> Dict[str, int]:
    """Count the words of texts.

    texts (Iterable[str]): The texts; read once.
    settings (Settings): Casing, accents and so on.
    max_words (int): Different words to count at once.
    RETURNS (Dict[str, int]): Word -> how often it came; most frequent words first.
    RAISES (TypeError): `texts` is one str, or has an element that is none.
    """
    counter = WordCounter(settings, max_words=max_words)
    if isinstance(texts, str):
        _readable(texts)  # raises
    for text in texts:
        if not isinstance(text, str):
            _readable([text])  # raises
        counter.add(text)
    return counter.counts()
