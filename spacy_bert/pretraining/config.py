"""What a pretraining run is to do: frozen dataclasses, one a section of `configs/pretrain.cfg`.

Strict: an unknown key, a value of the wrong type or one that cannot be is an error that names the
key, before any data is read. `config.cfg` in the run's folder is written and read here, so that a
resume needs no other library for it.
"""

import configparser
import difflib
import json
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

from ..encoder import SIZES, BertConfig
from ..encoder.config import ACTIVATIONS

PRECISIONS = ("auto", "fp32", "bf16")
SCHEDULES = ("linear", "cosine", "constant")
MASKINGS = ("dynamic", "static")

# What may differ when a run goes on. These change when it ends, what is written and where it runs,
# not which way the weights take: all others do. (The learning rate follows `max_steps`, so a run
# that is prolonged goes on at another rate; that is what prolonging means.)
MAY_CHANGE = (
    "paths.store",  # moved; its content is compared
    "paths.vocab",
    "paths.checkpoint",
    "training.max_steps",
    "training.max_hours",
    "training.eval_every",
    "training.save_every",
    "training.device",
    "training.compile",
    "logging.every",
    "logging.samples",
    "logging.tensorboard",
    "logging.wandb",
)

Rule = Tuple[Callable[[Any], bool], str]
POSITIVE: Rule = (lambda value: value > 0, "more than 0")
NOT_NEGATIVE: Rule = (lambda value: value >= 0, "0 or more")
SHARE: Rule = (lambda value: 0 <= value <= 1, "from 0 to 1")
BELOW_ONE: Rule = (lambda value: 0 <= value < 1, "0 or more, and less than 1")
INSIDE: Rule = (lambda value: 0 < value < 1, "between 0 and 1")


def one_of(*choices: str) -> Rule:
    """choices (str): The values that are known.
    RETURNS (Rule): A rule that a value is one of them."""
    return (lambda value: value in choices, f"one of {', '.join(map(repr, choices))}")


def _key(default: Any, rule: Optional[Rule] = None) -> Any:
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class Paths:
    """`[paths]`: what to read.

    store (str): Folder of a token store, as `prepare` writes it.
    vocab (Optional[str]): Folder of the vocabulary that the store must have been made with; None: any.
    checkpoint (Optional[str]): Checkpoint to go on from; None: random weights.
    """

    store: str
    vocab: Optional[str] = None
    checkpoint: Optional[str] = None


@dataclass(frozen=True)
class Encoder:
    """`[encoder]`: the network. What is None comes from `size`, or from the checkpoint.

    size (Optional[str]): A name of `SIZES`; None where all dimensions are given, or a checkpoint
        brings its own. Where nothing at all is given, "mini".
    width, depth, heads, intermediate_width, max_positions, activation, layer_norm_eps,
    hidden_dropout, attention_dropout, initializer_range: As in BertConfig.
    """

    size: Optional[str] = _key(None, one_of(*SIZES))
    width: Optional[int] = _key(None, POSITIVE)
    depth: Optional[int] = _key(None, POSITIVE)
    heads: Optional[int] = _key(None, POSITIVE)
    intermediate_width: Optional[int] = _key(None, POSITIVE)
    max_positions: Optional[int] = _key(None, POSITIVE)
    activation: Optional[str] = _key(None, one_of(*ACTIVATIONS))
    layer_norm_eps: Optional[float] = _key(None, POSITIVE)
    hidden_dropout: float = _key(0.1, BELOW_ONE)
    attention_dropout: float = _key(0.1, BELOW_ONE)
    initializer_range: Optional[float] = _key(None, POSITIVE)

    def sizes(self, vocab_size: int, base: Optional[BertConfig] = None) -> BertConfig:
        """The network that is asked for.

        vocab_size (int): Pieces of the vocabulary.
        base (Optional[BertConfig]): The network of the checkpoint to go on from, if there is one.
        RETURNS (BertConfig): Its sizes.
        RAISES (ValueError): Sizes are missing, impossible, or not those of the checkpoint.
        """
        asked = {key: value for key, value in asdict(self).items() if value is not None}
        size = asked.pop("size", None)
        if size is None and base is None and not {"width", "depth", "heads"} & set(asked):
            size = "mini"
        if size is not None:
            width, depth, heads = SIZES[size]
            asked = {"width": width, "depth": depth, "heads": heads, **asked}
        if base is not None:
            for key in asked:
                if "dropout" in key or key == "initializer_range":
                    continue
                if asked[key] != getattr(base, key):
                    by_size = f' (by size = "{size}")' if getattr(self, key) is None else ""
                    raise ValueError(
                        f"[encoder] asks for {key} = {asked[key]}{by_size}, but the checkpoint to "
                        f"go on from has {getattr(base, key)}. Set {'size' if by_size else key} to "
                        f"null: a checkpoint brings its own sizes."
                    )
            return base.replace(**asked)
        missing = [key for key in ("width", "depth", "heads") if key not in asked]
        if missing:
            raise ValueError(
                f"[encoder] lacks {', '.join(missing)}. Name a size ({', '.join(SIZES)}), give all "
                f"dimensions, or name a checkpoint to go on from under [paths]."
            )
        asked.setdefault("intermediate_width", 4 * asked["width"])
        return BertConfig(vocab_size=vocab_size, **asked)


@dataclass(frozen=True)
class Objective:
    """`[objective]`: what is learnt (Devlin et al. 2018, section 3.1).

    nsp (bool): Next-sentence prediction; False: one long segment of contiguous text.
    masking (str): "dynamic": new masks at each visit; "static": `duplicates` versions, in turn.
    duplicates (int): How many versions (the original had 10).
    whole_word (bool): Mask all pieces of a word, or none.
    causal (bool): Left to right: each row tells the next piece (the paper's ablation, 5.1).
    mask_share (float): How many pieces of a sequence are to be told.
    mask_as_mask (float): How many of those are shown as [MASK].
    mask_as_random (float): How many are shown as a random piece; the rest is shown as it is.
    short_share (float): How many sequences are shorter than they could be.
    """

    nsp: bool = True
    masking: str = _key("dynamic", one_of(*MASKINGS))
    duplicates: int = _key(10, POSITIVE)
    whole_word: bool = False
    causal: bool = False
    mask_share: float = _key(0.15, (lambda v: 0 < v <= 1, "more than 0, at most 1"))
    mask_as_mask: float = _key(0.8, SHARE)
    mask_as_random: float = _key(0.1, SHARE)
    short_share: float = _key(0.1, SHARE)


@dataclass(frozen=True)
class Training:
    """`[training]`: how long, how much at a time, and when to look.

    max_steps (Optional[int]): Steps of the optimizer; None: as many as `max_hours` has room for.
    max_hours (Optional[float]): Hours to stop after; None: no limit. Whichever comes first; the
        learning rate falls with what is further along.
    batch_pieces (int): Pieces that are computed together.
    accumulate (int): How many such batches make a step.
    max_length (int): Longest sequence in pieces, [CLS] and [SEP] included.
    final_length (Optional[int]): Longest sequence in the last part of the run; None: the same.
    final_share (float): That part (the paper: the last tenth at 512, after 128; appendix A.2).
    precision (str): Of matrix products: "fp32", "bf16", or "auto": bf16 where the hardware has it.
    seed (int): Decides the weights, the order, the pairs, the masks and the dropout.
    held_out (float): How many of the documents are kept for evaluation; 0: no evaluation.
    eval_every (int): Steps from one evaluation to the next.
    eval_pieces (int): About how many pieces to evaluate on; 0: all that are held out.
    save_every (int): Steps from one saved state to the next: what a killed run loses at most.
    device (str): "auto", "cpu", "cuda" or "cuda:1".
    compile (bool): Compile the network with torch.compile; needs a C++ compiler (CPU) or Triton (GPU).
    gradient_checkpointing (bool): Less memory, for about a third more time.
    """

    max_steps: Optional[int] = _key(None, POSITIVE)
    max_hours: Optional[float] = _key(None, POSITIVE)
    batch_pieces: int = _key(8192, POSITIVE)
    accumulate: int = _key(1, POSITIVE)
    max_length: int = _key(128, (lambda value: value >= 8, "8 or more"))
    final_length: Optional[int] = _key(None, (lambda value: value >= 8, "8 or more"))
    final_share: float = _key(0.1, INSIDE)
    precision: str = _key("auto", one_of(*PRECISIONS))
    seed: int = _key(0, (lambda value: 0 <= value < 2**63, "0 or more"))
    held_out: float = _key(0.02, BELOW_ONE)
    eval_every: int = _key(1000, POSITIVE)
    eval_pieces: int = _key(200_000, NOT_NEGATIVE)
    save_every: int = _key(1000, POSITIVE)
    device: str = _key(
        "auto",
        (lambda v: v in ("auto", "cpu") or v.startswith("cuda"), "'auto', 'cpu' or 'cuda'"),
    )
    compile: bool = False
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class Optimizer:
    """`[optimizer]`: AdamW (Devlin et al. 2018, appendix A.2).

    learn_rate (float): The highest rate.
    warmup_steps (int): Steps in which the rate rises.
    schedule (str): How it falls to zero after that: "linear", "cosine"; "constant": not at all.
    beta1, beta2, eps: Of Adam.
    weight_decay (float): Decay per unit of rate; of matrices, not of biases and LayerNorms.
    grad_clip (float): Greatest norm of the gradient; 0: any.
    """

    learn_rate: float = _key(1e-4, POSITIVE)
    warmup_steps: int = _key(1000, NOT_NEGATIVE)
    schedule: str = _key("linear", one_of(*SCHEDULES))
    beta1: float = _key(0.9, BELOW_ONE)
    beta2: float = _key(0.999, BELOW_ONE)
    eps: float = _key(1e-6, POSITIVE)
    weight_decay: float = _key(0.01, NOT_NEGATIVE)
    grad_clip: float = _key(1.0, NOT_NEGATIVE)


@dataclass(frozen=True)
class Logging:
    """`[logging]`: what is written down beside the weights.

    every (int): Steps from one line to the next.
    samples (int): How many held-out texts to fill a gap in at each evaluation.
    tensorboard (bool): Write for TensorBoard too (extra `tensorboard`).
    wandb (Optional[str]): Project of Weights & Biases to write to (extra `wandb`).
    """

    every: int = _key(50, POSITIVE)
    samples: int = _key(5, NOT_NEGATIVE)
    tensorboard: bool = False
    wandb: Optional[str] = None


@dataclass(frozen=True)
class PretrainConfig:
    """A whole run.

    paths (Paths), encoder (Encoder), objective (Objective), training (Training),
    optimizer (Optimizer), logging (Logging): The sections.
    RAISES (ValueError): A value is of the wrong type or cannot be; the message names the key.
    """

    paths: Paths
    encoder: Encoder = field(default_factory=Encoder)
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    optimizer: Optimizer = field(default_factory=Optimizer)
    logging: Logging = field(default_factory=Logging)

    def __post_init__(self) -> None:
        for section in fields(self):
            value = getattr(self, section.name)
            if not isinstance(value, section.type):  # type: ignore[arg-type]
                raise ValueError(
                    f"The section [{section.name}] is a {type(value).__name__}, but "
                    f"{section.type.__name__} was expected."  # type: ignore[union-attr]
                )
            _check_section(section.name, value)
        self._check_together()

    def _check_together(self) -> None:
        objective, training, encoder = self.objective, self.training, self.encoder
        if objective.causal and objective.nsp:
            raise ValueError(
                "[objective] has causal = true and nsp = true, but a row that sees only what is "
                "left of it cannot tell whether the next sentence follows: [CLS] comes first. Set "
                "nsp = false."
            )
        if objective.causal and objective.whole_word:
            raise ValueError(
                "[objective] has causal = true and whole_word = true, but left to right nothing is "
                "masked. Set whole_word = false."
            )
        if objective.mask_as_mask + objective.mask_as_random > 1:
            raise ValueError(
                f"[objective] has mask_as_mask = {objective.mask_as_mask} and mask_as_random = "
                f"{objective.mask_as_random}: together more than 1. The rest, that is shown as it "
                f"is, needs what they leave (the paper: 0.8, 0.1, and 0.1 left)."
            )
        if training.max_steps is None and training.max_hours is None:
            raise ValueError(
                "[training] has neither max_steps nor max_hours, so the run would never end, and "
                "the learning rate has no end to fall towards. Set one of them."
            )
        for key in ("max_length", "final_length"):
            length = getattr(training, key) or 0
            if length > training.batch_pieces:
                raise ValueError(
                    f"[training] has {key} = {length}, but batch_pieces = {training.batch_pieces}: "
                    f"a batch has no room for one sequence. Raise batch_pieces, or shorten {key}."
                )
            if encoder.max_positions is not None or self.paths.checkpoint is None:
                check_length(key, length, encoder.max_positions or BertConfig().max_positions)
        if self.paths.checkpoint is None:
            encoder.sizes(BertConfig().vocab_size)  # before any data is read

    @property
    def lengths(self) -> Tuple[int, int]:
        """RETURNS (Tuple[int, int]): Longest sequence in the first and in the last part of the run."""
        return self.training.max_length, self.training.final_length or self.training.max_length

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PretrainConfig":
        """data (Mapping[str, Any]): The sections, as a parsed config file has them; what is left out
            has its default, except [paths].
        RETURNS (PretrainConfig): The config.
        RAISES (ValueError): A section or key is unknown, missing, or has an impossible value."""
        return _from_dict(cls, data, "")

    def to_dict(self) -> Dict[str, Dict[str, Any]]:
        """RETURNS (Dict[str, Dict[str, Any]]): The sections and their keys."""
        return asdict(self)

    def to_str(self) -> str:
        """RETURNS (str): The config as a config file, every key written out."""
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in section.items())
            for name, section in self.to_dict().items()
        )

    @classmethod
    def from_str(cls, text: str, *, source: str) -> "PretrainConfig":
        """text (str): What `to_str` wrote.
        source (str): What to call it in an error.
        RETURNS (PretrainConfig): The config.
        RAISES (ValueError): It is something else."""
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(text)
            sections = {
                name: {key: json.loads(value) for key, value in parser[name].items()}
                for name in parser.sections()
            }
            return cls.from_dict(sections)
        except (configparser.Error, ValueError) as error:
            raise ValueError(
                f"{source} is not the config of a run of this version: {error} It was changed or "
                f"damaged. Restore it, or start again in another folder."
            ) from None

    def differences(self, other: "PretrainConfig") -> List[str]:
        """other (PretrainConfig): Another config.
        RETURNS (List[str]): The keys that differ, "section.key"."""
        ours, theirs = self.to_dict(), other.to_dict()
        return [f"{s}.{k}" for s in ours for k in ours[s] if ours[s][k] != theirs[s][k]]

    def value(self, key: str) -> Any:
        """key (str): "section.key". RETURNS (Any): Its value."""
        section, name = key.split(".")
        return getattr(getattr(self, section), name)


def check_length(key: str, length: int, positions: int) -> None:
    """key (str): Name of the length under [training].
    length (int): Pieces of the longest sequence.
    positions (int): How many the encoder has.
    RAISES (ValueError): There are fewer."""
    if length > positions:
        raise ValueError(
            f"[training] has {key} = {length}, but the encoder has {positions} positions "
            f"(max_positions under [encoder]). Shorten the sequences, or give it more positions."
        )


Section = TypeVar("Section")


def _from_dict(cls: Type[Section], data: Mapping[str, Any], where: str) -> Section:
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise ValueError(
                f"Unknown {_named(where, key)}. {hint}Known there: {', '.join(hints)}."
            )
    values: Dict[str, Any] = {}
    for name, value in data.items():
        if is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise ValueError(f"[{name}] is {value!r}, but a section was expected.")
            value = _from_dict(hints[name], value, name)
        values[name] = value
    if not where and "paths" not in values:
        raise ValueError("The section [paths] is missing: it names the token store to train on.")
    if where == "paths" and values.get("store") is None:
        raise ValueError(
            "[paths] names no store. Set store to the folder of a token store, as `prepare` writes "
            "it; on the command line: --paths.store FOLDER"
        )
    return cls(**values)


def _named(section: str, key: str) -> str:
    return f"key {key!r} in the section [{section}]" if section else f"section [{key}]"


def _check_section(name: str, section: Any) -> None:
    """Types and rules of each key."""
    hints = typing.get_type_hints(type(section))
    for key in fields(section):
        value, hint = getattr(section, key.name), hints[key.name]
        kinds = typing.get_args(hint) if typing.get_origin(hint) is Union else (hint,)
        if not any(_is(value, kind) for kind in kinds):
            expected = " or ".join(NAMES.get(kind, "null") for kind in kinds)
            raise ValueError(f"[{name}] {key.name} is {value!r}, but it must be {expected}.")
        rule: Optional[Rule] = key.metadata.get("rule")
        if rule is not None and value is not None and not rule[0](value):
            raise ValueError(f"[{name}] {key.name} is {value!r}, but it must be {rule[1]}.")


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:  # and no NaN or infinity
        return isinstance(value, (int, float)) and abs(value) < float("inf")
    return isinstance(value, kind)
