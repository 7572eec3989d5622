"""`evaluate-glue`: fine-tune on the tasks of a folder, with several seeds, and print a table of scores."""

import json
from pathlib import Path
from typing import Optional

import typer


def evaluate_glue(
    context: typer.Context,
    checkpoint: str = typer.Argument(
        ..., metavar="CHECKPOINT", help="Folder or hub id of a BERT in HuggingFace's format."
    ),
    folder: Path = typer.Argument(
        ..., metavar="FOLDER", help="Folder with a folder a task, as GLUE is distributed."
    ),
    tasks: Optional[str] = typer.Option(
        None, "--tasks", "-t", help="Tasks, such as sst-2,cola; all that are found if not given."
    ),
    seeds: int = typer.Option(3, "--seeds", "-s", min=1, help="How many seeds, from 0 on."),
    epochs: int = typer.Option(3, "--epochs", min=1, help="Times through the training data."),
    batch_size: int = typer.Option(32, "--batch-size", min=1, help="Examples a step."),
    learning_rate: Optional[float] = typer.Option(
        None, "--learning-rate", help="Peak rate of the encoder; if not given, by its size."
    ),
    limit: int = typer.Option(0, "--limit", min=0, help="Train on so many examples; 0 for all."),
    pooling: Optional[str] = typer.Option(
        None, "--pooling", help="cls, pooler, mean or max; if not given, by the checkpoint."
    ),
    output: Path = typer.Option(
        Path("glue-results"), "--output", "-o", help="Folder of scores and predictions."
    ),
    lang: str = typer.Option("en", "--lang", "-l", help="Language of spaCy's tokenizer."),
    gpu: bool = typer.Option(False, "--gpu", "-G", help="Train on a GPU."),
    revision: Optional[str] = typer.Option(
        None, "--revision", help="Branch, tag or commit of a checkpoint on the hub."
    ),
    force: bool = typer.Option(
        False, "--force", "-F", help="Train again what was trained with other settings."
    ),
) -> None:
    """
    Fine-tune on each task with each seed, by spaCy's own training, and score with GLUE's metrics.

    Tasks: cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, sick, sick-r, in GLUE's layout or
    another usual one; a file task.json in a folder describes any other. The last state of each
    training is scored, on the dev set and, if its labels are public, on the test set.

    OUTPUT gets glue.md, glue.json, and the prediction for every example; tasks and seeds that are
    there already stay in the table. A run that was interrupted goes on where it was when it is
    started again. Settings of the training config can be
    given as for `spacy train`: --training.optimizer.heads_scale 5
    """
    if gpu:
        import spacy

        # spaCy's training function expects the GPU to be chosen already.
        spacy.require_gpu()

    from ..encoder import load_checkpoint
    from ..evaluation.metrics import METRICS, score
    from ..evaluation.results import Results, write_whole
    from ..evaluation.table import HEADER, markdown, summarize, table_rows
    from ..evaluation.tasks import find_tasks
    from ..layers.doc_encoder import check_pooling
    from .glue_cell import Recipe, cell_settings, check_task, fingerprint, run_cell
    from .init_config import check_lang
    from .overrides import parse_overrides
    from .show import table

    # What takes no time, and can be wrong, comes first.
    check_lang(lang)
    if pooling is not None:
        check_pooling(pooling)
    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    found = find_tasks(folder, names)
    score(list(METRICS)[:1], ["1"], ["1"])  # are the libraries there?
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        limit=limit,
        pooling=pooling,
        lang=lang,
        gpu=gpu,
        revision=revision,
        overrides=parse_overrides(context.args),
    )
    results = Results(output)
    results.check_writable()
    loaded = load_checkpoint(checkpoint, revision=revision)
    plan = [(entry, seed) for entry in found for seed in range(seeds)]
    weights = fingerprint(loaded)
    settings = {entry.task.name: cell_settings(loaded, weights, entry, recipe) for entry in found}
    cells = {
        (entry.task.name, seed): results.finished(
            entry.task.name, seed, settings[entry.task.name], force=force
        )
        for entry, seed in plan
    }
    n_done = sum(cell is not None for cell in cells.values())
    if n_done:
        typer.echo(f"{n_done} of {len(plan)} are in {output} already.")
    for entry in found:
        if not all(cells[entry.task.name, seed] for seed in range(seeds)):
            check_task(entry, recipe)
    for i, (entry, seed) in enumerate(plan, start=1):
        name = entry.task.name
        if cells[name, seed] is None:
            label = f"{name}, seed {seed} ({i} of {len(plan)})"
            cell, predictions = run_cell(
                loaded, entry, recipe, settings=settings[name], seed=seed, label=label
            )
            results.write(cell, predictions)
        lines = summarize(results.comparable(settings))
        write_whole(output / "glue.md", markdown(lines))
        summary = [{**line._asdict(), "mean": line.mean, "spread": line.spread} for line in lines]
        write_whole(output / "glue.json", json.dumps(summary, indent=1) + "\n")
    typer.echo(table(table_rows(lines), HEADER))
    typer.echo(
        f"\nScores times 100. Spread: standard deviation over seeds. Also in {output}/glue.md; "
        f"predictions are in {output}/predictions."
    )
