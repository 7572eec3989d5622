"""Raw text to checkpoint. Imports neither spaCy nor Thinc, and nothing before it is used."""

import importlib
from typing import TYPE_CHECKING, Any, List

# name -> the file it lives in
_PUBLIC = {
    "PretrainConfig": "config",
    "Paths": "config",
    "Encoder": "config",
    "Objective": "config",
    "Training": "config",
    "Optimizer": "config",
    "Logging": "config",
    "pretrain": "loop",
    "RunResult": "loop",
    "PretrainingModel": "objective",
    "PretrainingBatch": "batches",
    "PretrainingStream": "batches",
    "Position": "batches",
    "TokenStore": "store",
    "write_store": "store_writer",
    "prepare": "preparing",
    "write_report": "report",
}

if TYPE_CHECKING:
    from .batches import Position as Position
    from .batches import PretrainingBatch as PretrainingBatch
    from .batches import PretrainingStream as PretrainingStream
    from .config import Encoder as Encoder
    from .config import Logging as Logging
    from .config import Objective as Objective
    from .config import Optimizer as Optimizer
    from .config import Paths as Paths
    from .config import PretrainConfig as PretrainConfig
    from .config import Training as Training
    from .loop import RunResult as RunResult
    from .loop import pretrain as pretrain
    from .objective import PretrainingModel as PretrainingModel
    from .preparing import prepare as prepare
    from .report import write_report as write_report
    from .store import TokenStore as TokenStore
    from .store_writer import write_store as write_store


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *_PUBLIC])
