"""What sits on the encoder: Pooler, MaskedLMHead, NextSentenceHead (Devlin et al. 2018, section 3.1)."""

import torch
from torch import Tensor, nn

from .activations import ACTIVATIONS
from .config import BertConfig


class Pooler(nn.Module):
    """The [CLS] vector through a linear layer and tanh, as pretrained with next-sentence prediction."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)

    def forward(self, cls_rows: Tensor) -> Tensor:
        """cls_rows (Tensor): [CLS] vectors, shape (n, width).
        RETURNS (Tensor): Pooled vectors in (-1, 1), shape (n, width)."""
        return torch.tanh(self.dense(cls_rows))


class MaskedLMHead(nn.Module):
    """Scores of all pieces at masked rows: transform, activation, LayerNorm, decoder, bias.

    The decoder's matrix is the piece embedding itself (tied), so it is passed in and never stored twice.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = config.activation

    def forward(self, rows: Tensor, piece_embeddings: Tensor) -> Tensor:
        """rows (Tensor): Encoder vectors at the masked rows, shape (n_masked, width).
        piece_embeddings (Tensor): The encoder's piece embedding, shape (vocab_size, width).
        RETURNS (Tensor): Logits, shape (n_masked, vocab_size)."""
        return nn.functional.linear(self.transformed(rows), piece_embeddings, self.bias)

    def transformed(self, rows: Tensor) -> Tensor:
        """What the decoder is applied to, for a loss that does the rest itself.

        rows (Tensor): Encoder vectors, shape (n_masked, width).
        RETURNS (Tensor): Transformed vectors, shape (n_masked, width)."""
        return self.norm(ACTIVATIONS[self.activation].function(self.transform(rows)))


class NextSentenceHead(nn.Module):
    """Does segment B follow segment A? Logit 0: it does; logit 1: it is random (HuggingFace's order)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled (Tensor): The pooler's output, shape (n_seqs, width).
        RETURNS (Tensor): Logits, shape (n_seqs, 2)."""
        return self.dense(pooled)
