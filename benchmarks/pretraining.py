"""Pretraining beside a plain loop around HuggingFace's `BertForPreTraining`: the same initial
weights, the same batches, the same optimizer.

    python benchmarks/pretraining.py text CORPUS --vocab VOCAB
    python benchmarks/pretraining.py speed --store STORE
    python benchmarks/pretraining.py race --store STORE --minutes 20

`text` compares `prepare`, with and without the splitting into sentences, with the bare `tokenizers`
library's `encode_batch` on the same paragraphs. `speed` lets the two take training steps in turn, A B A B, in each precision, and prints pieces per
second. `race` gives both the same time, one core each, side by side, and then once more with the
cores exchanged; it prints the loss on held-out documents. All write JSON and a table to
benchmarks/results/. A store is made by `python -m spacy_bert prepare`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import srsly
import typer
from wasabi import msg

from compare import generated_corpus

HERE = Path(__file__).parent
WORKER, TEXT_WORKER = HERE / "pretraining_worker.py", HERE / "text_worker.py"
PEERS = ("ours", "huggingface")
PRECISIONS = ("fp32", "bf16")

app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)
STORE = typer.Option(None, help="A token store; without it, one is made of generated text")
SIZE = typer.Option("mini", help="Size of the encoder")
BATCH = typer.Option(8192, help="Pieces of a batch")
OUTPUT = typer.Option(HERE / "results", help="Folder of the results")


@app.command()
def text(
    inputs: List[Path] = typer.Argument(..., help="Files and folders of raw text"),
    vocab: Path = typer.Option(..., help="Folder of a vocabulary"),
    rounds: int = typer.Option(3, help="How often each is measured"),
    output: Path = OUTPUT,
) -> None:
    """Pieces per second from raw text, interleaved."""
    ways = {"encode_batch": "bare", "prepare": "Paragraphs", "prepare, sentencizer": "Sentencizer"}
    runs: Dict[str, List[float]] = {name: [] for name in ways}
    memory: Dict[str, int] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            result = finish(launch([way, vocab, *inputs], threads=2, script=TEXT_WORKER))
            runs[name].append(result["pieces_per_second"])
            memory[name] = max(memory.get(name, 0), result["peak_mb"])
            msg.text(f"{name:22} {result['pieces_per_second']:10,.0f} pieces/s")
    lines = ["| | pieces/s, median (range) | share of encode_batch | peak of a process |"]
    lines.append("|---|--:|--:|--:|")
    for name, values in runs.items():
        share = paired(values, runs["encode_batch"])
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        lines.append(
            f"| {name} | {statistics.median(values):,.0f} ({spread}) | {share:.0%} | {memory[name]} MB |"
        )
    write(output, "pretraining-text", {"runs": runs, "peak_mb": memory}, lines)


@app.command()
def speed(
    store: Optional[Path] = STORE,
    size: str = SIZE,
    batch_pieces: int = BATCH,
    steps: int = typer.Option(12, help="Steps of each run that are timed"),
    rounds: int = typer.Option(3, help="How often each is measured"),
    threads: int = typer.Option(2, help="Threads of each"),
    output: Path = OUTPUT,
) -> None:
    """Pieces per second of training steps, interleaved."""
    store = store or generated_store()
    runs: Dict[str, List[float]] = {f"{p} {q}": [] for p in PEERS for q in PRECISIONS}
    with tempfile.TemporaryDirectory() as folder:
        start = initial_weights(store, size, Path(folder) / "start")
        common = ["speed", "--store", store, "--start", start, "--batch-pieces", batch_pieces]
        for _ in range(rounds):
            for precision in PRECISIONS:
                for peer in PEERS:
                    options = ["--peer", peer, "--precision", precision, "--steps", steps]
                    result = finish(launch([*common, *options], threads=threads))
                    runs[f"{peer} {precision}"].append(result["pieces_per_second"])
                    msg.text(f"{peer:12} {precision} {result['pieces_per_second']:8,.0f} pieces/s")
    best = {
        peer: max((runs[f"{peer} {q}"] for q in PRECISIONS), key=statistics.median)
        for peer in PEERS
    }
    ratios: List[Tuple[str, float]] = [
        (q, paired(runs[f"ours {q}"], runs[f"huggingface {q}"])) for q in PRECISIONS
    ]
    ratios.append(("the best setting of each", paired(best["ours"], best["huggingface"])))
    lines = ["| | pieces/s, median (range) |", "|---|--:|"]
    for name, values in runs.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        lines.append(f"| {name} | {statistics.median(values):,.0f} ({spread}) |")
    lines += ["", "| ours / huggingface | median of rounds |", "|---|--:|"]
    lines += [f"| {name} | {ratio:.2f} |" for name, ratio in ratios]
    write(output, "pretraining-speed", {"size": size, "runs": runs, "ratios": ratios}, lines)


@app.command()
def race(
    store: Optional[Path] = STORE,
    size: str = SIZE,
    batch_pieces: int = BATCH,
    minutes: float = typer.Option(20.0, help="Time of each run"),
    precision: str = typer.Option("bf16", help="fp32 or bf16, of both"),
    learn_rate: float = typer.Option(5e-4, help="Highest learning rate of both"),
    warmup_steps: int = typer.Option(100, help="Steps of warm-up of both"),
    rounds: int = typer.Option(2, help="How often; the cores are exchanged each time"),
    keep: Path = typer.Option(HERE / ".runs", help="Folder of the trained checkpoints"),
    output: Path = OUTPUT,
) -> None:
    """Held-out loss after the same time on one core each."""
    store = store or generated_store()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        msg.fail("A race needs two cores.", exits=1)
    start = initial_weights(store, size, keep / "start")
    results: List[Dict[str, Any]] = []
    for number in range(rounds):
        placed = list(zip(PEERS, cores if number % 2 == 0 else reversed(cores)))
        running = []
        for peer, core in placed:
            options: List[Any] = ["race", "--store", store, "--start", start]
            options += ["--peer", peer, "--precision", precision, "--batch-pieces", batch_pieces]
            options += ["--minutes", minutes, "--learn-rate", learn_rate]
            options += ["--warmup-steps", warmup_steps, "--output", keep / f"{peer}-{number}"]
            running.append((peer, core, launch(options, threads=1, core=core)))
        for peer, core, process in running:
            result = {"peer": peer, "core": core, "round": number, **finish(process)}
            results.append(result)
            msg.text(f"{peer:12} core {core}: MLM loss {result['mlm_loss']:.3f}")
    lines = ["| | core | steps | pieces | held-out MLM loss | MLM accuracy | NSP accuracy |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for r in results:
        lines.append(
            f"| {r['peer']} | {r['core']} | {r['steps']:,} | {r['pieces']:,} | {r['mlm_loss']:.3f} "
            f"| {r['mlm_accuracy']:.3f} | {r['nsp_accuracy']:.3f} |"
        )
    write(output, "pretraining-race", {"size": size, "minutes": minutes, "runs": results}, lines)


def generated_store() -> Path:
    """RETURNS (Path): A store of the project's raw text, made if it is not there."""
    raw = generated_corpus() / "raw"
    folder = raw.parent / "pretraining"
    if not (folder / "store" / "manifest.json").exists():
        reader = ["--reader", "TextFiles:blank_lines=1,paragraphs=line", "--force"]
        for command in (
            ["train-vocab", raw, "--output", folder / "vocab", "--size", 4000],
            ["prepare", raw, "--vocab", folder / "vocab", "--output", folder / "store"],
        ):
            parts = [sys.executable, "-m", "spacy_bert", *map(str, command), *reader]
            subprocess.run(parts, check=True)
    return folder / "store"


def initial_weights(store: Path, size: str, folder: Path) -> Path:
    """RETURNS (Path): Random weights that both begin with, as a checkpoint."""
    import torch

    from spacy_bert.encoder import BertConfig, save_checkpoint
    from spacy_bert.pretraining.objective import PretrainingModel
    from spacy_bert.pretraining.store import TokenStore

    tokenizer = TokenStore.open(store).tokenizer
    torch.manual_seed(0)
    model = PretrainingModel(BertConfig.from_size(size, vocab_size=len(tokenizer)), nsp=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder, model.to_checkpoint(tokenizer, "random weights"))
    return folder


def launch(
    options: List[Any], *, threads: int, core: int = -1, script: Path = WORKER
) -> subprocess.Popen:
    """RETURNS (subprocess.Popen): A worker that has begun."""
    command = [sys.executable, str(script), *map(str, options)]
    if core >= 0:
        command = ["taskset", "--cpu-list", str(core), *command]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)


def finish(process: subprocess.Popen) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What a worker printed."""
    stdout, stderr = process.communicate()
    if process.returncode:
        msg.fail("A run failed", stderr[-3000:], exits=1)
    return json.loads(stdout.splitlines()[-1])


def paired(ours: List[float], theirs: List[float]) -> float:
    """RETURNS (float): Median of the ratios of runs that followed each other."""
    return statistics.median(a / b for a, b in zip(ours, theirs))


def write(output: Path, name: str, data: Dict[str, Any], lines: List[str]) -> None:
    table = "\n".join(lines) + "\n"
    print("\n" + table)
    output.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output / f"{name}.json", data)
    (output / f"{name}.md").write_text(table, encoding="utf8")


if __name__ == "__main__":
    app()
