"""The BERT encoder (Devlin et al. 2018, section 3): Embeddings, Layer, BertEncoder, over packed rows.

Legend: R rows (pieces) of the batch, W width, F width of the feed-forward layer.
"""

from typing import Optional, Sequence, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import self_attention
from .config import BertConfig
from .dropout import dropout as drop
from .feed_forward import feed_forward
from .packing import LengthGroup, PackedPieces, length_groups


class Embeddings(nn.Module):
    """Sum of piece, position and segment embeddings, normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.pieces = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.max_positions, config.width)
        self.segments = nn.Embedding(config.type_vocab_size, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(self, pieces: PackedPieces, *, dropout: float = 0.0) -> Tensor:
        rows = self.pieces(pieces.ids) + self.segments(pieces.type_ids)  # (R, W)
        rows = self.norm(rows + self.positions(pieces.positions))
        return drop(rows, dropout)


class Attention(nn.Module):
    """Self-attention with its two projections; queries, keys and values in one product."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.attend = self_attention

    def forward(
        self,
        rows: Tensor,
        groups: Sequence[LengthGroup],
        cu_seqlens: Tensor,
        dropout: float,
        causal: bool,
    ) -> Tensor:
        attended = self.attend(
            self.qkv(rows),
            groups,
            heads=self.heads,
            dropout=dropout,
            causal=causal,
            cu_seqlens=cu_seqlens,
        )
        return self.out(attended)  # (R, W)


class Layer(nn.Module):
    """One Transformer layer, normalised after each sublayer (post-LN) as in the original."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.up = nn.Linear(config.width, config.intermediate_width)
        self.down = nn.Linear(config.intermediate_width, config.width)
        self.output_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.activation = config.activation

    def forward(
        self,
        rows: Tensor,
        groups: Sequence[LengthGroup],
        cu_seqlens: Tensor,
        hidden_dropout: float,
        attention_dropout: float,
        causal: bool,
    ) -> Tensor:
        rows = self.attend(rows, groups, cu_seqlens, hidden_dropout, attention_dropout, causal)
        return self.feed_forward(rows, hidden_dropout)

    def attend(
        self,
        rows: Tensor,
        groups: Sequence[LengthGroup],
        cu_seqlens: Tensor,
        hidden_dropout: float,
        attention_dropout: float,
        causal: bool,
    ) -> Tensor:
        attended = self.attention(rows, groups, cu_seqlens, attention_dropout, causal)
        return self.attention_norm(rows + drop(attended, hidden_dropout))  # (R, W)

    def feed_forward(self, rows: Tensor, hidden_dropout: float) -> Tensor:
        # (R, W) -> (R, F) -> (R, W)
        output = feed_forward(rows, self.up, self.down, activation=self.activation)
        return self.output_norm(rows + drop(output, hidden_dropout))


class BertEncoder(nn.Module):
    """The network from pieces to contextual vectors.

    config (BertConfig): Its sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.gradient_checkpointing = False

    def forward(
        self,
        pieces: PackedPieces,
        *,
        hidden_states: Optional[list] = None,
        causal: Optional[bool] = None,
    ) -> Tensor:
        """Encode a batch.

        pieces (PackedPieces): The sequences, [CLS] and [SEP] included. Sorted by length they are fastest:
            neighbours of one length are computed together.
        hidden_states (Optional[list]): Is given the output of the embeddings and of each layer, if a list.
        causal (Optional[bool]): Whether each piece sees itself and the pieces before it only (the
            paper's left-to-right ablation, section 5.1); None: as the config says.
        RETURNS (Tensor): The last layer's vectors, shape (n_rows, width).
        RAISES: ValueError if a sequence is longer than the position table.
        """
        config = self.config
        causal = config.causal if causal is None else causal
        if pieces.max_seqlen > config.max_positions:
            raise ValueError(
                f"A sequence of {pieces.max_seqlen} pieces is longer than the encoder's "
                f"{config.max_positions} positions. Use shorter windows."
            )
        # The rates are arguments of the layers, not state: recomputing a layer for its gradient
        # (gradient checkpointing) then sees what its first run saw, whatever mode the module is in.
        hidden_dropout = config.hidden_dropout if self.training else 0.0
        attention_dropout = config.attention_dropout if self.training else 0.0
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        groups = length_groups(pieces.lengths)
        rows = self.embeddings(pieces, dropout=hidden_dropout)
        if hidden_states is not None:
            hidden_states.append(rows)
        for layer in self.layers:
            arguments = (groups, pieces.cu_seqlens, hidden_dropout, attention_dropout, causal)
            if recompute:
                rows = checkpoint(layer, rows, *arguments, use_reentrant=False)
            else:
                rows = layer(rows, *arguments)
            if hidden_states is not None:
                hidden_states.append(rows)
        return rows


def compile_layers(encoder: BertEncoder) -> None:
    """Have torch.compile compile the layers. In place.

    encoder (BertEncoder): The encoder.
    """
    # Attention aside: each batch has groups of its own, and what was made of them would fit no other.
    # (No decorator of the function: importing torch's compiler takes seconds.)
    attend = torch.compiler.disable(self_attention)
    for layer in encoder.layers:
        cast(Layer, layer).attention.attend = attend
        layer.compile(dynamic=True)


def initialize_weights(module: nn.Module, *, std: float) -> None:
    """Give all weights below a module BERT's initial values: truncated normal for matrices and
    embeddings (cut at two standard deviations), zero biases, LayerNorms at one and zero. In place.

    module (nn.Module): The network or a part of it.
    std (float): Standard deviation, 0.02 in the original.
    """
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        if isinstance(part, (nn.Linear, nn.LayerNorm)) and part.bias is not None:
            nn.init.zeros_(part.bias)
