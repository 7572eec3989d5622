"""A paragraph -> its sentences: by spaCy's rules, or by a trained pipeline.

Both are pickled as their settings: a worker process makes spaCy objects of its own.
"""

import re
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from .special_cases import SpecialCases

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

SURROGATES = re.compile("[\ud800-\udfff]")
# Whitespace that spaCy makes tokens of: all but single blanks.
SPACE_TOKEN = re.compile(r"  |[^\S ]")
# Words that are remembered; a longer one hardly comes twice. Some 40 MB.
N_WORDS = 200_000
WORD_CHARS = 64
# Words that spaCy may be asked about before it gets a new vocabulary: it keeps all it has seen.
N_ASKED = 500_000


class _Word(NamedTuple):
    """What a word, from blank to blank, does to sentences. "Open": a sentence has ended before it,
    and the next one has not begun; spaCy's rules then await a token that is no punctuation.

    starts (Tuple[int, ...]): Characters of the word at which sentences begin, if it comes closed.
    open (bool): What is then after it.
    starts_if_open (Tuple[int, ...]): The same if it comes open.
    open_if_open (bool): The same.
    before (Tuple[str, ...]): Beside a word that ends so, its tokens may be others.
    after (Tuple[str, ...]): Beside a word that begins so, its tokens may be others.
    """

    starts: Tuple[int, ...]
    open: bool
    starts_if_open: Tuple[int, ...]
    open_if_open: bool
    before: Tuple[str, ...]
    after: Tuple[str, ...]


class Sentencizer:
    """Exactly the sentences of spaCy's `sentencizer`, in a fraction of its time.

    spaCy's tokenizer works from blank to blank, and its rules see nothing but tokens. So a sentence
    can end only in a word that has one of the closing characters, and begin only there or in the
    words right after it. No other word is ever looked at, and what is known of a word is kept.

    One thing spans words: special cases of the tokenizer (":-)") are looked for among all tokens,
    longest first, so that tokens of two words can keep a special case within one of them from being
    found. Where that could be, and where there is whitespace other than single blanks, the whole
    paragraph is left to spaCy.
    """

    def __init__(self, lang: str = "en", punct_chars: Optional[Sequence[str]] = None) -> None:
        """Choose a language. Nothing is loaded before the first paragraph.

        lang (str): Code of the language whose tokenizer is used, such as "en", or "xx" for many.
        punct_chars (Optional[Sequence[str]]): Tokens that end a sentence; without them, spaCy's.
        """
        self.lang = lang
        self.punct_chars = None if punct_chars is None else tuple(punct_chars)
        self._nlp: Any = None
        self._words: Dict[str, _Word] = {}
        self._neighbours: Dict[str, Tuple[Set[str], Set[str]]] = {}
        self._n_asked = 0

    def __call__(self, paragraph: str) -> List[str]:
        """paragraph (str): A paragraph, of any length.
        RETURNS (List[str]): Its sentences, without whitespace at their ends; none is empty."""
        text = _readable(paragraph)
        if self._nlp is None or self._n_asked > N_ASKED:
            self._load()
        starts = None
        if self._by_words and not SPACE_TOKEN.search(text):
            starts = self._starts(text)
        if starts is None:
            return _sentences(self._nlp(text))
        parts = [text[a:b].rstrip() for a, b in zip([0, *starts], [*starts, len(text)])]
        return [part for part in parts if part]

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.lang, self.punct_chars)

    def __repr__(self) -> str:
        chars = "" if self.punct_chars is None else f", punct_chars={list(self.punct_chars)!r}"
        return f"Sentencizer(lang={self.lang!r}{chars})"

    def _load(self) -> None:
        import spacy
        from spacy.tokenizer import Tokenizer

        self._words, self._neighbours, self._n_asked = {}, {}, 0
        self._nlp = _blank(spacy, self.lang)
        self._nlp.max_length = 1 << 30  # the limit is for parsers
        chars = None if self.punct_chars is None else list(self.punct_chars)
        self._closing = self._nlp.add_pipe("sentencizer", config={"punct_chars": chars}).punct_chars
        self._find = re.compile("|".join(map(re.escape, sorted(self._closing)))).search
        if all(len(char) == 1 for char in self._closing):
            self._find = re.compile(f"[{''.join(map(re.escape, sorted(self._closing)))}]").search
        tokenizer = self._nlp.tokenizer
        # Languages such as Chinese or Thai have tokenizers that know nothing of blanks.
        self._by_words = type(tokenizer) is Tokenizer and not any(
            re.search(r"\S\s+\S", special) for special in tokenizer.rules
        )
        if self._by_words:
            self._special_cases = SpecialCases(tokenizer)

    def _starts(self, text: str) -> Optional[List[int]]:
        """Where sentences but the first begin; None if that needs the whole text at once.

        text (str): A text without whitespace other than single blanks, and none at its ends.
        """
        starts: List[int] = []
        at, end = 0, len(text)
        while True:
            closing = self._find(text, at)
            if closing is None:
                return starts
            at = text.rfind(" ", at, closing.start()) + 1 or at
            is_open = False
            while True:  # this word, and those after it as long as no sentence begins
                stop = text.find(" ", at)
                if stop < 0:
                    stop = end
                word = self._words.get(text[at:stop]) or self._ask(text[at:stop])
                if word.before and text.endswith(word.before, 0, max(0, at - 1)):
                    neighbour = text[text.rfind(" ", 0, at - 1) + 1 : at - 1]
                    if not self._ends(neighbour)[1].isdisjoint(word.before):
                        return None
                if word.after and text.startswith(word.after, stop + 1):
                    neighbour = text[stop + 1 :].split(" ", 1)[0]
                    if not self._ends(neighbour)[0].isdisjoint(word.after):
                        return None
                new = word.starts_if_open if is_open else word.starts
                is_open = word.open_if_open if is_open else word.open
                for start in new:
                    starts.append(at + start)
                at = stop + 1
                if at >= end:
                    return starts
                if not is_open:
                    break

    def _ask(self, text: str) -> _Word:
        """Have spaCy make tokens of a word that is not known yet."""
        closing = self._closing
        doc = self._nlp.tokenizer(text)
        texts = [token.text for token in doc]
        tokens = [
            (token.idx, name in closing, name not in closing and not token.is_punct)
            for token, name in zip(doc, texts)
        ]
        beside = self._special_cases.beside(text, texts)
        word = _Word(*_walk(tokens, False), *_walk(tokens, True), *beside)
        self._n_asked += 1
        if len(text) <= WORD_CHARS:
            if len(self._words) >= N_WORDS:
                self._words.clear()
            self._words[text] = word
        return word

    def _ends(self, word: str) -> Tuple[Set[str], Set[str]]:
        """What the first token of a neighbour may be, and its last."""
        ends = self._neighbours.get(word)
        if ends is None:
            tokens = [token.text for token in self._nlp.tokenizer(word)]
            ends = self._special_cases.ends(word, tokens)
            self._n_asked += 1
            if len(word) <= WORD_CHARS and len(self._neighbours) < N_WORDS:
                self._neighbours[word] = ends
        return ends


class PipelineSentences:
    """The sentences of a trained pipeline: `doc.sents`, by its parser or its `senter`."""

    def __init__(self, pipeline: str, *, exclude: Sequence[str] = (), batch_size: int = 64) -> None:
        """Choose a pipeline. Nothing is loaded before the first paragraph.

        pipeline (str): An installed package, or the folder of a pipeline.
        exclude (Sequence[str]): Its pipes that are not needed for sentences, such as "ner".
        batch_size (int): Paragraphs at once.
        RAISES (ValueError): That is less than 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but it must be 1 or more.")
        self.pipeline = str(pipeline)
        self.exclude = tuple(exclude)
        self.batch_size = batch_size
        self._nlp: Any = None

    def __call__(self, paragraph: str) -> List[str]:
        """paragraph (str): A paragraph.
        RETURNS (List[str]): Its sentences, without whitespace at their ends; none is empty.
        RAISES (OSError): There is no such pipeline.
        RAISES (ValueError): The pipeline marks no sentences."""
        return self.batch([paragraph])[0]

    def batch(self, paragraphs: Sequence[str]) -> List[List[str]]:
        """paragraphs (Sequence[str]): Paragraphs.
        RETURNS (List[List[str]]): The sentences of each.
        RAISES: As `__call__`."""
        if self._nlp is None:
            self._nlp = self._load()
        with self._nlp.memory_zone():
            docs = self._nlp.pipe(map(_readable, paragraphs), batch_size=self.batch_size)
            return [self._sentences(doc) for doc in docs]

    def __reduce__(self) -> Tuple[Any, ...]:
        return _pipeline_sentences, (self.pipeline, self.exclude, self.batch_size)

    def __repr__(self) -> str:
        return f"PipelineSentences({self.pipeline!r}, exclude={list(self.exclude)!r})"

    def _load(self) -> "Language":
        import spacy

        try:
            return spacy.load(self.pipeline, exclude=list(self.exclude))
        except OSError as error:
            raise OSError(
                f"The pipeline {self.pipeline!r}, which was to split sentences, cannot be loaded: "
                f"{error} Expected an installed package, or the folder of a pipeline."
            ) from None

    def _sentences(self, doc: "Doc") -> List[str]:
        if len(doc) and not doc.has_annotation("SENT_START"):
            pipes = ", ".join(self._nlp.pipe_names) or "none"
            raise ValueError(
                f"The pipeline {self.pipeline!r} marks no sentences; found the pipes {pipes}, "
                f"expected a parser, a senter or a sentencizer. Choose another pipeline, or the "
                f"splitter spacy-bert.Sentencizer.v1."
            )
        return _sentences(doc)


def _pipeline_sentences(
    pipeline: str, exclude: Tuple[str, ...], batch_size: int
) -> PipelineSentences:
    return PipelineSentences(pipeline, exclude=exclude, batch_size=batch_size)


def _blank(spacy: Any, lang: str) -> "Language":
    try:
        return spacy.blank(lang)
    except ImportError as error:  # no such language, or the package that its tokenizer needs
        raise ValueError(
            f"The language {lang!r}, whose rules were to split sentences, cannot be had: "
            f"{str(error).strip()} Expected a code such as 'en', or 'xx' for many languages."
        ) from None


def _readable(text: str) -> str:
    """A text that a Doc can hold, and no whitespace at its ends."""
    return (text if text.isascii() else SURROGATES.sub("\ufffd", text)).strip()


def _sentences(doc: "Doc") -> List[str]:
    sentences = (sentence.text.strip() for sentence in doc.sents) if len(doc) else ()
    return [sentence for sentence in sentences if sentence]


def _walk(tokens: Iterable[Tuple[int, bool, bool]], is_open: bool) -> Tuple[Tuple[int, ...], bool]:
    """spaCy's rule, over the tokens of one word: (start, whether it closes, whether it begins)."""
    starts = []
    for start, closes, begins in tokens:
        if is_open and begins:
            starts.append(start)
            is_open = False
        elif closes:
            is_open = True
    return tuple(starts), is_open
