"""Pretrain: go on with the run that was interrupted, or begin a new one where anything changed.

`spacy_bert pretrain` itself refuses to write into the folder of another run. In a project the
folder is always the same, so an older run is moved aside here; it is not deleted, since it may have
taken days. One is kept, at the same path with ".before" behind it.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import typer

from spacy_bert.pretraining.store import TokenStore

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(
    context: typer.Context,
    config: Path = typer.Argument(..., help="Config file, as of `spacy_bert pretrain`."),
    output: Path = typer.Argument(..., help="Folder of the run."),
    store: Path = typer.Option(..., help="Folder of the token store."),
) -> None:
    """Pretrain in OUTPUT. Further options are overrides, such as --training.max_steps 100."""
    note = output.with_name(f"{output.name}.json")
    try:
        text = TokenStore.open(store).fingerprint
        asked = {"settings": settings(config, context.args), "store": text}
    except (OSError, ValueError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    if output.exists():
        before = read_note(note)
        if before.get("finished") or {key: before.get(key) for key in asked} != asked:
            kept = output.with_name(f"{output.name}.before")
            shutil.rmtree(kept, ignore_errors=True)
            output.rename(kept)
            typer.echo(f"{output} holds another run. Moved it to {kept}, and begin a new one.")
    write_note(note, {**asked, "finished": False})
    command = [sys.executable, "-m", "spacy_bert", "pretrain", str(config), str(output), "--resume"]
    code = wait(subprocess.Popen([*command, "--paths.store", str(store), *context.args]))
    if code:
        raise typer.Exit(code if code > 0 else 1)
    write_note(note, {**asked, "finished": True})


def wait(process: "subprocess.Popen[bytes]") -> int:
    """Let a process end by itself, also after Ctrl-C, which it gets too: it saves what it has.
    (`spacy project` kills what it called a quarter of a second later, but not that one's children.)

    process (subprocess.Popen[bytes]): The process.
    RETURNS (int): Its exit code."""
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            pass


def settings(config: Path, overrides: list[str]) -> str:
    """config (Path): The config file.
    overrides (list[str]): Options that override it.
    RETURNS (str): Tells whether another run was asked to do the same."""
    text = config.read_text(encoding="utf8") + "\0".join(overrides)
    return hashlib.sha256(text.encode("utf8")).hexdigest()


def read_note(path: Path) -> dict[str, object]:
    """path (Path): What `write_note` wrote.
    RETURNS (dict[str, object]): Its content; nothing if it is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_note(path: Path, content: dict[str, object]) -> None:
    """path (Path): Where to write.
    content (dict[str, object]): What to know at the next call."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf8")
    temporary.replace(path)


if __name__ == "__main__":
    app()
