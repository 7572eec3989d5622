"""Texts -> a WordPiece vocabulary; and domain words for one that exists.

Deterministic: the same texts in the same order give the same vocabulary, byte for byte, in every
process and with any number of threads.
"""

import logging
from collections import Counter
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence

from .merges import PREFIX, merge_pairs
from .settings import Settings
from .tokenizer import WordPieceTokenizer
from .words import count_words

logger = logging.getLogger(__name__)

# The order of the ids is the original's, as far as it matters: [PAD] is 0.
SPECIALS = ("pad", "unk", "cls", "sep", "mask")


def train_vocab(
    texts: Iterable[str],
    *,
    size: int,
    lowercase: bool = True,
    strip_accents: Optional[bool] = None,
    handle_chinese_chars: bool = True,
    min_frequency: int = 2,
    limit_alphabet: int = 1000,
    reserved: Sequence[str] = (),
    exact_size: bool = False,
    progress: Optional[Callable[[int], None]] = None,
    **specials: str,
) -> WordPieceTokenizer:
    """Train a WordPiece vocabulary (the algorithm is in `merges`).

    Every character of the alphabet has a piece for the start of a word and, unless it is always a
    word by itself, one for inside a word: no word of these characters is ever unknown.

    texts (Iterable[str]): The texts, read once; memory does not grow with them.
    size (int): Pieces, all counted.
    lowercase (bool): Whether to lower-case.
    strip_accents (Optional[bool]): Whether to strip accents. None: the same as `lowercase`.
    handle_chinese_chars (bool): Whether every CJK ideograph is a word by itself.
    min_frequency (int): A piece or a character has to come as often as this.
    limit_alphabet (int): Different characters at most; the rarest are left out, and words with them
        are unknown.
    reserved (Sequence[str]): Further pieces to have ids, after the special ones, such as
        "[unused0]". Texts are not split at them.
    exact_size (bool): Raise an error if the texts do not support so many pieces; otherwise the
        vocabulary is smaller then, and a warning says why.
    progress (Optional[Callable[[int], None]]): Called with the number of new pieces, now and then.
    **specials (str): Names of the special pieces: `unk`, `cls`, `sep`, `pad`, `mask`.
    RETURNS (WordPieceTokenizer): The tokenizer with the vocabulary.
    RAISES (ValueError): The texts have no words, or the size is too small for the characters.
    """
    settings = Settings(
        lowercase=lowercase,
        strip_accents=strip_accents,
        handle_chinese_chars=handle_chinese_chars,
        **specials,  # type: ignore[arg-type]
    )
    _check_positive(size=size, min_frequency=min_frequency, limit_alphabet=limit_alphabet)
    counted = count_words(texts, settings)
    if not counted:
        raise ValueError(
            "The texts have no words: found nothing to train a vocabulary on; expected text. Check "
            "the inputs, and the reader."
        )
    # A longer word is unknown, whatever pieces there are.
    words = {w: n for w, n in counted.items() if len(w) <= settings.max_word_chars}
    alphabet = _alphabet(words, min_frequency, limit_alphabet)
    if not alphabet:
        raise ValueError(
            f"No character of the texts comes {min_frequency:,} times or more: found "
            f"{sum(counted.values()):,} words in all. Lower min_frequency (--min-frequency), or "
            f"give more text."
        )
    kept = set(alphabet)
    words = {word: n for word, n in words.items() if kept.issuperset(word)}
    first = [getattr(settings, name) for name in SPECIALS]
    joined = [PREFIX + char for char in alphabet if not _stands_alone(char, settings)]
    start = list(dict.fromkeys([*first, *reserved, *alphabet, *joined]))
    if len(start) > size:
        raise ValueError(
            f"A vocabulary of {size} pieces has no room for the {len(alphabet)} characters of the "
            f"texts: they need {len(start)} pieces, special ones included. Raise the size, or "
            f"lower limit_alphabet (--alphabet), or raise min_frequency (--min-frequency)."
        )
    pieces = merge_pairs(words, start, size=size, min_frequency=min_frequency, progress=progress)
    if len(pieces) < size:
        message = (
            f"The vocabulary has {len(pieces)} pieces, fewer than the {size} asked for: the texts "
            f"have {sum(counted.values()):,} words, {len(counted):,} of them different, and no "
            f"further pair of pieces comes {min_frequency} times or more. Give more text, or lower "
            f"min_frequency (--min-frequency) or the size."
        )
        if exact_size:
            raise ValueError(message)
        logger.warning(message)
    return WordPieceTokenizer(pieces, **vars(settings))


def extend_vocab(
    tokenizer: WordPieceTokenizer,
    texts: Iterable[str],
    *,
    size: int,
    min_frequency: int = 2,
    exact_size: bool = False,
) -> WordPieceTokenizer:
    """Add the words of a domain to a vocabulary, for continued pretraining: whole words, those
    first that save the most pieces over the texts. What the vocabulary cannot spell counts as one
    piece a character.

    Old pieces keep their ids. Words that neither are new nor begin with a new one are read as
    before; a word that begins with a new one may be cut differently.

    tokenizer (WordPieceTokenizer): The vocabulary that there is.
    texts (Iterable[str]): Texts of the domain, read once.
    size (int): Pieces of the new vocabulary, the old ones included.
    min_frequency (int): A word has to come as often as this.
    exact_size (bool): Raise an error if the texts do not have so many words; otherwise fewer are
        added then, and a warning says why.
    RETURNS (WordPieceTokenizer): The tokenizer with the larger vocabulary.
    RAISES (ValueError): The size is not larger than the vocabulary, or no word is new.
    """
    _check_positive(size=size, min_frequency=min_frequency)
    if size <= len(tokenizer):
        raise ValueError(
            f"size is {size}, but the vocabulary to extend has {len(tokenizer)} pieces already. "
            f"Give the size of the new vocabulary, old pieces included."
        )
    settings = tokenizer.settings
    known = set(tokenizer.pieces)
    counts = {
        word: count
        for word, count in count_words(texts, settings).items()
        if count >= min_frequency and word not in known and len(word) <= settings.max_word_chars
    }
    words = list(counts)
    saved: Dict[str, int] = {}
    for word, encoded in zip(words, tokenizer.encode_batch(words)):
        n_pieces = len(word) if tokenizer.unk_id in encoded.ids else len(encoded.ids)
        # One character that is unknown is worth a piece, too.
        saved[word] = counts[word] * max(n_pieces - 1, 1)
    # Stable, and the words come in a fixed order: no ties are left to chance.
    best = sorted(words, key=saved.__getitem__, reverse=True)[: size - len(tokenizer)]
    found = len(tokenizer) + len(best)
    if found < size:
        message = (
            f"The vocabulary has {found} pieces, fewer than the {size} asked for: only {len(best)} "
            f"words that come {min_frequency} times or more are not in it yet. Give more text, or "
            f"lower min_frequency (--min-frequency) or the size."
        )
        if exact_size or not best:
            raise ValueError(message)
        logger.warning(message)
    return WordPieceTokenizer([*tokenizer.pieces, *best], **vars(settings))


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}; expected 1 or more.")


def _alphabet(words: Mapping[str, int], min_frequency: int, limit: int) -> List[str]:
    """The most frequent characters, in the order of Unicode."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    frequent = [char for char, count in counts.items() if count >= min_frequency]
    return sorted(sorted(frequent, key=lambda char: (-counts[char], char))[:limit])


def _stands_alone(char: str, settings: Settings) -> bool:
    """Whether a character is always a word by itself, such as a comma or an ideograph."""
    # Asked of the tokenizer itself, with a vocabulary that could spell the word if it were one.
    spelling = [*settings.specials.values(), "a", "##a", "b", "##b", char, PREFIX + char]
    tokenizer = WordPieceTokenizer(list(dict.fromkeys(spelling)), **vars(settings))
    return PREFIX + char not in [tokenizer.pieces[i] for i in tokenizer.encode(f"a{char}b").ids]
