"""A larger vocabulary for a checkpoint: what a new piece starts from."""

from dataclasses import replace
from typing import Dict, List

import torch
from torch import Tensor

from ..wordpiece import WordPieceTokenizer
from .checkpoint import Checkpoint

# Weights with a row for each piece.
BY_PIECE = ("encoder.embeddings.pieces.weight", "mlm.bias")


def extend_checkpoint(checkpoint: Checkpoint, tokenizer: WordPieceTokenizer) -> Checkpoint:
    """Give a checkpoint a larger vocabulary, for continued pretraining. A new piece starts from the
    mean of the pieces that it was cut into before: its row of the embedding, which is that of the
    decoder too, and its bias of the masked-LM head.

    checkpoint (Checkpoint): The checkpoint, with its tokenizer. It is not changed.
    tokenizer (WordPieceTokenizer): The new vocabulary, such as `extend_vocab` returns: the old
        pieces with their old ids, then the new ones.
    RETURNS (Checkpoint): The same with the new vocabulary.
    RAISES (ValueError): The checkpoint has no tokenizer, or the new one does not begin with it.
    """
    old = checkpoint.tokenizer
    if old is None:
        raise ValueError(
            f"Checkpoint ({checkpoint.source}) has no vocabulary that could be extended; load it "
            f"with its tokenizer."
        )
    n_old = len(old)
    if tokenizer.pieces[:n_old] != old.pieces or tokenizer.settings != old.settings:
        same = sum(a == b for a, b in zip(old.pieces, tokenizer.pieces))
        raise ValueError(
            f"The new vocabulary of {len(tokenizer)} pieces does not extend that of "
            f"{checkpoint.source}: {same} of its {n_old} pieces have the same id there, and all "
            f"should, with the same casing. Make it with `extend_vocab`, or with train-vocab "
            f"--extend."
        )
    # Checkpoints are often padded with rows that no piece has: those are filled first.
    n_rows = max(checkpoint.config.vocab_size, len(tokenizer))
    sources = _old_pieces(old, tokenizer.pieces[n_old:])
    weights: Dict[str, Tensor] = dict(checkpoint.weights)
    for name in BY_PIECE:
        if name in weights:
            weights[name] = _extend(weights[name], sources, n_old, n_rows)
    config = replace(checkpoint.config, vocab_size=n_rows)
    return replace(checkpoint, config=config, tokenizer=tokenizer, weights=weights)


def _old_pieces(old: WordPieceTokenizer, new: "tuple[str, ...]") -> List[Tensor]:
    """Ids of the pieces that each new one was cut into."""
    # Inside a word, a piece was cut as it would be after a word that ends where it begins: the
    # greedy cut has no memory but the mark.
    ids = {piece: index for index, piece in enumerate(old.pieces)}
    found = []
    for piece in new:
        if piece.startswith("##") and len(piece) > 2:
            found.append(torch.tensor(_cut(piece, ids, old.unk_id)))
        else:
            encoded = old.encode(piece).ids.tolist()
            found.append(torch.tensor(encoded or [old.unk_id]))
    return found


def _cut(piece: str, ids: Dict[str, int], unk_id: int) -> List[int]:
    """The longest pieces from left to right, of what stands inside a word."""
    cut: List[int] = []
    rest = piece[2:]
    while rest:
        length = next((n for n in range(len(rest), 0, -1) if f"##{rest[:n]}" in ids), 0)
        if not length:
            return [unk_id]
        cut.append(ids[f"##{rest[:length]}"])
        rest = rest[length:]
    return cut


def _extend(rows: Tensor, sources: List[Tensor], n_old: int, n_rows: int) -> Tensor:
    extended = rows.new_zeros((n_rows, *rows.shape[1:]))
    extended[: len(rows)] = rows
    for row, ids in enumerate(sources, start=n_old):
        extended[row] = rows[ids].mean(dim=0)
    return extended
