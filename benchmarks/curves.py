"""What speed and memory depend on: length of texts, batch, threads, size of the network.

    python benchmarks/curves.py [--inference fp32,int8] [--rounds 3]

Every point is measured in a process of its own, all points in turn, and again in each round. Writes
JSON to benchmarks/results/ and a picture to docs/images/.
"""

import json
import random
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import srsly
import typer
from wasabi import msg
from worker import peak_mb, reset_peak

from compare import default_checkpoint, environment, generated_corpus, random_checkpoint

HERE = Path(__file__).parent
# What is varied -> its values; the others stay as in USUAL. However long the texts, a batch holds about
# as many words, so that length is not mixed up with how well the work can be sorted.
AXES: Dict[str, List[Any]] = {
    "words": [8, 32, 128, 512, 2048, 8192],
    "batch": [1, 8, 32, 128, 256],
    "threads": [1, 2],
    "size": ["tiny", "mini", "small", "medium", "base"],
}
USUAL = {"words": 64, "batch": 0, "threads": 2, "size": "checkpoint"}
BATCH_WORDS = 8192  # of a batch of 0 texts
LABELS = {
    "words": "words of a text",
    "batch": "texts of a batch (`batch_size`)",
    "threads": "threads",
    "size": "size of the network (random weights)",
}
# Words that a point reads: fewer where it is slow. Two batches at least.
AMOUNT = {"tiny": 40_000, "mini": 20_000, "base": 2000, "medium": 4000, "small": 8000}


def texts_of(words: int, total: int) -> List[str]:
    """RETURNS (List[str]): Texts of so many words each, with lengths a third around that."""
    lines = sorted(generated_corpus().glob("raw/*.txt"))[0].read_text(encoding="utf8").split()
    numbers, texts, start = random.Random(0), [], 0
    while start < total:
        length = max(1, round(words * numbers.uniform(2 / 3, 4 / 3)))
        texts.append(" ".join(lines[i % len(lines)] for i in range(start, start + length)))
        start += length
    return texts


def measure(point: Dict[str, Any]) -> Dict[str, Any]:
    """point (Dict[str, Any]): The settings. RETURNS (Dict[str, Any]): Words a second, and memory."""
    import torch

    import spacy_bert

    torch.set_num_threads(point["threads"])
    checkpoint = Path(point["checkpoint"])
    if point["size"] != "checkpoint":
        checkpoint = random_checkpoint(point["size"], checkpoint)
    nlp = spacy_bert.from_checkpoint(checkpoint, config={"inference": point["inference"]})
    total = AMOUNT.get(point["size"], 2 * BATCH_WORDS)
    batch = point["batch"] or max(1, min(total, 2 * BATCH_WORDS) // 2 // point["words"])
    texts = texts_of(point["words"], max(total, 2 * batch * point["words"]))
    # The first time, kernels are compiled and memory is asked for.
    for _ in nlp.pipe(texts, batch_size=batch):
        pass
    reset_peak()
    start = time.perf_counter()
    words = sum(len(doc) for doc in nlp.pipe(texts, batch_size=batch))
    seconds = time.perf_counter() - start
    return {"words_per_second": words / seconds, "peak_mb": peak_mb()}


def points(inferences: List[str]) -> List[Tuple[str, Dict[str, Any]]]:
    """RETURNS (List[Tuple[str, Dict[str, Any]]]): What is varied, and the settings of each point."""
    return [
        (axis, {**USUAL, axis: value, "inference": inference})
        for axis, values in AXES.items()
        for value in values
        for inference in inferences
    ]


def main(
    inference: str = typer.Option("fp32,int8", help="Precisions"),
    rounds: int = typer.Option(3, help="How often each point is measured"),
    point: str = typer.Option("", hidden=True, help="One point, as JSON"),
    output: Path = typer.Option(HERE / "results", help="Folder of the results"),
    picture: Path = typer.Option(HERE.parent / "docs" / "images" / "cost.png", help="The picture"),
) -> None:
    """Measure what speed and memory depend on."""
    if point:
        print(json.dumps(measure(json.loads(point))))
        return
    python = environment("ours")
    # Found here: it may not be installed where the points are measured.
    checkpoint = str(default_checkpoint())
    todo = points(inference.split(","))
    runs: List[Dict[str, Any]] = [{"axis": axis, **one, "runs": []} for axis, one in todo]
    for _ in range(rounds):
        for (axis, one), run in zip(todo, runs):
            asked = json.dumps({**one, "checkpoint": checkpoint})
            command = [str(python), __file__, "--point", asked]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                msg.fail(str(one), done.stderr[-2000:], exits=1)
            run["runs"].append(json.loads(done.stdout.splitlines()[-1]))
            speed = run["runs"][-1]["words_per_second"]
            msg.text(f"{axis:8} {one[axis]!s:10} {one['inference']:5} {speed:8,.0f} words/s")
    output.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output / "curves.json", {"rounds": rounds, "points": runs})
    draw(runs, picture)


def draw(runs: List[Dict[str, Any]], path: Path) -> None:
    """runs (List[Dict[str, Any]]): The points. path (Path): The picture to write."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(AXES), figsize=(16, 7), layout="constrained")
    for column, (axis, values) in zip(rows.T, AXES.items()):
        for row, key, label in zip(column, ("words_per_second", "peak_mb"), ("words/s", "MB")):
            for inference in sorted({run["inference"] for run in runs}):
                mine = [r for r in runs if r["axis"] == axis and r["inference"] == inference]
                medians = [statistics.median(run[key] for run in r["runs"]) for r in mine]
                row.plot(range(len(values)), medians, marker="o", label=inference)
            row.set_xticks(range(len(values)), [str(value) for value in values])
            if axis == "size" and key == "words_per_second":
                row.set_yscale("log")
            else:
                row.set_ylim(0, 1.05 * row.get_ylim()[1])
            row.set_xlabel(LABELS[axis].replace("`", ""))
            row.set_ylabel(label if key == "words_per_second" else "peak memory, MB")
            row.grid(alpha=0.3)
    rows[0, 0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    typer.run(main)
