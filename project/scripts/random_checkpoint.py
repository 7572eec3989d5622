"""Write a checkpoint of random weights, with the sizes and the vocabulary of another one."""

from pathlib import Path

import torch
import typer

from spacy_bert.encoder import (
    BertEncoder,
    Checkpoint,
    Pooler,
    initialize_weights,
    load_checkpoint,
    save_checkpoint,
)


def main(
    checkpoint: Path = typer.Argument(..., help="Where to take sizes and vocabulary from."),
    output: Path = typer.Argument(..., help="Folder to write to; replaced if it exists."),
    seed: int = typer.Option(0, min=0, help="Seed of the weights."),
) -> None:
    """Write what pretraining begins with: weights as BERT draws them (Devlin et al. 2018; normal,
    standard deviation 0.02), so that the two can be compared."""
    try:
        like = load_checkpoint(checkpoint)
    except (OSError, ValueError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    torch.manual_seed(seed)
    weights = {}
    for part, module in (("encoder", BertEncoder(like.config)), ("pooler", Pooler(like.config))):
        initialize_weights(module, std=like.config.initializer_range)
        weights.update({f"{part}.{name}": value for name, value in module.state_dict().items()})
    save_checkpoint(output, Checkpoint(like.config, like.tokenizer, weights, "random"))


if __name__ == "__main__":
    typer.run(main)
