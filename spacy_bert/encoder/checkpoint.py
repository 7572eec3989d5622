"""A checkpoint directory in HuggingFace's form <-> Checkpoint.

    directory/
      config.json            BertConfig
      model.safetensors      the weights, by HuggingFace's names
      vocab.txt              one piece a line
      tokenizer_config.json  cased or uncased

Weights are read from safetensors or through `torch.load(weights_only=True)`: nothing that could
execute code is ever unpickled. names.py has the names that they go by.
"""

import errno
import glob
import json
import logging
import os
import re
import shutil
import time
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Set, Tuple, Union

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files import FULL, kind_of, make_folder, sync
from ..wordpiece import WordPieceTokenizer
from .config import BertConfig, read_config
from .names import part_of, some_of, their_names, tie, to_ours, to_theirs

logger = logging.getLogger(__name__)

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
# In order of preference. An index names the files of a model that was cut into shards.
WEIGHTS = (
    SAFETENSORS,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Either of the first two is a vocabulary; WordPieceTokenizer knows how they go together.
VOCABULARY = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
FORM = f"{CONFIG}, {SAFETENSORS} and {VOCABULARY[0]}"

# Parts beside the encoder -> HuggingFace's class for them; the first that finds its parts.
ARCHITECTURES: Tuple[Tuple[Set[str], str], ...] = (
    ({"pooler", "mlm", "nsp"}, "BertForPreTraining"),
    ({"mlm"}, "BertForMaskedLM"),
    ({"pooler", "nsp"}, "BertForNextSentencePrediction"),
    (set(), "BertModel"),
)

# What a run of pretraining, and a pipeline's training, name what they make.
BELOW = ("checkpoint-best", "checkpoint-last", "model-best")

LFS_POINTER = b"version https://git-lfs"
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
HUB_FILES = [CONFIG, *VOCABULARY, *WEIGHTS[:2], "model-*-of-*.safetensors"]
HUB_PICKLES = [*WEIGHTS[2:], "pytorch_model-*-of-*.bin"]


@dataclass
class Checkpoint:
    """An encoder, and what belongs to it.

    config (BertConfig): The sizes.
    tokenizer (Optional[WordPieceTokenizer]): The vocabulary and its settings; None if not wanted.
    weights (Dict[str, Tensor]): By our names, fp32: "encoder.*" and, where present, "pooler.*",
        "mlm.*", "nsp.*". Loaded ones are views of the file: copy them into a module
        (`load_state_dict`) before changing them.
    source (str): Where it came from: a directory, or an id of the hub.
    """

    config: BertConfig
    tokenizer: Optional[WordPieceTokenizer]
    weights: Dict[str, Tensor]
    source: str

    def part(self, name: str) -> Dict[str, Tensor]:
        """The weights of one module, by the names of its own state dict.

        name (str): "encoder", "pooler", "mlm" or "nsp".
        RETURNS (Dict[str, Tensor]): The weights; empty if the checkpoint lacks the part.
        """
        return {n[len(name) + 1 :]: t for n, t in self.weights.items() if part_of(n) == name}

    @property
    def parts(self) -> Set[str]:
        """RETURNS (Set[str]): The parts that are there: "encoder", "pooler", "mlm", "nsp"."""
        return {part_of(name) for name in self.weights}

    @property
    def has_pooler(self) -> bool:
        """RETURNS (bool): Whether there is a pretrained pooler."""
        return "pooler" in self.parts

    @property
    def has_mlm(self) -> bool:
        """RETURNS (bool): Whether there is a masked-LM head."""
        return "mlm" in self.parts

    @property
    def has_nsp(self) -> bool:
        """RETURNS (bool): Whether there is a next-sentence head."""
        return "nsp" in self.parts


def load_checkpoint(
    path_or_hub_id: Union[str, Path], *, revision: Optional[str] = None, tokenizer: bool = True
) -> Checkpoint:
    """Read a BERT checkpoint, ours or anyone's in HuggingFace's form.

    path_or_hub_id (Union[str, Path]): A directory, or a repository of the HuggingFace hub
        ("org/name"). A directory that exists wins, and a `Path` always means a directory.
    revision (Optional[str]): Branch, tag or commit; for the hub only.
    tokenizer (bool): Read the vocabulary too. Without it, its files need not be there.
    RETURNS (Checkpoint): What was found. Heads of other tasks are left out (logged at level INFO),
        and so is a masked-LM head whose decoder is not tied to the piece embedding (logged as a
        warning): BERT's is, so there is no place for another.
    RAISES: FileNotFoundError for what is missing; ValueError for what is no BERT, is damaged or
        does not fit the rest; ImportError if the hub is needed and `huggingface_hub` is not
        installed; OSError if the hub does not deliver.
    """
    directory = _locate(path_or_hub_id, revision)
    config = read_config(_existing(directory / CONFIG, "the sizes of the network"))
    pieces = _read_tokenizer(directory, config) if tokenizer else None
    return Checkpoint(config, pieces, _read_weights(directory, config), str(path_or_hub_id))


def save_checkpoint(path: Union[str, Path], checkpoint: Checkpoint) -> None:
    """Write a checkpoint in HuggingFace's form: `BertForPreTraining.from_pretrained(path)` opens
    it, or the class for the parts that are there. Parts that are absent are not written.

    All files are on the disk before the first gets its final name. A new directory appears in one
    step; in one that exists the files are replaced one by one, and those that do not belong to a
    checkpoint stay.

    path (Union[str, Path]): The directory, made if need be.
    checkpoint (Checkpoint): What to write; without a tokenizer, no vocabulary.
    RAISES: ValueError if weights are missing, unknown or misshapen, or the vocabulary is too long;
        OSError if the disk does not take it. What was at `path` is there then, unchanged.
    """
    path = Path(path).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise FileExistsError(
            f"{path} is a file, but a checkpoint is a directory. Choose another name, or remove it."
        )
    if checkpoint.tokenizer is not None:
        _check_vocabulary(checkpoint.tokenizer, checkpoint.config, checkpoint.source)
    tensors = to_theirs(checkpoint.weights, checkpoint.config, checkpoint.source)
    # Renaming works within one file system, and a directory that exists may be one of its own (a
    # mounted volume): then the temporary directory goes into it, not beside it.
    room = path if path.exists() else path.parent
    temporary = room / f".{path.name}-{uuid.uuid4().hex[:8]}.tmp"
    make_folder(room)
    try:
        _remove_abandoned(path)
        temporary.mkdir()
        _write(temporary, checkpoint, tensors)
        _publish(temporary, path)
    except (OSError, SafetensorError) as error:
        number, reason = os_error(error)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        remedy = "Choose another directory"
        if number in FULL:
            remedy = (
                f"It needs {size / 1e6:.1f} MB there, beside what it replaces: make room, or choose "
                f"another directory"
            )
        raise OSError(
            number, f"The checkpoint could not be saved as {path}: {reason}. {remedy}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# Where: directories and the hub.


def _locate(path_or_hub_id: Union[str, Path], revision: Optional[str]) -> Path:
    """The directory of a checkpoint, downloaded if that is what the name asks for."""
    path = Path(path_or_hub_id).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision {revision!r} was asked for, but {path} is a directory, and only "
                f"repositories of the hub have revisions. Leave it out, or name a repository."
            )
        return path
    if path.exists():
        raise NotADirectoryError(
            f"{path} is a file, but a checkpoint is a directory with {FORM}. Give the directory."
        )
    # What can only be a path never goes to the network: who mistypes a directory must read that it
    # is missing, and not be given a stranger's files of that name.
    if isinstance(path_or_hub_id, Path) or not HUB_ID.fullmatch(path_or_hub_id):
        raise FileNotFoundError(
            f"There is no directory {path} (looked from {Path.cwd()}). Give a directory with "
            f'{FORM}, or a repository of the HuggingFace hub as "org/name".'
        )
    return _download(path_or_hub_id, revision)


def _download(hub_id: str, revision: Optional[str]) -> Path:
    """Fetch a repository into HuggingFace's cache, without a second form of the weights."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ImportError(
            f"There is no directory {hub_id!r} (looked from {Path.cwd()}), and to look on the "
            f"HuggingFace hub the package huggingface_hub is needed. Check the path, or run: "
            f"pip install huggingface_hub"
        ) from None
    try:
        found = Path(snapshot_download(hub_id, revision=revision, allow_patterns=HUB_FILES))
        if not any((found / name).is_file() for name in WEIGHTS[:2]):
            found = Path(snapshot_download(hub_id, revision=revision, allow_patterns=HUB_PICKLES))
        return found
    except Exception as error:  # the hub's own, or its HTTP library's, which its versions change
        raise OSError(
            f"There is no directory {hub_id!r} (looked from {Path.cwd()}), and revision "
            f"{revision or 'main'} of {hub_id} could not be fetched from the HuggingFace hub: "
            f"{_first_line(error)} Check the name and the connection, or download the files by "
            f"other means and give their directory."
        ) from error


def _existing(path: Path, content: str) -> Path:
    """Make sure that a file is there, and that it is the file itself."""
    if os.path.lexists(path) and not path.is_file():
        raise FileNotFoundError(
            f"{path} is {kind_of(path)}, but the file with {content} was expected there. Put the file "
            f"itself there."
        )
    if not path.is_file():
        there = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
        if {"meta.json", "config.cfg"} <= {*there}:
            raise ValueError(
                f"{path.parent} is a spaCy pipeline, where {FORM} were expected. Load it with spacy.load; to train "
                f'it further by a config, name it there as the `source` of its components ("bert" and heads).'
            )
        below = next((name for name in BELOW if name in there), None)
        hint = f" Is {path.parent / below} what was meant?" if below else ""
        raise FileNotFoundError(
            f"{path} is missing, the file with {content}. Found there: "
            f"{some_of(there) or 'nothing'}. Expected {FORM}: fetch what is missing, or check the "
            f"path.{hint}"
        )
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file with {content}: the repository was cloned "
            f"without its large files. Run `git lfs pull` there, or download the file itself."
        )
    if not start:
        raise ValueError(f"{path}, the file with {content}, is empty. Copy or download it again.")
    return path


# The vocabulary.


def _read_tokenizer(directory: Path, config: BertConfig) -> WordPieceTokenizer:
    files = [directory / name for name in VOCABULARY if (directory / name).exists()]
    if not {file.name for file in files} & set(VOCABULARY[:2]):
        files = [directory / VOCABULARY[0]]
    for file in files:
        _existing(file, "the vocabulary and its settings")
    tokenizer = WordPieceTokenizer.from_disk(directory)
    _check_vocabulary(tokenizer, config, str(directory))
    return tokenizer


def _check_vocabulary(tokenizer: WordPieceTokenizer, config: BertConfig, source: str) -> None:
    # A shorter vocabulary is legal: embeddings are often padded to a round number of rows.
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"{source}: the vocabulary ({VOCABULARY[0]}) has {len(tokenizer)} pieces, but the "
            f"network embeds {config.vocab_size} (vocab_size in {CONFIG}). They are not of the "
            f"same checkpoint: use the {VOCABULARY[0]} that belongs to the weights."
        )


# Weights: files -> tensors by their names -> tensors by our names, and back.


def _read_weights(directory: Path, config: BertConfig) -> Dict[str, Tensor]:
    name = next((name for name in WEIGHTS if (directory / name).is_file()), SAFETENSORS)
    path = _existing(directory / name, "the weights")
    tensors = _read_shards(path) if name.endswith(".index.json") else _read_file(path)
    found, heads = their_names(tensors, path)
    if heads:
        logger.info("%s: left out what is not BERT's own: %s", path, some_of(heads, most=32))
    tie(found, path)
    return to_ours(found, config, path)


def _read_file(path: Path) -> Dict[str, Tensor]:
    """Tensors by the names in the file; views of it wherever its format allows."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # The format of torch before 1.6, no zip archive, cannot be mapped into memory.
        mmap = zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        raise ValueError(
            f"{path} ({path.stat().st_size / 1e6:.1f} MB) cannot be read: {_first_line(error)} It "
            f"is cut off or damaged, or holds more than tensors, which is never loaded. Copy or "
            f"download it again, or have it converted to {SAFETENSORS}."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        kinds = sorted({type(t).__name__ for t in getattr(content, "values", list)()})
        raise ValueError(
            f"{path} holds a {type(content).__name__} ({some_of(kinds)}), but a dictionary of "
            f"tensors by name was expected. Save the state dict of the model alone."
        )
    return dict(content)


def _read_shards(index: Path) -> Dict[str, Tensor]:
    """Tensors of all files that an index names."""
    try:
        weight_map = dict(json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f'{index} is no index of weights: expected a JSON object with a "weight_map" of weight '
            f"to file. Copy or download it again."
        ) from None
    tensors: Dict[str, Tensor] = {}
    for name in sorted({str(name) for name in weight_map.values()}):
        if Path(name).name != name:
            raise ValueError(
                f"{index} names the file {name!r}, but only files beside it are read. Put it there."
            )
        tensors.update(_read_file(_existing(index.parent / name, "a shard of the weights")))
    absent = sorted(set(weight_map) - set(tensors))
    if absent:
        raise ValueError(
            f"{index} names weights that its files lack: {some_of(absent)}. They are not of the same "
            f"model: copy or download all of them again."
        )
    return tensors


# Onto the disk.


def _write(directory: Path, checkpoint: Checkpoint, tensors: Dict[str, Tensor]) -> None:
    """Write all files, and wait for the disk: no file may get its final name before its content."""
    architecture = next(name for parts, name in ARCHITECTURES if parts <= checkpoint.parts)
    data = {"architectures": [architecture], **checkpoint.config.to_hf()}
    if checkpoint.tokenizer is not None:
        data["pad_token_id"] = checkpoint.tokenizer.pad_id
        checkpoint.tokenizer.to_disk(directory)
    config, weights = directory / CONFIG, directory / SAFETENSORS
    config.write_text(json.dumps(data, indent=2) + "\n", encoding="utf8")
    save_file(tensors, weights, metadata={"format": "pt"})
    shutil.copymode(config, weights)  # safetensors makes files that only their owner may read
    for path in [*directory.iterdir(), directory]:
        sync(path)


def _publish(temporary: Path, path: Path) -> None:
    """Give finished files their final names."""
    if not path.exists():
        temporary.rename(path)
    else:
        names = {file.name for file in temporary.iterdir()}
        if VOCABULARY[0] in names:  # what no new file replaces would be added to the new vocabulary
            (path / "added_tokens.json").unlink(missing_ok=True)
        for name in names:
            os.replace(temporary / name, path / name)
        sync(path)
    sync(path.parent)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed saves left behind. One that is still running is younger than an hour."""
    pattern = f".{glob.escape(path.name)}-????????.tmp"
    for temporary in [*path.parent.glob(pattern), *path.glob(pattern)]:
        if time.time() - temporary.stat().st_mtime > 3600:
            shutil.rmtree(temporary, ignore_errors=True)


# For messages.


def os_error(error: Exception) -> Tuple[int, str]:
    """Number and text of an error of the system, which safetensors has in its message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.strerror or str(error)
    number = re.search(r"(?:os error |code: )(\d+)", str(error))
    return (int(number[1]), os.strerror(int(number[1]))) if number else (errno.EIO, str(error))


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {line}."
