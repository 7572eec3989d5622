"""What, besides the vocabulary, decides how a text becomes pieces."""

from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

SPECIAL_NAMES: Tuple[str, ...] = ("unk", "cls", "sep", "pad", "mask")

# Our name -> the key in HuggingFace's tokenizer_config.json. HuggingFace itself reads clean_text
# and max_input_chars_per_word from tokenizer.json only.
CONFIG_KEYS: Dict[str, str] = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
    "clean_text": "clean_text",
    "max_word_chars": "max_input_chars_per_word",
    **{name: f"{name}_token" for name in SPECIAL_NAMES},
}

# Our name -> the section of tokenizer.json and the key there.
LIBRARY_KEYS: Dict[str, Tuple[str, str]] = {
    "lowercase": ("normalizer", "lowercase"),
    "strip_accents": ("normalizer", "strip_accents"),
    "handle_chinese_chars": ("normalizer", "handle_chinese_chars"),
    "clean_text": ("normalizer", "clean_text"),
    "max_word_chars": ("model", "max_input_chars_per_word"),
    "unk": ("model", "unk_token"),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a WordPieceTokenizer; `WordPieceTokenizer.__init__` says what each means.

    RAISES (ValueError): A setting is of the wrong type or out of range.
    """

    lowercase: bool = True
    strip_accents: Optional[bool] = None
    handle_chinese_chars: bool = True
    clean_text: bool = True
    max_word_chars: int = 100
    unk: str = "[UNK]"
    cls: str = "[CLS]"
    sep: str = "[SEP]"
    pad: str = "[PAD]"
    mask: str = "[MASK]"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in SPECIAL_NAMES:
                fits, expected = isinstance(value, str) and value != "", "the name of a piece"
            elif name == "max_word_chars":
                fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
                expected = "a whole number of characters, 1 or more"
            elif name == "strip_accents":
                fits = value is None or isinstance(value, bool)
                expected = "true, false, or null (the same as lowercase)"
            else:
                fits, expected = isinstance(value, bool), "true or false"
            if not fits:
                raise ValueError(
                    f"Tokenizer setting '{name}' (HuggingFace: '{CONFIG_KEYS[name]}') is "
                    f"{value!r}; expected {expected}. Correct it where it is set."
                )

    @property
    def strips_accents(self) -> bool:
        """RETURNS (bool): Whether accents are stripped: if unsaid, where BERT lower-cases."""
        return self.lowercase if self.strip_accents is None else self.strip_accents

    @property
    def specials(self) -> Mapping[str, str]:
        """RETURNS (Mapping[str, str]): Role ("cls", ...) -> piece ("[CLS]", ...)."""
        return {name: getattr(self, name) for name in SPECIAL_NAMES}
