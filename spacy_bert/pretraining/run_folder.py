"""The folder of a run: who may begin there, and who may go on there.

RUN/
  config.cfg         the configuration, every key written out
  metrics.jsonl      what was measured, one event a line
  checkpoint-best/   lowest held-out loss; HuggingFace's form
  checkpoint-last/
  state/  lock       for a resume
"""

import shutil
from pathlib import Path
from typing import List, Tuple

from ..files import replacing
from .config import MAY_CHANGE, PretrainConfig
from .metrics import METRICS
from .state import FOLDER, LOCK, has_state

CONFIG = "config.cfg"
BEST, LAST = "checkpoint-best", "checkpoint-last"


def check_folder(run: Path, config: PretrainConfig, *, resume: bool) -> List[str]:
    """Whether a run may write to a folder. Changes nothing.

    run (Path): The folder.
    config (PretrainConfig): What is to be done there.
    resume (bool): Whether to go on with what is there; where nothing is, the run begins.
    RETURNS (List[str]): What is different from before, of what may be; to be said.
    RAISES (OSError): It is no folder, or not empty.
    RAISES (ValueError): What is there is no run, or was begun with another configuration.
    """
    if run.exists() and not run.is_dir():
        raise NotADirectoryError(f"{run} is a file. Give a folder for the run, or a new name.")
    there = _content(run)
    if not there:
        return []
    if not resume:
        is_run = (run / CONFIG).is_file()
        raise FileExistsError(
            f"{run} is not empty ({', '.join(there[:5])}{', ...' * (len(there) > 5)}). "
            + ("To go on with the run in it, resume (--resume). " if is_run else "")
            + "To begin a new run, give another folder, or remove this one."
        )
    if not (run / CONFIG).is_file():
        raise ValueError(
            f"{run} is not the folder of a run: it has no {CONFIG} (found {', '.join(there[:5])}). "
            f"Check the path."
        )
    text = (run / CONFIG).read_text(encoding="utf8")
    before = PretrainConfig.from_str(text, source=str(run / CONFIG))
    if not has_state(run):
        kept = [run / name for name in (LAST, BEST) if (run / name).exists()]
        if kept and _has_trained(run):
            raise ValueError(
                f"{run} has {' and '.join(path.name for path in kept)}, but no state to go on from "
                f"({FOLDER}/ is empty or gone). To take over the weights, begin a new run in another folder "
                f'with paths.checkpoint = "{kept[0]}".'
            )
        return []  # it failed, or was killed, before it began: nothing is lost
    changes = [(key, before.value(key), config.value(key)) for key in before.differences(config)]
    lines = [f"{key}: was {_shown(was)}, is {_shown(now)}" for key, was, now in changes]
    if any(key not in MAY_CHANGE for key, _, _ in changes):
        listed = "".join(
            f"\n  {line}{'' if key in MAY_CHANGE else '  <-'}"
            for line, (key, _, _) in zip(lines, changes)
        )
        raise ValueError(
            f"The run in {run} was begun with another configuration:{listed}\nWhat is marked "
            f"cannot change on the way: the run would be neither the one nor the other. Set it as "
            f"it was, or begin a new run in another folder (paths.checkpoint = "
            f'"{run / LAST}" takes over the weights).'
        )
    return lines


def prepare_folder(run: Path, config: PretrainConfig) -> None:
    """Write the configuration, and clear away what a killed process left behind. The caller holds
    the lock.

    run (Path): The folder; it exists.
    config (PretrainConfig): What is to be done there.
    """
    # A checkpoint that is replaced is written inside of the old one first.
    for leftover in [*run.glob(".*.tmp"), *run.glob("checkpoint-*/.*.tmp")]:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    with replacing(run / CONFIG) as temporary:
        temporary.write_text(config.to_str(), encoding="utf8")


def _has_trained(run: Path) -> bool:
    """Whether there may be more in its checkpoints than what it began with: the first is saved at step 0."""
    metrics = run / METRICS
    return not metrics.exists() or '"event": "train"' in metrics.read_text(encoding="utf8")


def _content(run: Path) -> Tuple[str, ...]:
    """What is there, except what a process that was killed at its very beginning leaves."""
    if not run.exists():
        return ()
    names = sorted(path.name for path in run.iterdir())
    return tuple(n for n in names if n != LOCK and not (n[0] == "." and n.endswith(".tmp")))


def _shown(value: object) -> str:
    return "null" if value is None else repr(value)
