"""A WordPiece tokenizer as an attribute of a Thinc model.

Thinc drops attributes that msgpack cannot write without a word, so the slot that holds the
tokenizer brings its own serialisation.
"""

from typing import Optional

from thinc.model import Model, deserialize_attr, serialize_attr

from ..wordpiece import WordPieceTokenizer


class TokenizerSlot:
    """Holds the tokenizer of an encoder, or nothing before a checkpoint is loaded.

    tokenizer (Optional[WordPieceTokenizer]): The tokenizer.
    """

    def __init__(self, tokenizer: Optional[WordPieceTokenizer] = None) -> None:
        self.tokenizer = tokenizer

    def get(self) -> WordPieceTokenizer:
        """RETURNS (WordPieceTokenizer): The tokenizer.
        RAISES: ValueError if none was loaded."""
        if self.tokenizer is None:
            raise ValueError(NOT_LOADED)
        return self.tokenizer


NOT_LOADED = (
    "This BERT has neither weights nor vocabulary yet. Name a checkpoint and initialise: in the "
    'config, [initialize.components.bert] checkpoint = "path/to/checkpoint", then nlp.initialize() '
    "or `spacy train`; in Python, spacy_bert.from_checkpoint(path). A frozen or inlined encoder, "
    "which spaCy does not initialise, is loaded by [initialize.before_init] @callbacks = "
    '"spacy-bert.LoadCheckpoint.v1".'
)


@serialize_attr.register(TokenizerSlot)
def serialize_tokenizer(_: TokenizerSlot, value: TokenizerSlot, name: str, model: Model) -> bytes:
    """RETURNS (bytes): The vocabulary and its settings; nothing for an empty slot."""
    return b"" if value.tokenizer is None else value.tokenizer.to_bytes()


@deserialize_attr.register(TokenizerSlot)
def deserialize_tokenizer(_: TokenizerSlot, value: bytes, name: str, model: Model) -> TokenizerSlot:
    """RETURNS (TokenizerSlot): What `serialize_tokenizer` wrote."""
    return TokenizerSlot(WordPieceTokenizer.from_bytes(value) if value else None)
