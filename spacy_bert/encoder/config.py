"""The sizes of a BERT and the numbers that are not weights: BertConfig <-> config.json."""

import json
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Dict, Tuple, Union

# HuggingFace's key -> ours. Read from left to right when loading, from right to left when saving.
HF_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "intermediate_size": "intermediate_width",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "type_vocab_size",
    "layer_norm_eps": "layer_norm_eps",
    "hidden_act": "activation",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "initializer_range": "initializer_range",
    "is_decoder": "causal",
}

ACTIVATIONS = ("gelu", "gelu_new", "relu")
# Other names that HuggingFace has for them.
ALIASES = {
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_python_tanh": "gelu_new",
}


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT encoder (Devlin et al. 2018, section 3). Defaults are BERT-base, uncased.

    vocab_size (int): Rows of the piece embedding.
    width (int): Size of a hidden vector, H in the paper.
    depth (int): Number of layers, L in the paper.
    heads (int): Attention heads, A in the paper; divides `width`.
    intermediate_width (int): Width of the feed-forward layer, 4H in the paper.
    max_positions (int): Longest sequence, [CLS] and [SEP] included.
    type_vocab_size (int): Number of segment types.
    layer_norm_eps (float): Epsilon of every LayerNorm.
    activation (str): "gelu" (with erf, the original), "gelu_new" (tanh approximation) or "relu".
    hidden_dropout (float): Dropout after the embeddings and after each sublayer.
    attention_dropout (float): Dropout on the attention probabilities.
    initializer_range (float): Standard deviation of the truncated normal initialisation.
    causal (bool): Each piece sees itself and what is left of it only: not the original, but the
        paper's left-to-right ablation (section 5.1). HuggingFace's `is_decoder`.
    RAISES: ValueError for sizes that cannot make a network; the message names the key.
    """

    vocab_size: int = 30522
    width: int = 768
    depth: int = 12
    heads: int = 12
    intermediate_width: int = 3072
    max_positions: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    activation: str = "gelu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    initializer_range: float = 0.02
    causal: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and (
                not isinstance(value, int) or isinstance(value, bool) or value < 1
            ):
                raise ValueError(
                    f"BERT config: {field.name} is {value!r}, but it must be a positive integer."
                )
            if field.type is float and (
                not isinstance(value, (int, float))
                or isinstance(value, bool)
                or not abs(value) <= sys.float_info.max  # NaN compares as false
            ):
                raise ValueError(
                    f"BERT config: {field.name} is {value!r}, but it must be a finite number."
                )
        if not isinstance(self.causal, bool):
            raise ValueError(
                f"BERT config: causal is {self.causal!r}, but it must be true or false."
            )
        if self.width % self.heads:
            raise ValueError(
                f"BERT config: width {self.width} cannot be divided among {self.heads} heads. "
                f"Choose heads that divide the width (the paper: width / 64)."
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"BERT config: activation is {self.activation!r}, but only "
                f"{', '.join(ACTIVATIONS)} are known."
            )
        for key in ("layer_norm_eps", "initializer_range"):
            if getattr(self, key) < 0:
                raise ValueError(
                    f"BERT config: {key} is {getattr(self, key)}, but it must be 0 or more."
                )
        for key in ("hidden_dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, key) < 1.0:
                raise ValueError(
                    f"BERT config: {key} is {getattr(self, key)}, but it must be in [0, 1)."
                )

    @property
    def head_width(self) -> int:
        """RETURNS (int): Width of one attention head."""
        return self.width // self.heads

    @classmethod
    def from_size(cls, size: str, **overrides: Any) -> "BertConfig":
        """A config by the name of its size.

        size (str): "tiny", "mini", "small", "medium", "base" or "large" (Turc et al. 2019 for the first four).
        **overrides: Any other field of the config.
        RETURNS (BertConfig): The config.
        RAISES: ValueError for an unknown name.
        """
        if size not in SIZES:
            raise ValueError(f"Unknown BERT size {size!r}; choose one of {', '.join(SIZES)}.")
        width, depth, heads = SIZES[size]
        sizes = dict(width=width, depth=depth, heads=heads, intermediate_width=4 * width)
        return cls(**{**sizes, **overrides})

    @classmethod
    def from_hf(cls, data: Dict[str, Any], *, source: str = "config.json") -> "BertConfig":
        """Read HuggingFace's form of the config.

        data (Dict[str, Any]): The content of a `config.json`.
        source (str): What to call it in an error.
        RETURNS (BertConfig): The config; keys that do not concern the encoder are ignored.
        RAISES: ValueError if it does not describe a BERT, or lacks a size.
        """
        model_type = data.get("model_type", "bert")
        if model_type != "bert":
            raise ValueError(
                f"{source} describes another network ({model_type!r}), but only BERT can be loaded "
                f'("model_type": "bert"). Choose a checkpoint of the BERT architecture.'
            )
        if data.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError(
                f"{source} asks for position_embedding_type "
                f"{data['position_embedding_type']!r}, but BERT's are 'absolute'."
            )
        if data.get("add_cross_attention"):
            raise ValueError(
                f"{source} describes a decoder of another encoder's output (add_cross_attention), "
                f"but BERT reads its text alone."
            )
        needed = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
        missing = [key for key in needed if key not in data]
        if missing:
            raise ValueError(
                f"{source} lacks {', '.join(missing)}: it does not describe a BERT encoder."
            )
        values = {ours: data[theirs] for theirs, ours in HF_KEYS.items() if theirs in data}
        activation = values.get("activation")
        if isinstance(activation, str):
            values["activation"] = ALIASES.get(activation, activation)
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_hf(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The config in the form of HuggingFace's `config.json`."""
        return {
            "model_type": "bert",
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
            **{theirs: getattr(self, ours) for theirs, ours in HF_KEYS.items()},
        }

    def replace(self, **changes: Any) -> "BertConfig":
        """RETURNS (BertConfig): A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The fields by our names."""
        return asdict(self)


# size -> width, depth, heads
SIZES: Dict[str, Tuple[int, int, int]] = {
    "tiny": (128, 2, 2),
    "mini": (256, 4, 4),
    "small": (512, 4, 8),
    "medium": (512, 8, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


def read_config(path: Union[str, Path]) -> BertConfig:
    """Read `config.json`.

    path (Union[str, Path]): The file.
    RETURNS (BertConfig): The config.
    RAISES: ValueError if it is no JSON or describes no BERT; FileNotFoundError if it is missing.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad JSON or UTF-8; too many digits, or brackets
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}, but a JSON object was expected.")
    return BertConfig.from_hf(data, source=str(path))
