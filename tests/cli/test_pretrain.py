"""The command `pretrain`."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest

from spacy_bert.cli.info import describe
from spacy_bert.encoder import load_checkpoint
from spacy_bert.pretraining import PretrainConfig, write_store
from spacy_bert.wordpiece import WordPieceTokenizer

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "pretrain.cfg"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "store"
    words = [f"w{chr(97 + i)}" for i in range(20)]
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    documents = [[" ".join(words[(i * j) % 20] for j in range(12))] * 8 for i in range(20)]
    write_store(path, documents, tokenizer)
    return path


def small(store: Path, n_steps: int = 2) -> List[str]:
    options = f"""--paths.store {store} --encoder.width 16 --encoder.depth 1 --encoder.heads 2
        --training.max_steps {n_steps} --training.batch_pieces 256 --training.held_out=0.2
        --training.save_every 1 --logging.every 1"""
    return options.split()


def test_overrides(run: Callable[..., Any], store: Path, tmp_path: Path) -> None:
    """Catches an option that does not reach the run, and a path that cannot be piped on."""
    result = run("pretrain", CONFIG, tmp_path / "run", *small(store), "--objective.nsp", "false")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'run' / 'checkpoint-best'}\n"
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint-best")
    assert checkpoint.config.width == 16 and not checkpoint.has_nsp
    text = (tmp_path / "run" / "config.cfg").read_text()
    config = PretrainConfig.from_str(text, source="run")
    assert config.training.held_out == 0.2 and config.logging.every == 1


@pytest.mark.parametrize(
    "options, message",
    [
        (["--paths.store", "null"], "names no store"),
        (["--training.steps", "3"], "with .*--training.steps 3: .*'steps'.*max_steps"),
        (["--training.max_steps", "many"], "'many'"),
        (["--steps", "3"], "--training.max_steps 100"),
        (["--paths.store", "/nowhere"], "no store /nowhere"),
        (["--encoder.max_positions", "64"], "max_length = 128.*64 positions"),
    ],
)
def test_mistakes(
    options: List[str], message: str, run: Callable[..., Any], store: Path, tmp_path: Path
) -> None:
    """Catches a traceback for what the user can set right, and a folder that is left behind."""
    result = run("pretrain", CONFIG, tmp_path / "run", *small(store), *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert re.search(message, result.stderr, re.DOTALL), result.stderr
    assert not (tmp_path / "run").exists()


def test_info_of_a_run(run: Callable[..., Any], store: Path, tmp_path: Path) -> None:
    """Catches a run that `info` takes for nothing, or of which it says something else than is so."""
    run("pretrain", CONFIG, tmp_path / "run", *small(store))
    result = run("info", tmp_path / "run")
    assert result.exit_code == 0, result.output
    sections = dict(describe(tmp_path / "run"))
    assert sections["How it stands"]["steps"] == "2 of 2"
    assert sections["How it stands"]["checkpoints"] == "checkpoint-best, checkpoint-last"
    assert sections["How it stands"]["can resume after"] == "step 1, step 2"
    for facts in sections.values():
        assert all(str(value) in result.stdout for value in facts.values())


def test_no_config(run: Callable[..., Any], tmp_path: Path) -> None:
    """Catches confection's message for a file that is not there."""
    result = run("pretrain", tmp_path / "x.cfg", tmp_path / "run")
    assert result.exit_code == 1 and "configs/pretrain.cfg" in result.stderr
    (tmp_path / "x.cfg").write_text("[paths\nstore = 1")
    result = run("pretrain", tmp_path / "x.cfg", tmp_path / "run")
    assert result.exit_code == 1 and result.stderr.startswith(f"Error: {tmp_path / 'x.cfg'}")
    (tmp_path / "x.cfg").write_text("[paths]\nstore = 1\nstore = 2\n")
    result = run("pretrain", tmp_path / "x.cfg", tmp_path / "run")
    assert result.exit_code == 1 and "already exists" in result.stderr


def test_refused_and_resumed(run: Callable[..., Any], store: Path, tmp_path: Path) -> None:
    """Catches an option --resume that does nothing."""
    arguments = ["pretrain", CONFIG, tmp_path / "run", *small(store)]
    assert run(*arguments).exit_code == 0
    refused = run(*arguments)
    assert refused.exit_code == 1 and "--resume" in refused.stderr
    resumed = run(*arguments, "--resume", "--training.max_steps", "3")
    assert resumed.exit_code == 0 and "after step 2" in resumed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(number: signal.Signals, store: Path, tmp_path: Path) -> None:
    """Catches a command that dies of Ctrl-C without saving, or claims that all went well."""
    command = [sys.executable, "-m", "spacy_bert", "pretrain", CONFIG, tmp_path / "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*map(str, command), *small(store, 10**6)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "run" / "state").glob("*.safetensors"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert output == "" and "Traceback" not in errors
    assert f"{number.name}: saved after step" in errors and "--resume" in errors.splitlines()[-1]
