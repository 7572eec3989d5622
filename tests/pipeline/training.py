"""Training configs for a few steps on the toy corpus."""

from pathlib import Path
from typing import Any, Dict, Sequence

import spacy
from confection import Config
from spacy.cli.train import train
from spacy.language import DEFAULT_CONFIG, Language

from spacy_bert import load_checkpoint
from spacy_bert.pipeline.assemble import bert_settings


def encoder(checkpoint: Path, architecture: str = "Bert", **settings: Any) -> Dict[str, Any]:
    """The section of an encoder's model that fits a checkpoint."""
    sizes = bert_settings(load_checkpoint(checkpoint).config)
    name = f"spacy-bert.{architecture}.v1"
    return {**sizes, "@architectures": name, "window": 32, "stride": 24, **settings}


def config_of(
    corpus: Path,
    components: Dict[str, Any],
    *,
    initialize: Dict[str, Any],
    frozen: Sequence[str] = (),
    annotating: Sequence[str] = (),
    steps: int = 4,
) -> Config:
    """corpus (Path): A .spacy file to train and evaluate on.
    components (Dict[str, Any]): Sections of [components], in order.
    initialize (Dict[str, Any]): The section [initialize]."""
    reader = {"@readers": "spacy.Corpus.v1", "path": str(corpus)}
    return DEFAULT_CONFIG.copy().merge(
        {
            "nlp": {"lang": "en", "pipeline": list(components)},
            "components": components,
            "corpora": {"train": reader, "dev": reader},
            "training": {
                "max_steps": steps,
                "eval_frequency": 2,
                "frozen_components": list(frozen),
                "annotating_components": list(annotating),
                "batcher": {
                    "@batchers": "spacy.batch_by_words.v1",
                    "size": 20,
                    "tolerance": 0.2,
                },
                "optimizer": {"@optimizers": "spacy-bert.AdamW.v1", "learn_rate": 0.01},
            },
            "initialize": initialize,
        }
    )


def run_training(config: Config, folder: Path) -> Language:
    """What `spacy train` does, without a process of its own.
    RETURNS (Language): The pipeline of the last step, as it was saved."""
    folder.mkdir(exist_ok=True)
    config.to_disk(folder / "train.cfg")
    train(folder / "train.cfg", folder / "trained")
    return spacy.load(folder / "trained" / "model-last")
