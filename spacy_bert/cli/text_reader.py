"""What reads a text: spaCy's tokenizer and BERT's, out of a checkpoint or a saved pipeline."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional, Tuple

from .saved_pipeline import is_pipeline, load_pipeline, models_of

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

    from ..wordpiece import WordPieceTokenizer

SURROGATES = re.compile("[\ud800-\udfff]")


class TextReader(NamedTuple):
    """Text -> Doc -> windows of pieces.

    nlp (Language): Makes tokens.
    tokenizer (WordPieceTokenizer): Makes pieces.
    window (int): Pieces of a window, [CLS] and [SEP] included.
    stride (int): Pieces from the start of one window to that of the next.
    max_positions (int): Pieces of the longest window that the encoder can read.
    masked (bool): Whether "[MASK]" in a text is the mask piece, as for `fill_mask`.
    """

    nlp: "Language"
    tokenizer: "WordPieceTokenizer"
    window: int
    stride: int
    max_positions: int
    masked: bool = False

    def with_windows(self, window: Optional[int], stride: Optional[int]) -> "TextReader":
        """window (Optional[int]): Another size of windows.
        stride (Optional[int]): Another stride; without it, one that suits the window.
        RETURNS (TextReader): A reader with these.
        RAISES: ValueError if they are too long, too short, or leave pieces out."""
        from ..windows import check_window

        length, step = self.window, self.stride
        if window is not None:
            length, step = window, max(1, min(window * 7 // 8, window - 2))
        if stride is not None:
            step = stride
        if length > self.max_positions:
            raise ValueError(
                f"--window is {length}, but the encoder has {self.max_positions} positions. Give "
                f"that many or less."
            )
        check_window(length, step)
        return self._replace(window=length, stride=step)

    def make_doc(self, text: str, pair: Optional[str] = None) -> "Doc":
        """text (str): A text; a lone surrogate, which no Doc can hold, is read as U+FFFD.
        pair (Optional[str]): A second text.
        RETURNS (Doc): Its tokens, and its segments if it is a pair."""
        return make_doc(self.nlp, text, pair)


def make_doc(nlp: "Language", text: str, pair: Optional[str] = None) -> "Doc":
    """nlp (Language): A pipeline.
    text (str): A text; a lone surrogate, which no Doc can hold, is read as U+FFFD.
    pair (Optional[str]): A second text.
    RETURNS (Doc): Its tokens, and its segments if it is a pair, by the pipeline's own rule, too."""
    from ..segments import make_pair

    if pair is not None:
        return make_pair(nlp, clean(text)[0], clean(pair)[0])
    doc = nlp.make_doc(clean(text)[0])
    for _, pipe in nlp.pipeline:
        if hasattr(pipe, "marks_segments"):
            doc = pipe(doc)
    return doc


def clean(text: str) -> Tuple[str, int]:
    """text (str): Any text.
    RETURNS (Tuple[str, int]): The same with U+FFFD for lone surrogates, and how many there were."""
    return SURROGATES.subn("\ufffd", text)


def open_reader(source: str, lang: Optional[str] = None) -> TextReader:
    """Open what reads a text. Weights are not looked at where it can be helped.

    source (str): Folder of a checkpoint, a vocabulary or a pipeline; or a hub id.
    lang (Optional[str]): Language of the tokens; a pipeline has its own.
    RETURNS (TextReader): What reads a text.
    RAISES: OSError or ValueError if there is no vocabulary there, or no such language.
    """
    import spacy

    from ..encoder import BertConfig, load_checkpoint, read_config
    from ..pipeline.assemble import bert_settings
    from ..wordpiece import WordPieceTokenizer
    from .init_config import check_lang

    folder = Path(source).expanduser()
    if is_pipeline(folder):
        if lang is not None:
            raise ValueError(
                f"--lang is {lang!r}, but {folder} is a pipeline, with a tokenizer of its own. "
                f"Leave it out."
            )
        return _open_pipeline(folder)
    lang = "en" if lang is None else lang
    check_lang(lang)
    if folder.is_dir():
        config = folder / "config.json"
        sizes = read_config(config) if config.is_file() else BertConfig()
        tokenizer = WordPieceTokenizer.from_disk(folder)
    else:
        checkpoint = load_checkpoint(source)
        assert checkpoint.tokenizer is not None
        sizes, tokenizer = checkpoint.config, checkpoint.tokenizer
    usual = bert_settings(sizes)
    nlp = spacy.blank(lang)
    return TextReader(nlp, tokenizer, usual["window"], usual["stride"], sizes.max_positions)


def _open_pipeline(folder: Path) -> TextReader:
    from ..layers.doc_encoder import find_part, has_encoder

    nlp = load_pipeline(folder)
    for model in models_of(nlp).values():
        if has_encoder(model):
            windows = find_part(model, "doc-windows").attrs
            sizes = find_part(model, "doc-encoder").attrs["sizes"]
            tokenizer = windows["tokenizer"].get()
            return TextReader(
                nlp,
                tokenizer,
                windows["window"],
                windows["stride"],
                sizes["max_positions"],
                windows.get("masked", False),
            )
    raise ValueError(
        f"No pipe of {folder} holds a BERT; found {', '.join(nlp.component_names) or 'none'}. Give "
        f"a pipeline with a `bert`, or a checkpoint."
    )
