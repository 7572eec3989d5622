"""Pretrain an encoder, once for all the rows that need it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import srsly

from spacy_bert.pretraining.store import TokenStore
from tables import ENCODERS


def pretrained(
    name: str, seed: int, *, folder: Path, config: Path, store: Path, options: list[str]
) -> tuple[Path, dict[str, Any]]:
    """Pretrain, unless that has been done; go on where the same run was interrupted.

    name (str): A name of `ENCODERS`.
    seed (int): The seed.
    folder (Path): Where all encoders are.
    config (Path): How to pretrain, as for `spacy_bert pretrain`.
    store (Path): The token store.
    options (list[str]): Overrides that are the same for all encoders.
    RETURNS (tuple[Path, dict[str, Any]]): The checkpoint, and all that it depends on.
    RAISES (RuntimeError): The pretraining failed; it has said why.
    """
    run = folder / name / f"seed-{seed}"
    note = run.with_suffix(".json")
    settings = {
        "config": config.read_text(encoding="utf8"),
        "store": TokenStore.open(store).fingerprint,
        "options": [*options, "--training.seed", str(seed), *ENCODERS[name]],
    }
    before = json.loads(note.read_text(encoding="utf8")) if note.exists() else {}
    checkpoint = run / "checkpoint-last"
    if before == {**settings, "finished": True} and (checkpoint / "model.safetensors").exists():
        return checkpoint, settings
    if before != {**settings, "finished": False}:
        shutil.rmtree(run, ignore_errors=True)
    note.parent.mkdir(parents=True, exist_ok=True)
    write(note, {**settings, "finished": False})
    command = [sys.executable, "-m", "spacy_bert", "pretrain", str(config), str(run), "--resume"]
    done = subprocess.run([*command, "--paths.store", str(store), *settings["options"]])
    if done.returncode:
        raise RuntimeError(f"The pretraining of {name}, seed {seed}, failed; its output says why.")
    write(note, {**settings, "finished": True})
    return checkpoint, settings


def write(path: Path, content: Any) -> None:
    """path (Path): A file, which is there as a whole or not at all, however the experiment ends.
    content (Any): What to write, as JSON."""
    temporary = path.with_name(f".{path.name}.tmp")
    srsly.write_json(temporary, content)
    temporary.replace(path)
