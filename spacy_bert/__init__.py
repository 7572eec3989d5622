"""BERT, native to spaCy. Nothing is imported before it is used: `spacy_bert.encoder` and
`spacy_bert.pretraining` run where spaCy is not installed."""

import importlib
from typing import TYPE_CHECKING, Any, List

__version__ = "0.1.0"

# name -> the room it lives in
_PUBLIC = {
    "from_checkpoint": "pipeline.assemble",
    "load_checkpoint": "encoder.checkpoint",
    "save_checkpoint": "encoder.checkpoint",
    "make_pair": "segments",
}

if TYPE_CHECKING:
    from .encoder.checkpoint import load_checkpoint as load_checkpoint
    from .encoder.checkpoint import save_checkpoint as save_checkpoint
    from .pipeline.assemble import from_checkpoint as from_checkpoint
    from .segments import make_pair as make_pair


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *_PUBLIC])
