"""A package under measurement, in an environment of its own: it loads once, then answers tasks.

python benchmarks/worker.py PEER CHECKPOINT CACHE

Reads a task a line from standard input, as JSON, and writes a line of JSON: what it measured.
"""

import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Dict

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("THREADS", "2")


REPEATS = 10  # of a product, between two looks at the clock


def reset_peak() -> None:
    with contextlib.suppress(OSError):  # not on Linux: the peak is that of the whole run
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> int:
    """RETURNS (int): The largest resident memory since `reset_peak`, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def answer(peer: Any, task: Dict[str, Any]) -> Dict[str, Any]:
    """peer (Any): The package. task (Dict[str, Any]): What to do.
    RETURNS (Dict[str, Any]): Seconds, and what else there is to say."""
    kind = task["kind"]
    if kind == "vectors":
        return {"vectors": peer.vectors(task["texts"]).tolist()}
    if kind == "plain":
        return {"vectors": peer.plain(task["texts"]).tolist()}
    if kind == "peak":
        return {"flops": matrix_peak(*task["sizes"])}
    reset_peak()
    start = time.perf_counter()
    result: Dict[str, Any] = {}
    if kind == "pipe":
        peer.pipe(task["texts"])
    elif kind == "latency":
        result["each"] = []
        for text in task["texts"]:
            before = time.perf_counter()
            peer.one(text)
            result["each"].append(time.perf_counter() - before)
    elif kind == "joint":
        peer.joint(task["texts"], task["examples"])
    elif kind == "update":
        result["words"] = peer.update(task["examples"], task["n"])
    return {**result, "seconds": time.perf_counter() - start, "peak_mb": peak_mb()}


def matrix_peak(width: int, inner: int) -> float:
    """RETURNS (float): Operations a second of the products of a layer at their best: of any shape, by
    torch or by oneDNN with packed weights, all threads in one product or one product for each."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from spacy_bert.encoder.products import PackedProduct, PlainProduct

    best, threads = 0.0, torch.get_num_threads()

    def work(product: Any, rows: Any) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            for _ in range(REPEATS):
                product(rows)

    for n_in, n_out in ((width, 3 * width), (width, width), (width, inner), (inner, width)):
        rows, layer = torch.randn(1024, n_in), torch.nn.Linear(n_in, n_out)
        for kind in (PlainProduct, PackedProduct):
            product = kind(layer, None, torch.float32)
            operations = 2.0 * 1024 * n_in * n_out * REPEATS
            for _ in range(4):
                with torch.inference_mode():
                    start = time.perf_counter()
                    for _ in range(REPEATS):
                        product(rows)
                best = max(best, operations / (time.perf_counter() - start))
                with ThreadPoolExecutor(threads) as pool:
                    start = time.perf_counter()
                    list(pool.map(work, [product] * threads, [rows] * threads))
                best = max(best, threads * operations / (time.perf_counter() - start))
    return best


def main() -> None:
    name, checkpoint, cache = sys.argv[1:4]
    # What the packages print must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    from peers import PEERS, make_peer

    if PEERS[name][1] != "openvino":
        import torch

        torch.set_num_threads(int(os.environ["THREADS"]))
    start = time.perf_counter()
    peer = make_peer(name, checkpoint, cache)
    print(json.dumps({"loaded": time.perf_counter() - start}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            result = answer(peer, json.loads(line))
        except Exception as error:  # the others are measured all the same
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
