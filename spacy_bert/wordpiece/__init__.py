"""Text to WordPiece pieces, on the `tokenizers` library. Imports neither torch nor spaCy."""

from .masked_text import encode_masked
from .tokenizer import Encoded, WordPieceTokenizer
from .trainer import extend_vocab, train_vocab

__all__ = ["Encoded", "WordPieceTokenizer", "encode_masked", "extend_vocab", "train_vocab"]
