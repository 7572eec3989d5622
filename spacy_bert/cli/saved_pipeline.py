"""A saved pipeline: how to tell one, and the models in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Dict

if TYPE_CHECKING:
    from spacy.language import Language
    from thinc.api import Model

FILES = ("meta.json", "config.cfg")


def is_pipeline(path: Path) -> bool:
    """path (Path): A folder.
    RETURNS (bool): Whether `nlp.to_disk` wrote it."""
    return all((path / name).is_file() for name in FILES)


# What `spacy train` and `pretrain` name what they make, best first.
RESULTS = ("model-best", "model-last", "checkpoint-best", "checkpoint-last")


def one_below(path: Path) -> str:
    """path (Path): A folder that is not what was expected.
    RETURNS (str): What to say of it, if what was meant may be in it; else nothing."""
    found = next((name for name in RESULTS if (path / name).is_dir()), None)
    return f" There is {path / found}: is that what was meant?" if found else ""


def models_of(nlp: "Language") -> "Dict[str, Model]":
    """nlp (Language): A pipeline.
    RETURNS (Dict[str, Model]): The model of each pipe that has one, disabled ones included."""
    from thinc.api import Model

    models = {name: getattr(pipe, "model", None) for name, pipe in nlp.components}
    return {name: model for name, model in models.items() if isinstance(model, Model)}
