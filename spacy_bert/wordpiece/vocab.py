"""What a vocabulary must be: each id one piece, each piece one id, the special ones among them."""

import re
from collections.abc import Mapping
from typing import Dict, Sequence

from .settings import Settings

# A line of vocab.txt cannot hold these: HuggingFace reads it with universal newlines, as UTF-8.
_UNWRITABLE = re.compile("[\n\r\ud800-\udfff]")


def number_pieces(vocab: Sequence[str], settings: Settings) -> Dict[str, int]:
    """Number the pieces of a vocabulary, after checking it.

    vocab (Sequence[str]): The pieces in the order of their ids.
    settings (Settings): Names the special pieces.
    RETURNS (Dict[str, int]): Piece -> id.
    RAISES (ValueError): The vocabulary is empty, has a piece twice, lacks a special piece, or has
        a piece that no vocab.txt can hold.
    RAISES (TypeError): `vocab` is no list of str.
    """
    if isinstance(vocab, (str, bytes, Mapping)):
        raise TypeError(
            f"The vocabulary is a {type(vocab).__name__}; expected a list of pieces in the order "
            "of their ids. To read a folder, use WordPieceTokenizer.from_disk."
        )
    pieces = list(vocab)
    if not pieces:
        raise ValueError(
            "The vocabulary is empty; expected one piece for each id. Give a vocabulary, such as "
            "the lines of a BERT checkpoint's vocab.txt."
        )
    # All at once: one by one takes longer than reading the file.
    if set(map(type, pieces)) != {str} or _UNWRITABLE.search("".join(pieces)):
        for index, piece in enumerate(pieces):
            _check_piece(index, piece)
    if pieces[-1] == "":
        raise ValueError(
            f"The last piece, id {len(pieces) - 1}, is empty; expected text, as the end of a "
            "vocab.txt cannot show it. Leave it out: it can never be found in a text."
        )
    ids = {piece: index for index, piece in enumerate(pieces)}
    if len(ids) < len(pieces):
        second = next(index for index, piece in enumerate(pieces) if ids[piece] != index)
        raise ValueError(
            f"The vocabulary has the piece {pieces[second]!r} twice: with the ids {second} and "
            f"{ids[pieces[second]]} (lines {second + 1} and {ids[pieces[second]] + 1} of a "
            "vocab.txt). Expected every piece once; rename the one that was not trained."
        )
    missing = [
        f"{piece!r} ({name})" for name, piece in settings.specials.items() if piece not in ids
    ]
    if missing:
        raise ValueError(
            f"The vocabulary of {len(ids)} pieces lacks the special pieces {', '.join(missing)}. "
            "Expected all of unk, cls, sep, pad and mask; if they have other names here, say so "
            "('cls_token' and so on in tokenizer_config.json, or `cls=` and so on)."
        )
    return ids


def _check_piece(index: int, piece: object) -> None:
    if not isinstance(piece, str):
        raise TypeError(
            f"Piece {index} of the vocabulary is of type {type(piece).__name__}; expected str. "
            "Give the pieces themselves, in the order of their ids."
        )
    if _UNWRITABLE.search(piece):
        raise ValueError(
            f"Piece {index} of the vocabulary, {piece!r}, has a line break or a lone surrogate; "
            "expected text that a line of vocab.txt can hold. Rename it ('[unused]'): it can "
            "never be found in a text."
        )
