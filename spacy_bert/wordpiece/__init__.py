"""Text to WordPiece pieces, on the `tokenizers` library. Imports neither torch nor spaCy."""

from .tokenizer import Encoded, WordPieceTokenizer

__all__ = ["Encoded", "WordPieceTokenizer"]
