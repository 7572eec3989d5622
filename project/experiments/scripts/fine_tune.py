"""Fine-tune an encoder with a head on a task, and score it on the test part."""

import tempfile
from pathlib import Path
from typing import Any

import spacy
from spacy.cli.train import train
from spacy.training import Corpus
from thinc.api import Config

import architectures  # noqa: F401 (registers its names)
from spacy_bert.cli.pooling import Pooling
from spacy_bert.cli.training_config import training_config
from spacy_bert.encoder import BertConfig
from spacy_bert.encoder.config import read_config
from tables import Head

# Task -> the pipe that learns it, and its score.
TASKS = {"names": ("bert_ner", "ents_f"), "topics": ("textcat", "cats_micro_f")}


def score(
    checkpoint: Path, head: Head, task: str, *, data: Path, settings: dict[str, Any], lang: str
) -> dict[str, float]:
    """checkpoint (Path): A pretrained encoder.
    head (Head): What goes on it.
    task (str): A name of `TASKS`.
    data (Path): Folder of train.spacy, dev.spacy and test.spacy.
    settings (dict[str, Any]): Overrides of the training config.
    lang (str): Language of the tokenizer.
    RETURNS (dict[str, float]): The scores on "dev", by which the best pipeline was chosen, and "test"."""
    _, key = TASKS[task]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "train.cfg"
        make_config(read_config(checkpoint / "config.json"), head, task, lang=lang).to_disk(config)
        paths = {f"paths.{part}": str(data / f"{part}.spacy") for part in ("train", "dev")}
        output = Path(folder) / "pipeline"
        train(config, output, overrides={"paths.checkpoint": str(checkpoint), **paths, **settings})
        nlp = spacy.load(output / "model-best")
        found = {}
        for part in ("dev", "test"):
            found[part] = nlp.evaluate(list(Corpus(data / f"{part}.spacy")(nlp)))[key]
    return found


def make_config(encoder: BertConfig, head: Head, task: str, *, lang: str) -> Config:
    """encoder (BertConfig): The sizes of the encoder.
    head (Head): What goes on it.
    task (str): A name of `TASKS`.
    lang (str): Language of the tokenizer.
    RETURNS (Config): What `init-config` writes for it, with the head in its place."""
    pipe, _ = TASKS[task]
    pooling = Pooling(head.pooling or "mean", "chosen by the experiment")
    text = training_config(encoder, [pipe], checkpoint="", pooling=pooling, lang=lang)
    config = Config().from_str(text, interpolate=False)
    config["components"]["bert"]["model"]["layers"] = list(head.layers)
    model = config["components"][pipe]["model"]
    model["tok2vec"]["width"] = len(head.layers) * encoder.width
    if task == "names" or head.mix or head.lstm:
        # The mean of a token's pieces for all rows of a table: from left to right, a first piece has not
        # seen the rest, and a BiLSTM reads tokens.
        model["tok2vec"] = {
            "@architectures": "spacy-bert.BertListener.v1",
            "width": len(head.layers) * encoder.width,
            "upstream": "bert",
        }
    if head.mix:
        model["tok2vec"] = {
            "@architectures": "spacy-bert.BertLayerMix.v1",
            "layers": len(head.layers),
            "tok2vec": model["tok2vec"],
        }
    if head.lstm:
        name = "BiLSTM" if task == "names" else "PooledBiLSTM"
        model["tok2vec"] = {
            "@architectures": f"experiments.{name}.v1",
            "width": encoder.width,
            "depth": head.lstm,
            "tok2vec": model["tok2vec"],
        }
    if head.frozen:
        config["training"]["frozen_components"] = ["bert"]
        config["training"]["annotating_components"] = ["bert"]
        config["initialize"]["before_init"] = {
            "@callbacks": "spacy-bert.LoadCheckpoint.v1",
            "checkpoint": "${paths.checkpoint}",
        }
        del config["initialize"]["components"]["bert"]
    return config
