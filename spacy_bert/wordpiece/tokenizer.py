"""BERT's tokenizer: raw text -> ids of WordPiece pieces and their character offsets.

Reference: Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers", section 3,
and the original code's tokenization.py. Ids are those of HuggingFace's `BertTokenizerFast` with
`split_special_tokens=True`: "[MASK]" in a text is plain text.
"""

import hashlib
import json
import re
from dataclasses import asdict
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Final, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from .folder import read_folder, write_folder
from .fork import guard_forks
from .reordering import widen_reordered
from .settings import Settings
from .vocab import number_pieces

guard_forks()

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMAT = "spacy-bert.WordPiece.v1"


class Encoded(NamedTuple):
    """One text's pieces, without [CLS] and [SEP].

    Starts never decrease. A piece has at least one character; several pieces can have the same
    characters (a Hangul syllable is decomposed into pieces). Characters that normalisation drops
    belong to the piece on both sides of them, or to none.
    """

    ids: np.ndarray  # (n_pieces,) int32
    offsets: np.ndarray  # (n_pieces, 2) int32, start and end (exclusive) in the original text


class WordPieceTokenizer:
    """Raw text -> pieces, as BERT reads it. Immutable, so that threads can share one.

    The steps: clean (drop U+0000, U+FFFD and controls, whitespace to blanks), blanks around CJK
    ideographs, strip accents and lower-case if asked to, split at blanks and punctuation, and cut
    each word into the longest pieces of the vocabulary from left to right; a word that cannot be
    cut completely is one `unk` piece.
    """

    def __init__(
        self,
        vocab: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: Optional[bool] = None,
        handle_chinese_chars: bool = True,
        clean_text: bool = True,
        max_word_chars: int = 100,
        unk: str = "[UNK]",
        cls: str = "[CLS]",
        sep: str = "[SEP]",
        pad: str = "[PAD]",
        mask: str = "[MASK]",
    ) -> None:
        """Build a tokenizer from a vocabulary.

        vocab (Sequence[str]): The pieces in the order of their ids; "##" is for inside a word.
        lowercase (bool): Whether to lower-case.
        strip_accents (Optional[bool]): Whether to strip accents. None: the same as `lowercase`.
        handle_chinese_chars (bool): Whether every CJK ideograph is a word by itself.
        clean_text (bool): Whether to drop control characters.
        max_word_chars (int): A normalised word with more characters than this is unknown.
        unk (str): The piece for words that the vocabulary cannot make.
        cls (str): The piece before a sequence.
        sep (str): The piece after each segment.
        pad (str): The piece that fills a sequence up.
        mask (str): The piece in the place of a masked one.
        RAISES (ValueError): The vocabulary is empty, has a piece twice, lacks a special piece, or
            has a piece that no file could hold; or a setting is of the wrong type.
        RAISES (TypeError): `vocab` is no list of str.
        """
        self.settings: Final = Settings(
            lowercase=lowercase,
            strip_accents=strip_accents,
            handle_chinese_chars=handle_chinese_chars,
            clean_text=clean_text,
            max_word_chars=max_word_chars,
            unk=unk,
            cls=cls,
            sep=sep,
            pad=pad,
            mask=mask,
        )
        ids = number_pieces(vocab, self.settings)
        self.pieces: Final[Tuple[str, ...]] = tuple(ids)
        self.unk_id: Final = ids[unk]
        self.cls_id: Final = ids[cls]
        self.sep_id: Final = ids[sep]
        self.pad_id: Final = ids[pad]
        self.mask_id: Final = ids[mask]
        self._library: Final = _build(ids, self.settings)

    def __len__(self) -> int:
        """RETURNS (int): The size of the vocabulary."""
        return len(self.pieces)

    def encode_batch(self, texts: Sequence[str]) -> List[Encoded]:
        """Encode texts, several at a time where there are several cores.

        Lone surrogates, which no encoding can hold, are read as U+FFFD, which cleaning drops.

        texts (Sequence[str]): The texts, of any length: nothing is cut off.
        RETURNS (List[Encoded]): One for each text.
        RAISES (TypeError): `texts` is one str, or has an element that is none.
        """
        texts = _readable(texts)
        encodings = self._library.encode_batch(texts, add_special_tokens=False)
        encoded = map(_to_arrays, encodings)
        if not self.settings.strips_accents:
            return list(encoded)
        return [
            Encoded(ids, widen_reordered(text, offsets))
            for text, (ids, offsets) in zip(texts, encoded)
        ]

    def encode_ids_batch(self, texts: Sequence[str]) -> Tuple[np.ndarray, np.ndarray]:
        """Encode texts whose offsets nobody asks for: a corpus. The ids are those of `encode_batch`.

        texts (Sequence[str]): The texts, of any length: nothing is cut off.
        RETURNS (Tuple[np.ndarray, np.ndarray]): The ids of all texts, one after another, shape
            (n_pieces,), int32; how many each text has, shape (n_texts,), int64.
        RAISES (TypeError): `texts` is one str, or has an element that is none.
        """
        encodings = self._library.encode_batch_fast(_readable(texts), add_special_tokens=False)
        counts = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = chain.from_iterable(encoding.ids for encoding in encodings)
        return np.fromiter(ids, np.int32, int(counts.sum())), counts

    def encode(self, text: str) -> Encoded:
        """Encode one text.

        text (str): The text, of any length.
        RETURNS (Encoded): Its pieces.
        RAISES (TypeError): `text` is not a str.
        """
        return self.encode_batch([text])[0]

    @cached_property
    def fingerprint(self) -> str:
        """RETURNS (str): SHA-256, in hexadecimal, of all that decides what a text becomes: equal
        for tokenizers that read every text alike, in every process and on every machine.
        """
        behaviour = {**asdict(self.settings), "strip_accents": self.settings.strips_accents}
        content = json.dumps([behaviour, self.pieces], sort_keys=True)
        return hashlib.sha256(content.encode("utf8")).hexdigest()

    def to_disk(self, path: Union[str, Path]) -> None:
        """Write a folder that HuggingFace's `BertTokenizerFast.from_pretrained` reads, too.

        path (Union[str, Path]): The folder, made if need be. Files of an earlier tokenizer in it
            are replaced, each at once.
        """
        library = _build({piece: index for index, piece in enumerate(self.pieces)}, self.settings)
        library.add_special_tokens(list(self.settings.specials.values()))
        library.post_processor = BertProcessing(
            (self.settings.sep, self.sep_id), (self.settings.cls, self.cls_id)
        )
        library.decoder = WordPieceDecoder()
        write_folder(path, self.pieces, self.settings, library.to_str())

    @classmethod
    def from_disk(cls, path: Union[str, Path]) -> "WordPieceTokenizer":
        """Read a folder with `vocab.txt` or `tokenizer.json`, and `tokenizer_config.json` if it is
        there. Where no file says otherwise, the tokenizer is uncased.

        path (Union[str, Path]): The folder, written by `to_disk` or by HuggingFace.
        RETURNS (WordPieceTokenizer): The tokenizer.
        RAISES (ValueError): No vocabulary there, not BERT's kind of tokenizer, or a broken file.
        """
        pieces, settings = read_folder(path)
        try:
            return cls(pieces, **asdict(settings))
        except ValueError as error:
            raise ValueError(f"Cannot read the tokenizer in {path}. {error}") from None

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Vocabulary and settings, for `from_bytes`."""
        content = {"format": _FORMAT, "settings": asdict(self.settings), "pieces": self.pieces}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf8")

    @classmethod
    def from_bytes(cls, data: bytes) -> "WordPieceTokenizer":
        """Load a tokenizer from `to_bytes`. Some 20 ms for 30,000 pieces.

        data (bytes): What `to_bytes` returned.
        RETURNS (WordPieceTokenizer): The tokenizer.
        RAISES (ValueError): The bytes are something else, or of another version.
        """
        try:
            content = json.loads(data)
        except ValueError:
            content = None
        found = content.get("format") if isinstance(content, dict) else None
        if found != _FORMAT:
            raise ValueError(
                f"Cannot load a WordPiece tokenizer from {len(data)} bytes of format {found!r}; "
                f"expected {_FORMAT!r}. Use what `WordPieceTokenizer.to_bytes` returned, and the "
                "version of spacy_bert that wrote it."
            )
        return cls(content["pieces"], **content["settings"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WordPieceTokenizer):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> Tuple[Callable[[bytes], "WordPieceTokenizer"], Tuple[bytes]]:
        return type(self).from_bytes, (self.to_bytes(),)

    def __deepcopy__(self, memo: Dict[int, Any]) -> "WordPieceTokenizer":
        return self  # immutable: a second one would only cost memory

    def __repr__(self) -> str:
        cased = "uncased" if self.settings.lowercase else "cased"
        specials = ", ".join(
            f"{piece}={getattr(self, f'{name}_id')}"
            for name, piece in self.settings.specials.items()
        )
        return f"<WordPieceTokenizer: {len(self)} pieces, {cased}, {specials}>"


def _build(ids: Dict[str, int], settings: Settings) -> Tokenizer:
    # No special tokens are added, so that none is ever found in a text.
    library = Tokenizer(
        WordPiece(ids, unk_token=settings.unk, max_input_chars_per_word=settings.max_word_chars)
    )
    library.normalizer = BertNormalizer(
        clean_text=settings.clean_text,
        handle_chinese_chars=settings.handle_chinese_chars,
        strip_accents=settings.strip_accents,
        lowercase=settings.lowercase,
    )
    library.pre_tokenizer = BertPreTokenizer()
    return library


def _to_arrays(encoding: Encoding) -> Encoded:
    ids = encoding.ids
    n_pieces = len(ids)
    # fromiter over the flat pairs takes two thirds of the time of np.array on a list of tuples
    flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * n_pieces)
    return Encoded(np.array(ids, dtype=np.int32), flat.reshape(n_pieces, 2))


def _readable(texts: Sequence[str]) -> List[str]:
    """RETURNS (List[str]): The texts, once they are known to be text that the library can read."""
    if isinstance(texts, str):
        raise TypeError(
            "encode_batch was given one str; expected a list of texts. Use encode for one text."
        )
    readable = list(texts)
    for index, text in enumerate(readable):
        # Found here, as the library would take a tuple of two texts for a pair.
        if not isinstance(text, str):
            raise TypeError(
                f"Text {index} of the batch is of type {type(text).__name__}; expected str. Pass "
                "raw text (doc.text for a spaCy Doc)."
            )
        if not text.isascii():
            try:
                text.encode("utf8")  # takes a hundredth of the time of tokenising
            except UnicodeEncodeError:
                # Some versions of the library fail on a lone surrogate, others read three
                # characters. One for one, the offsets stay right.
                readable[index] = _SURROGATE.sub("\ufffd", text)
    return readable
