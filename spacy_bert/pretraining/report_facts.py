"""What a run was, in words, and how it stands, in figures: for the head of its report."""

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .curves import short
from .run_log import RunLog, number


def name_runs(runs: Sequence[RunLog]) -> List[str]:
    """runs (Sequence[RunLog]): Runs.
    RETURNS (List[str]): A name for each: that of its folder, or its path where two are alike."""
    names = [run.folder.resolve().name for run in runs]
    return [str(r.folder) if names.count(n) > 1 else n for r, n in zip(runs, names)]


def facts(run: RunLog) -> Dict[str, str]:
    """run (RunLog): A run.
    RETURNS (Dict[str, str]): What it was: name -> value, as far as it is known."""
    start = run.starts[0] if run.starts else {}
    found = {
        "network": _network(run, start),
        "objective": _objective(run.config.get("objective", {})),
        "read from": str(_get(run, "paths", "store") or ""),
        "goes on from": str(_get(run, "paths", "checkpoint") or ""),
        "sequences": _sequences(run.config.get("training", {})),
        "optimizer": _optimizer(run.config.get("optimizer", {})),
        "device": _device(run.starts[-1] if run.starts else {}),
        "begun": str(start.get("time", "")).replace("T", " ").replace("+00:00", " UTC"),
        "resumed": _resumed(run),
    }
    return {name: value for name, value in found.items() if value}


def figures(run: RunLog) -> List[Tuple[str, str, str]]:
    """run (RunLog): A run.
    RETURNS (List[Tuple[str, str, str]]): How it stands: name, value, and a note on it."""
    max_steps = number(_get(run, "training", "max_steps"))
    of = f"of {max_steps:,.0f}" if max_steps else ""
    found = [("steps", f"{run.last_step:,}", of)]
    loss, perplexity = run.last("eval", "mlm_loss"), run.last("eval", "mlm_perplexity")
    if loss is not None:
        perplexity = math.exp(min(loss, 700.0)) if perplexity is None else perplexity
        found.append(("masked-LM loss, held out", f"{loss:.3f}", f"perplexity {perplexity:,.1f}"))
    elif (loss := run.last("train", "mlm_loss")) is not None:
        found.append(("masked-LM loss, training", f"{loss:.3f}", ""))
    accuracy, baseline = run.last("eval", "mlm_accuracy"), run.last("eval", "mlm_baseline")
    if accuracy is not None:
        note = "" if baseline is None else f"most frequent piece {baseline:.1%}"
        found.append(("masked-LM accuracy, held out", f"{accuracy:.1%}", note))
    accuracy, baseline = run.last("eval", "nsp_accuracy"), run.last("eval", "nsp_baseline")
    if accuracy is not None:
        note = "" if baseline is None else f"more frequent answer {baseline:.1%}"
        found.append(("next-sentence accuracy, held out", f"{accuracy:.1%}", note))
    best = run.best_eval()
    if best is not None:
        loss = number(best.get("mlm_loss"))
        note = "" if loss is None else f"masked-LM loss {loss:.3f}"
        found.append(("best evaluation", f"step {best['step']:,}", note))
    return found + _effort(run)


def _effort(run: RunLog) -> List[Tuple[str, str, str]]:
    found = []
    last = (*run.train[-1:], *run.evals[-1:])
    seconds = [value for row in last if (value := number(row.get("seconds"))) is not None]
    if seconds:
        found.append(("time", time_span(max(seconds)), ""))
    pieces = run.last("train", "pieces")
    if pieces is not None:
        found.append(("pieces read", short(float(f"{pieces:.3g}")), ""))
    rates, shares = (run.series("train", key)[1] for key in ("pieces_per_second", "mfu"))
    if len(rates):
        half = len(rates) // 2  # the first may be slow, while things are loaded and compiled
        note = f"MFU {100 * float(shares[half:].mean()):.2g}%" if len(shares) == len(rates) else ""
        found.append(("pieces per second", f"{float(rates[half:].mean()):,.0f}", note))
    return found


def time_span(seconds: float) -> str:
    """seconds (float): A time.
    RETURNS (str): It as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 60 / 24:.1f} days"


def _get(run: RunLog, section: str, key: str) -> Any:
    return run.config.get(section, {}).get(key)


def _network(run: RunLog, start: Dict[str, Any]) -> str:
    sizes = start.get("sizes")
    parts = []
    if isinstance(sizes, dict):
        parts = [
            f"{sizes.get('depth')} layers",
            f"width {sizes.get('width')}",
            f"{sizes.get('heads')} heads",
            f"vocabulary {_count(sizes.get('vocab_size'))}",
        ]
        size = _get(run, "encoder", "size")
        if size and _get(run, "paths", "checkpoint") is None:
            parts.insert(0, str(size))
    parameters = number(start.get("parameters"))
    if parameters is not None:
        millions = f"{parameters / 1e6:.3g} M"
        parts.append(f"{millions if parameters >= 1e5 else _count(parameters)} parameters")
    return ", ".join(parts)


def _objective(section: Dict[str, Any]) -> str:
    if not section:
        return ""
    if section.get("causal"):
        return "next piece, left to right"
    masks = f"{section.get('masking', 'dynamic')} masks"
    share = number(section.get("mask_share"))
    parts = ["masked LM" + (" + next sentence" if section.get("nsp") else ""), masks]
    if share is not None:
        parts.append(f"{share:.0%} of the pieces")
    if section.get("whole_word"):
        parts.append("whole words")
    return ", ".join(parts)


def _sequences(section: Dict[str, Any]) -> str:
    if not section:
        return ""
    first, last = section.get("max_length"), section.get("final_length")
    length = f"up to {first} pieces"
    share = number(section.get("final_share"))
    if last is not None and last != first and share is not None:
        length += f", {last} in the last {share:.0%}"
    step = f"{_count(section.get('batch_pieces'))} pieces a step"
    accumulate = number(section.get("accumulate")) or 1
    return f"{length}; {f'{accumulate:.0f} x ' * (accumulate > 1)}{step}"


def _optimizer(section: Dict[str, Any]) -> str:
    if not section:
        return ""
    rate, warmup = number(section.get("learn_rate")), _count(section.get("warmup_steps"))
    shown = "?" if rate is None else f"{rate:g}"
    return f"AdamW, rate {shown}, {warmup} steps of warm-up, then {section.get('schedule')}"


def _device(start: Dict[str, Any]) -> str:
    parts = [str(start[key]) for key in ("device", "precision") if start.get(key)]
    threads = number(start.get("threads"))
    if threads is not None and start.get("device") == "cpu":
        parts.append(f"{threads:.0f} thread{'s' * (threads != 1)}")
    peak = number(start.get("peak_flops"))
    if peak:
        parts.append(f"matrix products reach {_flops(peak)}")
    return ", ".join(parts)


def _flops(value: float) -> str:
    size, unit = (1e12, "TFLOP/s") if value >= 1e12 else (1e9, "GFLOP/s")
    return f"{value / size:,.0f} {unit}"


def _resumed(run: RunLog) -> str:
    steps = [_count(row["step"]) for row in run.starts if row["event"] == "resume"]
    if not steps:
        return ""
    shown = ", ".join(steps[-8:])
    times = "once" if len(steps) == 1 else f"{len(steps)} times"
    return f"{times}, after step {', ..., ' * (len(steps) > 8)}{shown}"


def _count(value: Any) -> str:
    found: Optional[float] = number(value)
    return "?" if found is None else f"{found:,.0f}"
