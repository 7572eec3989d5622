"""The same checkpoint fine-tuned by a plain loop around HuggingFace's models and by spaCy with us.

    python benchmarks/finetune.py cola wnut-17 --data FOLDER

The same examples, epochs, batches, rates and seeds; the last weights are scored, by the same
official metrics. Prints how far we are from the reference, with the interval of 95 % of a paired
bootstrap over the examples, and the time that either took. Each task, side and seed is trained in
a process of its own, and what it predicted is kept in benchmarks/results/finetune: a run that was
interrupted goes on, seeds can be added later, and the intervals can be computed anew. FOLDER has a
folder for each task: cola, mrpc, sick, sst-2, stsb, wnut-17, uner-english-ewt, squadshifts, squad-2.0;
finetuning/tasks.py names their files.

Writes benchmarks/results/finetune-TASK.json, and finetune.md of all of them.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import srsly
import torch
import typer
from finetuning.comparison import compare
from finetuning.tasks import TASKS, Data, Task
from wasabi import msg

from compare import default_checkpoint, environment
from spacy_bert.encoder.precision import multiplies_bf16

HERE = Path(__file__).parent
WORKERS = HERE / "finetuning"
REFERENCE = "huggingface"
# spaCy's parser-like `ner` has no counterpart there: its head keeps the rates that init-config sets.
OWN_RATES = ("ner",)


def main(
    names: List[str] = typer.Argument(..., help=f"Tasks: {', '.join(TASKS)}", metavar="TASK..."),
    data: Path = typer.Option(..., help="Folder with a folder for each task"),
    checkpoint: Optional[Path] = typer.Option(None, help="A BERT in HuggingFace's format"),
    seeds: str = typer.Option("0,1,2", help="Seeds of both sides"),
    epochs: int = typer.Option(0, help="Times through the training data; 0: as the task has it"),
    batch_size: int = typer.Option(32, help="Examples of a step"),
    learning_rate: float = typer.Option(1e-4, help="Highest rate, of encoder and heads"),
    heads_scale: float = typer.Option(1.0, help="Rate of the heads as a multiple, on both sides"),
    limit: int = typer.Option(0, help="Train on so many examples only; 0: as the task has it"),
    threads: int = typer.Option(1, help="Threads of either side"),
    force: bool = typer.Option(False, help="Train again what was trained with other settings"),
    keep: Path = typer.Option(HERE / "results" / "finetune", help="Folder of what was predicted"),
    output: Path = typer.Option(HERE / "results", help="Folder of the results"),
) -> None:
    """Fine-tune on both sides, and compare."""
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        msg.fail(f"There is no task {unknown[0]!r}", f"Known: {', '.join(TASKS)}", exits=1)
    checkpoint = (checkpoint or default_checkpoint()).resolve()
    for name in names:
        task = TASKS[name]
        loaded = task.read(data)
        train = loaded.train[: limit or None]
        recipe = {
            "epochs": epochs or task.epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "heads_scale": heads_scale,
            "warmup": 0.1,
            "weight_decay": 0.01,
        }
        cells: Dict[str, List[Dict[str, Any]]] = {side: [] for side in (REFERENCE, *task.pipes)}
        # Seeds outside: what is compared is trained one after the other, under the same conditions.
        for seed in map(int, seeds.split(",")):
            for side, done in cells.items():
                job = make_job(task, side, recipe, seed, checkpoint)
                file = keep / f"{name}-{side}-seed{seed}.json.gz"
                done.append(run_cell(file, job, train, loaded, threads=threads, force=force))
        result = {
            "command": command(),
            "checkpoint": shown(checkpoint),
            "recipe": recipe,
            "threads": threads,
            # init-config's `mixed_precision = "auto"`; the reference always computes in 32 bits.
            "our_training": "bfloat16" if multiplies_bf16(torch.device("cpu")) else "32 bits",
            **summarize(task, cells, Data(train, loaded.splits)),
        }
        output.mkdir(parents=True, exist_ok=True)
        srsly.write_json(output / f"finetune-{name}.json", result)
        (output / "finetune.md").write_text(make_table(output), encoding="utf8")
    print("\n" + make_table(output))


def command() -> str:
    """RETURNS (str): How this was called, without the folders of this machine."""
    given = [Path(part).name if "/" in part else part for part in sys.argv[1:]]
    return " ".join(["python benchmarks/finetune.py", *given])


def shown(folder: Path) -> str:
    """RETURNS (str): What a folder is called; another machine has it elsewhere."""
    return f"{folder.parent.name}/{folder.name}"


def make_job(
    task: Task, side: str, recipe: Dict[str, Any], seed: int, checkpoint: Path
) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What a worker is told, without the examples."""
    job = {"kind": task.kind, "seed": seed, "recipe": recipe, "checkpoint": str(checkpoint)}
    if side == REFERENCE:
        return job
    rates = {
        "training.optimizer.heads_scale": recipe["heads_scale"],
        "training.optimizer.layer_decay": 1.0,
    }
    overrides: Dict[str, Any] = {} if side in OWN_RATES else rates
    return {**job, "pipe": side, "recipe": {**recipe, "overrides": overrides}}


def run_cell(
    file: Path, job: Dict[str, Any], train: List[Any], data: Data, *, threads: int, force: bool
) -> Dict[str, Any]:
    """file (Path): Where it is kept. job (Dict[str, Any]): What to do.
    train (List[Any]): What to train on. data (Data): What to score.
    threads (int): Threads. force (bool): Whether what was trained with other settings is trained again.
    RETURNS (Dict[str, Any]): Predictions and times, of this run or an earlier one."""
    sizes = {split: len(records) for split, records in data.splits.items()}
    facts = {"checkpoint": shown(Path(job["checkpoint"])), "n_train": len(train)}
    settings = {**job, **facts, "n_scored": sizes, "threads": threads}
    if file.exists():
        cell = srsly.read_gzip_json(file)
        if cell["settings"] == settings:
            return cell
        if not force:
            msg.fail(
                f"{file.name} was trained with other settings",
                f"{cell['settings']}, not {settings}. Add --force to train it again.",
                exits=1,
            )
    ours = "pipe" in job
    python = Path(sys.executable) if ours else environment(REFERENCE)
    worker = WORKERS / ("ours.py" if ours else "huggingface.py")
    name = file.name.partition(".")[0]
    msg.info(name)
    done = subprocess.run(
        [str(python), str(worker)],
        input=json.dumps({**job, "train": train, "splits": data.splits}),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        msg.fail(f"{name} failed: its messages are above", exits=1)
    cell = {"settings": settings, **json.loads(done.stdout.splitlines()[-1])}
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    srsly.write_gzip_json(temporary, cell, indent=0)
    temporary.replace(file)
    return cell


def summarize(task: Task, cells: Dict[str, List[Dict[str, Any]]], data: Data) -> Dict[str, Any]:
    """task (Task): The task. cells (Dict[str, List[Dict[str, Any]]]): What each side gave, a seed each.
    data (Data): The examples. RETURNS (Dict[str, Any]): Comparisons, and times."""
    theirs = cells[REFERENCE]
    rows = []
    for pipe in task.pipes:
        for split, records in data.splits.items():
            gold = [record["gold"] for record in records]
            ours, reference = (
                [cell["predictions"][split] for cell in side] for side in (cells[pipe], theirs)
            )
            for metric in task.metrics:
                found = compare(metric, gold, ours, reference)
                msg.text(f"{task.name}, {split}, {metric}: {pipe} {found.difference:+.4f}")
                rows.append(
                    {
                        "task": task.name,
                        "split": split,
                        "metric": metric,
                        "n": len(gold),
                        "pipe": pipe,
                        **found._asdict(),
                        "passed": found.high >= 0.0,
                    }
                )
    times = {
        side: {work: [cell[work] for cell in done] for work in ("training", "prediction")}
        for side, done in cells.items()
    }
    # Where there is nothing to learn, training takes no time.
    works = ("training", "prediction") if task.epochs else ("prediction",)
    ratios = {
        pipe: {
            f"{work}, {unit}": statistics.median(
                a[work][unit] / b[work][unit] for a, b in zip(theirs, cells[pipe])
            )
            for work in works
            for unit in ("seconds", "processor_seconds")
        }
        for pipe in task.pipes
    }
    return {
        "n_train": len(data.train),
        "seeds": [cell["settings"]["seed"] for cell in theirs],
        "comparisons": rows,
        "times": times,
        "faster": ratios,
    }


def make_table(folder: Path) -> str:
    """folder (Path): Folder of the results. RETURNS (str): All of them in markdown."""
    results = {path.stem: srsly.read_json(path) for path in folder.glob("finetune-*.json")}
    precisions = sorted({result["our_training"] for result in results.values()})
    lines = [
        "Scores times 100: mean over seeds (least to greatest). The interval is that of 95 % of a paired "
        "bootstrap over the examples. Times are processor seconds, HuggingFace's divided by ours; it trains "
        f"in 32 bits, ours in {' or '.join(precisions)}, as init-config has it.",
        "",
        "| task | scored on | metric | seeds | HuggingFace | with us | | difference (interval) | reached "
        "| training faster by | prediction faster by |",
        "|---|---|---|--:|--:|---|--:|--:|---|--:|--:|",
    ]
    for name in TASKS:
        result = results.get(f"finetune-{name}", {"comparisons": []})
        for row in result["comparisons"]:
            faster = result["faster"][row["pipe"]]
            times = [
                f"{faster[key]:.1f}" if key in faster else ""
                for key in ("training, processor_seconds", "prediction, processor_seconds")
            ]
            lines.append(
                f"| {name} | {row['split']}, {row['n']:,} | {row['metric']} | {len(row['ours'])} "
                f"| {spread(row['theirs'])} | `{row['pipe']}` | {spread(row['ours'])} "
                f"| {100 * row['difference']:+.1f} ({100 * row['low']:+.2f} to {100 * row['high']:+.2f}) "
                f"| {'yes' if row['passed'] else 'no'} "
                f"| {' | '.join(times)} |"
            )
    return "\n".join(lines) + "\n"


def spread(scores: List[float]) -> str:
    """RETURNS (str): Mean, and from where to where."""
    mean, low, high = (
        100 * value for value in (statistics.fmean(scores), min(scores), max(scores))
    )
    return f"{mean:.1f} ({low:.1f} to {high:.1f})" if len(scores) > 1 else f"{mean:.1f}"


if __name__ == "__main__":
    typer.run(main)
