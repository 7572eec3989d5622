"""Run an experiment: pretrain what is not pretrained yet, fine-tune, and write all scores.

What has been computed with the same settings, for this experiment or another, is not computed
again; an experiment that was interrupted goes on where it was.
"""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import srsly
import typer

from encoders import pretrained, write
from fine_tune import score
from spacy_bert.encoder import SIZES
from tables import ENCODERS, experiments

app = typer.Typer(add_completion=False, rich_markup_mode=None)
# What a score depends on, beside its settings.
CODE = [Path(__file__).with_name(name) for name in ("fine_tune.py", "architectures.py")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(
    context: typer.Context,
    name: str = typer.Argument(..., help="table5, table8, features or pooling."),
    output: Path = typer.Argument(..., help="The .json file to write."),
    seeds: str = typer.Option("0,1", help="Seeds of pretraining and fine-tuning, by commas."),
    size: str = typer.Option("tiny", help="Size of the encoder."),
    steps: int = typer.Option(1500, min=1, help="Steps of each pretraining."),
    store: Path = typer.Option(..., exists=True, help="Folder of the token store."),
    config: Path = typer.Option(..., exists=True, help="Config of the pretraining."),
    names: str = typer.Option(..., help="Folder of documents with entities."),
    topics: str = typer.Option(..., help="Folder of documents with categories."),
    training: Path = typer.Option(Path("training"), help="Folder for encoders and scores."),
    lang: str = typer.Option("en", help="Language of the tokenizer."),
    pooling: str = typer.Option("mean", help="What stands for a text, where rows do not say."),
    tune_steps: int = typer.Option(200, min=1, help="Steps of each fine-tuning."),
    rate: float = typer.Option(5e-4, help="The encoder's highest rate in fine-tuning."),
) -> None:
    """Run the experiment NAME. Further options are overrides for the pretraining, such as
    --training.max_length 128."""
    known = experiments(SIZES[size][1]) if size in SIZES else fail("--size", size, SIZES)
    experiment = known[name] if name in known else fail("The experiment", name, known)
    folders = {"names": Path(names), "topics": Path(topics)}
    settings = {
        "training.optimizer.learn_rate.initial_rate": rate,
        "training.optimizer.learn_rate.total_steps": tune_steps,
        "training.optimizer.learn_rate.warmup_steps": max(1, tune_steps // 15),
        "training.eval_frequency": max(1, tune_steps // 5),
    }
    options = ["--encoder.size", size, "--training.max_steps", str(steps), *context.args]
    numbers = [int(seed) for seed in seeds.split(",") if seed.strip()]
    rows: list[dict[str, Any]] = []
    for row, (encoder, heads) in experiment.rows.items():
        scores: dict[str, list[float]] = {column: [] for column in heads}
        for seed in numbers:
            typer.secho(f"\n{name}, {row.strip()}, seed {seed}", bold=True)
            checkpoint, origin = pretrained(
                encoder, seed, folder=training / "encoders", config=config, store=store,
                options=options,
            )  # fmt: skip
            for column, head in heads.items():
                task = experiment.columns[column]
                head = replace(head, pooling=head.pooling or pooling)
                asked = {
                    "encoder": origin,
                    "head": asdict(head),
                    "task": task,
                    "data": fingerprint(folders[task]),
                    "settings": {**settings, "system.seed": seed},
                    "lang": lang,
                    "code": {file.name: sha256(file) for file in CODE},
                }
                digest = hashlib.sha256(srsly.json_dumps(asked, sort_keys=True).encode("utf8"))
                kept = training / "scores" / f"{digest.hexdigest()[:24]}.json"
                if not kept.exists():
                    found = score(
                        checkpoint, head, task, data=folders[task], settings=asked["settings"],
                        lang=lang,
                    )  # fmt: skip
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    write(kept, {"asked": asked, "scores": found})
                scores[column].append(srsly.read_json(kept)["scores"]["test"])
        rows.append({"name": row, "pretraining": ENCODERS[encoder], "scores": scores})
    output.parent.mkdir(parents=True, exist_ok=True)
    how = {"size": size, "steps": steps, "tune_steps": tune_steps, "rate": rate, "pooling": pooling}
    data = {"raw": str(store), "names": names, "topics": topics}
    result = {"experiment": name, "seeds": numbers, "settings": how, "data": data, "rows": rows}
    write(output, result)


def fail(what: str, found: str, known: Any) -> Any:
    """what, found (str): What is wrong. known (Any): What it could be."""
    typer.secho(
        f"Error: {what} is {found!r}, expected one of {', '.join(known)}.", fg="red", err=True
    )
    raise typer.Exit(1)


def fingerprint(folder: Path) -> dict[str, str]:
    """folder (Path): Folder of annotated documents.
    RETURNS (dict[str, str]): Tells whether they have changed."""
    files = [folder / f"{part}.spacy" for part in ("train", "dev", "test")]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        typer.secho(
            f"Error: There is no {missing[0]}. Name a folder of train.spacy, dev.spacy and "
            f"test.spacy in the vars `names` and `topics`; the step `corpus` writes the demo's.",
            fg="red",
            err=True,
        )
        raise typer.Exit(1)
    return {file.name: sha256(file) for file in files}


def sha256(file: Path) -> str:
    """file (Path): A file. RETURNS (str): Its digest."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    app()
