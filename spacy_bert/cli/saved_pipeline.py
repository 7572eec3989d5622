"""A saved pipeline: how to tell one, and to load it; and the models in it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional

if TYPE_CHECKING:
    from spacy.language import Language
    from thinc.api import Model

FILES = ("meta.json", "config.cfg")


def is_pipeline(path: Path) -> bool:
    """path (Path): A folder.
    RETURNS (bool): Whether `nlp.to_disk` wrote it."""
    return all((path / name).is_file() for name in FILES)


def load_pipeline(path: Path) -> "Language":
    """`spacy.load`, which does not say what file it was that could not be read.

    path (Path): Folder of a saved pipeline.
    RETURNS (Language): The pipeline.
    RAISES (ValueError): A file of it is damaged. What else is wrong with it is said by spaCy.
    """
    import spacy

    try:
        return spacy.load(path)
    except MemoryError:
        raise
    except Exception as error:  # what is raised for half a file depends on what reads it
        # What spaCy says itself, or the system, is clear.
        is_clear = re.match(r"\[E\d+\]", str(error)) or getattr(error, "errno", None)
        file = None if is_clear else _damaged_file(path)
        if file is None:
            raise
        raise ValueError(
            f"The pipeline {path} could not be loaded: {file} is damaged or cut off "
            f"({file.stat().st_size:,} bytes; {error}). Copy or save the pipeline again."
        ) from error


def _damaged_file(path: Path) -> Optional[Path]:
    """The first file that cannot be read as spaCy's files of its name are; None if there is none."""
    import numpy as np
    import srsly
    from spacy.util import load_config

    # What a pipeline's files are, by their names. Others are left to the components that know them.
    readers = {
        "cfg": srsly.read_json,
        "config.cfg": load_config,
        "vectors.cfg": srsly.read_json,
        "model": srsly.read_msgpack,
        "tokenizer": srsly.read_msgpack,
        "key2row": srsly.read_msgpack,
        "lookups.bin": srsly.read_msgpack,
        "vectors": np.load,
    }
    for file in sorted(path.rglob("*")):
        read = srsly.read_json if file.suffix == ".json" else readers.get(file.name)
        if read is None or not file.is_file():
            continue
        try:
            read(file)
        except (OSError, MemoryError):  # nothing of its content is known
            continue
        except Exception:  # as above
            return file
    return None


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
