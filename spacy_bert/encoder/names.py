"""The names of weights: HuggingFace's, in all the versions that are about, and ours.

One table, `MODULES`, is read from right to left in loading and from left to right in saving.
"""

import logging
import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from .config import BertConfig

logger = logging.getLogger(__name__)

# Where modules are, by our name and by HuggingFace's -> for each its name there, ours and theirs,
# what it is, and its sizes by the names of BertConfig. "#" is the number of a layer; "a|b|c" are
# three modules whose rows, one above the other, are our one.
MODULES: Dict[Tuple[str, str], Tuple[Tuple[str, str, str, str], ...]] = {
    ("encoder.embeddings", "bert.embeddings"): (
        ("pieces", "word_embeddings", "embedding", "vocab_size width"),
        ("positions", "position_embeddings", "embedding", "max_positions width"),
        ("segments", "token_type_embeddings", "embedding", "type_vocab_size width"),
        ("norm", "LayerNorm", "norm", "width"),
    ),
    ("encoder.layers.#", "bert.encoder.layer.#"): (
        ("attention.qkv", "attention.self.query|key|value", "linear", "width width"),
        ("attention.out", "attention.output.dense", "linear", "width width"),
        ("attention_norm", "attention.output.LayerNorm", "norm", "width"),
        ("up", "intermediate.dense", "linear", "intermediate_width width"),
        ("down", "output.dense", "linear", "width intermediate_width"),
        ("output_norm", "output.LayerNorm", "norm", "width"),
    ),
    ("pooler", "bert.pooler"): (("dense", "dense", "linear", "width width"),),
    ("mlm", "cls.predictions"): (
        ("transform", "transform.dense", "linear", "width width"),
        ("norm", "transform.LayerNorm", "norm", "width"),
        ("bias", "bias", "vector", "vocab_size"),
    ),
    ("nsp", "cls"): (("dense", "seq_relationship", "linear", "2 width"),),
}
# What a module of each kind holds -> how many of its sizes make the shape.
TENSORS = {
    "embedding": {".weight": 2},
    "linear": {".weight": 2, ".bias": 1},
    "norm": {".weight": 1, ".bias": 1},
    "vector": {"": 1},
}

# How BERT's own names begin; where the model is the encoder alone, "bert." is left out. What begins
# otherwise is the head of another task.
OWN = ("bert.", "cls.predictions.", "cls.seq_relationship.")
BARE = ("embeddings.", "encoder.", "pooler.")
# Every BERT has it, so that what stands before it is the name of a module that the encoder was part of.
LANDMARK = "embeddings.word_embeddings.weight"
# Ends of names as they were in TensorFlow.
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# Constants that some versions of transformers saved among the weights.
BUFFERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")
# Copies that some versions saved -> what they are tied to.
TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


# Layers whose names are spelled out in an instant.
FEW = 1000


class Entry(NamedTuple):
    """One of our tensors, and where HuggingFace keeps it.

    ours (str): Our name.
    theirs (Tuple[str, ...]): Their names; several are stacked along the first dimension.
    shape (Tuple[int, ...]): The shape of each of theirs.
    """

    ours: str
    theirs: Tuple[str, ...]
    shape: Tuple[int, ...]

    @property
    def part(self) -> str:
        """RETURNS (str): "encoder", "pooler", "mlm" or "nsp"."""
        return part_of(self.ours)


def name_table(config: BertConfig) -> List[Entry]:
    """Spell out `MODULES` for a network.

    config (BertConfig): Its sizes.
    RETURNS (List[Entry]): One entry a tensor.
    """
    entries = []
    for (our_place, their_place), modules in MODULES.items():
        for layer in range(config.depth if "#" in our_place else 1):
            for ours, theirs, kind, sizes in modules:
                stem, dot, last = theirs.rpartition(".")
                names = [f"{their_place}.{stem}{dot}{name}" for name in last.split("|")]
                shape = [int(s) if s.isdigit() else getattr(config, s) for s in sizes.split()]
                for tensor, n_sizes in TENSORS[kind].items():
                    our_name = f"{our_place}.{ours}{tensor}".replace("#", str(layer))
                    their_names = (f"{name}{tensor}".replace("#", str(layer)) for name in names)
                    entries.append(Entry(our_name, tuple(their_names), tuple(shape[:n_sizes])))
    return entries


def part_of(name: str) -> str:
    """name (str): A name of ours. RETURNS (str): The part that it belongs to."""
    return name.split(".", 1)[0]


def their_names(tensors: Dict[str, Tensor], path: Path) -> Tuple[Dict[str, Tensor], List[str]]:
    """Give weights the names of `MODULES`, whatever version wrote them.

    tensors (Dict[str, Tensor]): The weights by the names in a file.
    path (Path): The file.
    RETURNS (Tuple[Dict[str, Tensor], List[str]]): BERT's own weights, and the names of those of other heads.
    RAISES: ValueError if one is there by two names, or none is an encoder's.
    """
    found: Dict[str, Tensor] = {}
    heads = []
    prefix = _prefix_of(tensors)
    for given, tensor in tensors.items():
        if not given.startswith(prefix):
            heads.append(given)
            continue
        name = given.removeprefix(prefix)
        full = f"bert.{name}" if name.startswith(BARE) else name
        for old, new in LEGACY.items():
            full = re.sub(f"{re.escape(old)}$", new, full)
        if full in BUFFERS:
            continue
        if full in found:
            raise ValueError(
                f"{path} holds {full} twice, by its old and by its new name, and it is unclear "
                f"which counts. Remove one."
            )
        if full.startswith(OWN):
            found[full] = tensor
        else:
            heads.append(given)
    if not any(name.startswith("bert.") for name in found):
        raise ValueError(
            f"{path} holds no encoder under BERT's names: found {some_of(sorted(tensors)) or 'nothing'}; "
            f"expected bert.{LANDMARK} and so on, all with the same beginning, whatever it is. Rename the "
            f"weights, or convert them with the library that they are of."
        )
    return found, sorted(heads)


def _prefix_of(tensors: Mapping[str, Tensor]) -> str:
    """What stands before the names of BERT's weights where a model with an encoder in it was saved as a
    whole; nothing if they are as usual, or there are several encoders."""
    landmarks = [name for name in tensors if f".{name}".endswith(f".{LANDMARK}")]
    if len(landmarks) != 1:
        return ""
    return landmarks[0].removesuffix(LANDMARK).removesuffix("bert.")


def tie(found: Dict[str, Tensor], path: Path) -> None:
    """Drop copies of tied weights; and the masked-LM head, with a warning, if they are no copies. In place.

    found (Dict[str, Tensor]): The weights by HuggingFace's names.
    path (Path): Their file.
    """
    differ = []
    for copy, original in TIED.items():
        if copy in found:
            tensor = found.pop(copy)
            if not torch.equal(found.setdefault(original, tensor), tensor):
                differ.append(f"{copy} differs from {original}")
    if differ:
        for name in [name for name in found if name.startswith("cls.predictions.")]:
            del found[name]
        logger.warning(
            "%s: %s, but in BERT they are one. The masked-LM head is left out; the encoder is not "
            "concerned.",
            path,
            " and ".join(differ),
        )


def to_ours(found: Dict[str, Tensor], config: BertConfig, path: Path) -> Dict[str, Tensor]:
    """`MODULES` from right to left.

    found (Dict[str, Tensor]): The weights by HuggingFace's names.
    config (BertConfig): The sizes of the network.
    path (Path): Their file.
    RETURNS (Dict[str, Tensor]): The weights by our names, fp32.
    RAISES: ValueError if some are missing, unknown or misshapen.
    """
    # Of few layers too many, the names are listed below. A damaged number may be a million, whose names
    # take all day to spell out.
    if config.depth > max(len(found), FEW):
        raise ValueError(
            f"{path} holds {len(found)} weights, but its config (config.json) describes a BERT of "
            f"{config.depth:,} layers (num_hidden_layers). Use the config that was saved with these "
            f"weights, or fetch both again."
        )
    table = name_table(config)
    # The encoder has to be there. Of the other parts, each is there completely or not at all.
    parts = {e.part for e in table if not found.keys().isdisjoint(e.theirs)} | {"encoder"}
    wanted = [entry for entry in table if entry.part in parts]
    expected = {name: entry.shape for entry in wanted for name in entry.theirs}
    _check_weights(found, expected, source=str(path))
    weights = {}
    for entry in wanted:
        tensors = [found[name].to(torch.float32) for name in entry.theirs]
        weights[entry.ours] = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return weights


def to_theirs(weights: Dict[str, Tensor], config: BertConfig, source: str) -> Dict[str, Tensor]:
    """`MODULES` from left to right.

    weights (Dict[str, Tensor]): The weights by our names.
    config (BertConfig): The sizes of the network.
    source (str): Where they come from, for messages.
    RETURNS (Dict[str, Tensor]): The weights by HuggingFace's names, fp32, on the CPU.
    RAISES: ValueError if some are missing, unknown or misshapen.
    """
    parts = {part_of(name) for name in weights} | {"encoder"}
    wanted = [entry for entry in name_table(config) if entry.part in parts]
    expected = {e.ours: (e.shape[0] * len(e.theirs), *e.shape[1:]) for e in wanted}
    _check_weights(weights, expected, source=f"Checkpoint ({source})")
    bare = not parts & {"mlm", "nsp"}
    tensors = {}
    for entry in wanted:
        tensor = weights[entry.ours].detach().to("cpu", torch.float32).contiguous()
        for name, rows in zip(entry.theirs, tensor.chunk(len(entry.theirs)), strict=True):
            tensors[name[len("bert.") :] if bare else name] = rows
    return tensors


def _check_weights(
    found: Mapping[str, Tensor], expected: Mapping[str, Tuple[int, ...]], *, source: str
) -> None:
    """Name every weight that is missing, unknown or misshapen."""
    both = [name for name in expected if name in found]
    faults = {
        "missing": [f"{n} {list(expected[n])}" for n in expected if n not in found],
        "unknown": [f"{n} {list(found[n].shape)}" for n in found if n not in expected],
        "misshapen": [
            f"{n} (found {list(found[n].shape)}, expected {list(expected[n])})"
            for n in both
            if found[n].shape != expected[n]
        ],
        "of the wrong type": [
            f"{n} (found {found[n].dtype}, expected floating point)"
            for n in both
            if not found[n].is_floating_point()
        ],
    }
    lines = [
        f"\n  {len(names)} {fault}: {some_of(names)}" for fault, names in faults.items() if names
    ]
    if lines:
        raise ValueError(
            f"{source} does not hold the weights of the BERT that its config (config.json) describes:"
            f"{''.join(lines)}\nUse the config that was saved with these weights, or fetch both "
            f"again."
        )


def some_of(names: Sequence[str], most: int = 8) -> str:
    """names (Sequence[str]): Names.
    most (int): How many to spell out.
    RETURNS (str): The first of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
