"""What a resume needs, on disk: weights, moments, random numbers, position, counts.

    RUN/
      lock                                    held while a process writes to the run
      state/
        00001000-6f1c0f0b9a3d4e21.safetensors   step and checksum are the name, so a file and what
        00002000-02ab77d1c95e6f38.safetensors   it must be appear in one step; the last two are kept

A state is written to a temporary name, waited for, and renamed: a killed process leaves the last
two as they were. What does not match its checksum is passed over.
"""

import errno
import json
import logging
import os
import re
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..encoder import BertConfig
from ..encoder.checkpoint import os_error
from ..files import sync
from .store import file_checksum

try:
    import fcntl
except ImportError:  # Windows knows no such locks
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

FORMAT = "spacy-bert.RunState.v1"
FOLDER, LOCK, KEPT = "state", "lock", 2
NAME = re.compile(r"(\d{8,})-([0-9a-f]{16})\.safetensors")


@dataclass
class Progress:
    """Where a run is: everything but tensors, JSON-able.

    step (int): Steps taken.
    seconds (float): Time used, interruptions not counted.
    pieces (int): Pieces read.
    position (List[int]): Of the next batch, a `Position`.
    evaluated (int): Step of the last evaluation; -1: none.
    best_score (Optional[float]): Lowest held-out loss.
    best_step (int): When it was reached.
    metrics_bytes (int): How long metrics.jsonl is.
    tally (List[float]): Sums since the last line of it.
    store (str): Fingerprint of the token store.
    sizes (Dict[str, Any]): Of the network, as `BertConfig` takes them.
    """

    step: int = 0
    seconds: float = 0.0
    pieces: int = 0
    position: List[int] = field(default_factory=lambda: [0, 0, 0, 0])
    evaluated: int = -1
    best_score: Optional[float] = None
    best_step: int = -1
    metrics_bytes: int = 0
    tally: List[float] = field(default_factory=list)
    store: str = ""
    sizes: Dict[str, Any] = field(default_factory=dict)


def save_state(
    run: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Path:
    """Write the state of a run, and remove all but the last two.

    run (Path): Folder of the run.
    progress (Progress): Where it is.
    model (nn.Module): The weights.
    optimizer (torch.optim.Optimizer): The moments.
    RETURNS (Path): The file.
    RAISES (OSError): The disk does not take it. The states that were there still are.
    """
    folder = run / FOLDER
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    metadata = {"format": FORMAT, "progress": json.dumps(asdict(progress))}
    tensors = _tensors(model, optimizer)
    try:
        folder.mkdir(exist_ok=True)
        save_file(tensors, temporary, metadata=metadata)
        sync(temporary)
        path = folder / f"{progress.step:08d}-{_checksum(temporary)}.safetensors"
        os.replace(temporary, path)
        sync(folder)
    except (OSError, SafetensorError) as error:
        number, reason = os_error(error)
        raise OSError(
            number, f"The state of step {progress.step} could not be saved: {reason}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in _states(run)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_state(run: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Optional[Progress]:
    """Take the last state of a run that is whole into model, optimizer and torch's generators.

    run (Path): Folder of the run.
    model (nn.Module): A network of the same sizes; changed in place.
    optimizer (torch.optim.Optimizer): An optimizer of it; changed in place.
    RETURNS (Optional[Progress]): Where the run was; None if nothing was saved yet. What is passed
        over is logged as a warning.
    RAISES (ValueError): There are states, and none is whole.
    """
    for leftover in (run / FOLDER).glob("*.tmp"):
        leftover.unlink(missing_ok=True)
    states = _states(run)
    for path in states:
        fault = _fault(path)
        if fault is None:
            return _restore(path, model, optimizer)
        logger.warning("%s is passed over: %s. The state before it is used.", path, fault)
    if states:
        raise ValueError(
            f"None of the {len(states)} states in {run / FOLDER} is whole: they are torn or "
            f"damaged. Restore one, or start again in another folder, from {run}/checkpoint-last "
            f"(--paths.checkpoint) if it is there."
        )
    return None


def has_state(run: Path) -> bool:
    """run (Path): Folder of a run.
    RETURNS (bool): Whether a state was saved there, whole or not."""
    return bool(_states(run))


def saved_sizes(run: Path) -> Optional[BertConfig]:
    """run (Path): Folder of a run.
    RETURNS (Optional[BertConfig]): The sizes of the network in its last state that can be opened, which
        are those of all; None if there is none."""
    for path in _states(run):
        with suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
            with safe_open(path, framework="pt") as file:
                progress = json.loads(file.metadata()["progress"])
            return BertConfig(**progress["sizes"])
    return None


def _states(run: Path) -> List[Path]:
    """The files with names of states, the last first."""
    found = [path for path in (run / FOLDER).glob("*.safetensors") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (int(path.name.split("-")[0]), _modified(path)))[::-1]


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns


def _fault(path: Path) -> Optional[str]:
    match = NAME.fullmatch(path.name)
    assert match is not None
    found = _checksum(path)
    if found != match[2]:
        return f"its checksum is {found}, expected {match[2]}: it is torn or damaged"
    return None


def _checksum(path: Path) -> str:
    return file_checksum(path)[:16]


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    names: Dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        tensors.update({f"{key}.{names[parameter]}": value for key, value in state.items()})
    tensors["random.cpu"] = torch.get_rng_state()
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"{path} has the format {metadata.get('format')!r}, but {FORMAT!r} was expected. "
                f"Resume with the version of spacy_bert that wrote it."
            )
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    data = json.loads(metadata["progress"])
    progress = Progress(**{f.name: data[f.name] for f in fields(Progress) if f.name in data})
    weights = {n[len("model.") :]: t for n, t in tensors.items() if n.startswith("model.")}
    model.load_state_dict(weights)
    state: Dict[nn.Parameter, Dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors]
        # torch keeps its count of steps beside the parameters when it is fused.
        state[parameter] = {k: tensors[f"{k}.{name}"].to(parameter.device) for k in keys}
    optimizer.state.update({parameter: values for parameter, values in state.items() if values})
    torch.set_rng_state(tensors["random.cpu"])
    device = next(model.parameters()).device
    if "random.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    return progress


class RunLock:
    """Holds a run's folder, so that no second process writes to it. The system gives a lock back
    when its process ends, however it ends: a killed run blocks nobody.

    run (Path): Folder of the run; it exists.
    RAISES (BlockingIOError): Another process holds it.
    """

    def __init__(self, run: Path) -> None:
        self._file = (run / LOCK).open("a+", encoding="utf8")
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip()
            self._file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BlockingIOError(
                error.errno,
                f"{run} is being written by another run (process {owner or 'unknown'}). Wait until "
                f"it ends, or give another folder",
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Give it back."""
        self._file.close()
