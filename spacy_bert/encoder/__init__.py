"""The network, in torch alone: runs where spaCy is not installed."""

from .bert import BertEncoder, initialize_weights
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .config import SIZES, BertConfig, read_config
from .heads import MaskedLMHead, NextSentenceHead, Pooler
from .packing import PackedPieces, pack, pack_rows, unpack
from .vocabulary import extend_checkpoint

__all__ = [
    "SIZES",
    "BertConfig",
    "BertEncoder",
    "Checkpoint",
    "MaskedLMHead",
    "NextSentenceHead",
    "PackedPieces",
    "Pooler",
    "extend_checkpoint",
    "initialize_weights",
    "load_checkpoint",
    "pack",
    "pack_rows",
    "read_config",
    "save_checkpoint",
    "unpack",
]
