"""What a run writes down, made up: as long and as odd as a test needs it."""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional

Row = Dict[str, Any]


def start(step: int = 0, event: str = "start", **changes: Any) -> Row:
    return {
        "event": event, "step": step, "time": "2026-11-24T17:03:11+00:00", "device": "cpu",
        "threads": 2, "precision": "bf16", "parameters": 5_712_264, "peak_flops": 2.1e11,
        "sizes": {"depth": 4, "width": 256, "heads": 4, "vocab_size": 9000}, **changes,
    }  # fmt: skip


def train(step: int, *, nsp: bool = True, **changes: Any) -> Row:
    loss = 2 + 7 * math.exp(-step / 500)
    return {
        "event": "train", "step": step, "seconds": step * 0.5, "pieces": step * 8192,
        "loss": loss + 0.5 * nsp, "mlm_loss": loss, "mlm_accuracy": 0.3,
        "nsp_loss": 0.5 if nsp else None, "nsp_accuracy": 0.75 if nsp else None,
        "learn_rate": 5e-4 * (1 - step / 1e7), "grad_norm": 1.5, "pieces_per_second": 12_345.0,
        "mfu": 0.4, "seconds_left": 60.0, **changes,
    }  # fmt: skip


def evaluation(step: int, *, nsp: bool = True, **changes: Any) -> Row:
    loss = 2.1 + 7 * math.exp(-step / 500)
    return {
        "event": "eval", "step": step, "seconds": step * 0.5, "mlm_loss": loss,
        "mlm_perplexity": math.exp(loss), "mlm_accuracy": 0.321, "mlm_baseline": 0.052,
        "nsp_loss": 0.4 if nsp else None, "nsp_accuracy": 0.876 if nsp else None, "nsp_baseline": 0.62 if nsp else None,
        "samples": [{"text": "The [MASK] sat.", "answer": "king", "predictions": [["man", 0.5], ["king", 0.25], ["cat", 0.1], ["##s", 0.01]]}],
        **changes,
    }  # fmt: skip


def usual(*, nsp: bool = True, steps: int = 1000, every: int = 50) -> List[Row]:
    """A run from its beginning to its end, evaluated four times."""
    rows = [start(), evaluation(0, nsp=nsp)]
    for step in range(every, steps + 1, every):
        rows.append(train(step, nsp=nsp))
        if step * 3 % steps < every * 3:
            rows.append(evaluation(step, nsp=nsp))
    return rows


CONFIG = """\
[paths]
store = "corpora/<novels>"
vocab = null
checkpoint = null

[encoder]
size = "mini"

[objective]
nsp = true
masking = "dynamic"
whole_word = true
causal = false
mask_share = 0.15

[training]
max_steps = 1000
max_length = 128
final_length = 512
final_share = 0.1
batch_pieces = 8192
accumulate = 2

[optimizer]
learn_rate = 0.0005
warmup_steps = 500
schedule = "linear"
"""


def write_log(folder: Path, rows: List[Row], *, config: Optional[str] = CONFIG, end: str = "") -> Path:  # fmt: skip
    """folder (Path): The folder of the run.
    rows (List[Row]): What it wrote down.
    config (Optional[str]): Its config; None for none.
    end (str): What stands behind the last whole line.
    RETURNS (Path): The folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines + end, encoding="utf8")
    if config is not None:
        (folder / "config.cfg").write_text(config, encoding="utf8")
    return folder
