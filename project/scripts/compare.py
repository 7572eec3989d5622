"""Fine-tune from random weights, to know what the pretraining was worth.

Random weights want other settings than pretrained ones, so several are tried, and the best on the
dev part counts: the comparison leans towards the random weights, not towards ours.
"""

import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import srsly
import typer
from spacy.util import load_config
from thinc.api import Config

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(
    context: typer.Context,
    config: Path = typer.Argument(..., exists=True, dir_okay=False, help="Training config."),
    output: Path = typer.Argument(..., help="Folder for the best pipeline and for trials.json."),
    checkpoint: Path = typer.Option(..., exists=True, help="What to start from."),
    rates: str = typer.Option(..., help="Learning rates to try, separated by commas."),
    poolings: str = typer.Option(..., help="What may stand for a text: pooler, cls, mean, max."),
) -> None:
    """Train with each of the settings, and keep the pipeline that is the best on the dev part.
    Further options are overrides for `spacy train`, such as --paths.train corpus/train.spacy; what is
    tried goes before them."""
    shutil.rmtree(output, ignore_errors=True)
    of_texts = pooled(load_config(config))
    trials: list[dict[str, Any]] = []
    for rate, pooling in product(split(rates), split(poolings) if of_texts else [""]):
        settings = ["--training.optimizer.learn_rate.initial_rate", rate]
        for name in of_texts:
            settings += [f"--components.{name}.model.tok2vec.pooling", pooling]
        typer.echo(f"\nFrom random weights: {' '.join(settings)}")
        trial = output / f"trial-{len(trials)}"
        command = [sys.executable, "-m", "spacy", "train", str(config), "--output", str(trial)]
        command += ["--paths.checkpoint", str(checkpoint), *context.args, *settings]
        code = subprocess.run(command).returncode
        if code:
            raise typer.Exit(code if code > 0 else 1)
        score = dev_score(trial / "model-best")
        if not trials or score > max(earlier["dev_score"] for earlier in trials):
            shutil.rmtree(output / "model-best", ignore_errors=True)
            (trial / "model-best").rename(output / "model-best")
        shutil.rmtree(trial)
        trials.append({"rate": rate, "pooling": pooling or None, "dev_score": score})
    srsly.write_json(output / "trials.json", trials)
    typer.echo("\nFrom random weights, on the dev part:")
    for t in trials:
        typer.echo(f"  rate {t['rate']}, pooling {t['pooling']}: {t['dev_score']:.4f}")


def pooled(config: Config) -> list[str]:
    """config (Config): A training config.
    RETURNS (list[str]): Its pipes that read one vector a text."""
    layers = {
        name: section.get("model", {}).get("tok2vec", {})
        for name, section in config["components"].items()
    }
    return [name for name, layer in layers.items() if "pooling" in layer]


def split(values: str) -> list[str]:
    """values (str): Values separated by commas.
    RETURNS (list[str]): The values."""
    return [value.strip() for value in values.split(",") if value.strip()]


def dev_score(pipeline: Path) -> float:
    """pipeline (Path): A pipeline that `spacy train` has saved.
    RETURNS (float): What it was chosen by: its scores on the dev part, weighted as in training."""
    scores = srsly.read_json(pipeline / "meta.json")["performance"]
    weights = load_config(pipeline / "config.cfg")["training"]["score_weights"]
    counting = {key: weight for key, weight in weights.items() if weight and key in scores}
    return sum(scores[key] * weight for key, weight in counting.items())


if __name__ == "__main__":
    app()
