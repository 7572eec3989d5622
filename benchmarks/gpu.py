"""On a GPU: pretraining steps and inference, where nothing but torch, tokenizers and this clone is there.

    python benchmarks/gpu.py [--size base] [--steps 60] [--compile]

Makes text of random words, so that no data is needed. Prints pieces per second and the share of the
measured peak of matrix products, and writes JSON and a table to benchmarks/results/. With the
`transformers` package installed, its BertModel (padded batches, sdpa) encodes the same sequences.
With --compile, pretraining runs with compiled layers, and inference both ways.
"""

import argparse
import copy
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import torch

# The clone need not be installed: that would ask for spaCy.
sys.path.insert(0, str(Path(__file__).parent.parent))

from spacy_bert.encoder import BertConfig, BertEncoder, initialize_weights, pack, save_checkpoint
from spacy_bert.encoder.bert import compile_layers
from spacy_bert.encoder.checkpoint import Checkpoint
from spacy_bert.encoder.engine import make_engine
from spacy_bert.encoder.heads import Pooler
from spacy_bert.pretraining.config import PretrainConfig
from spacy_bert.pretraining.documents import find_files
from spacy_bert.pretraining.flops import peak_flops, step_flops
from spacy_bert.pretraining.loop import pretrain
from spacy_bert.pretraining.preparing import prepare
from spacy_bert.wordpiece.trainer import train_vocab

HERE = Path(__file__).parent
VOCABULARY = 30_522  # rows of the embedding, whatever the vocabulary of the random text is
ROUNDS = 5
LIKENESS = 0.99  # cosine: both compute in bfloat16


def pretraining(args: argparse.Namespace, folder: Path, length: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What the log of a run says of its second half."""
    numbers = random.Random(0)
    syllables = [
        a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")
    ]
    words = ["".join(numbers.choices(syllables, k=numbers.randint(1, 3))) for _ in range(20_000)]
    texts = folder / "texts"
    if not texts.exists():
        texts.mkdir()
        for number in range(8):
            lines = [
                "\n".join(" ".join(numbers.choices(words, k=18)) + "." for _ in range(40))
                for _ in range(args.documents // 8)
            ]
            (texts / f"{number}.txt").write_text("\n\n\n".join(lines), encoding="utf8")
        tokenizer = train_vocab(
            (path.read_text(encoding="utf8") for path in sorted(texts.iterdir())), size=8000
        )
        prepare(folder / "store", find_files([texts]), tokenizer)
    config = PretrainConfig.from_dict(
        {
            "paths": {"store": str(folder / "store")},
            "encoder": {"size": args.size},
            "training": {
                "max_steps": args.steps, "batch_pieces": args.batch_pieces, "max_length": length,
                "precision": "bf16", "held_out": 0.0, "eval_every": 10**9, "save_every": 10**9,
                "compile": args.compile,
            },
            "logging": {"every": max(1, args.steps // 4), "samples": 0},
        }
    )  # fmt: skip
    pretrain(config, folder / f"run-{length}")
    rows = [json.loads(line) for line in (folder / f"run-{length}" / "metrics.jsonl").open()]
    last = [row for row in rows if row["event"] == "train"][-2:]
    return {key: statistics.mean(r[key] for r in last) for key in ("pieces_per_second", "mfu")}


def pad(sequences: List[np.ndarray]) -> List[torch.Tensor]:
    """RETURNS (List[torch.Tensor]): Ids and mask, shape (n_sequences, longest)."""
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.from_numpy(sequence)
        mask[row, : len(sequence)] = 1
    return [ids, mask]


def inference(args: argparse.Namespace, folder: Path, device: torch.device) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Pieces a second over sequences of mixed length, in bfloat16."""
    numbers = np.random.default_rng(0)
    config = BertConfig.from_size(args.size, vocab_size=VOCABULARY)
    encoder = BertEncoder(config)
    initialize_weights(encoder, std=config.initializer_range)
    lengths = np.sort(np.clip(numbers.lognormal(4.2, 0.8, args.sequences).astype(int), 8, 512))
    sequences = [numbers.integers(1000, VOCABULARY, n) for n in lengths]
    needed = step_flops(config, lengths.tolist(), n_masked=0, nsp=False) / 3
    parts, start = [], 0
    for end in range(1, len(sequences) + 1):
        if end == len(sequences) or sum(lengths[start : end + 1]) > args.batch_pieces:
            parts.append(pack(sequences[start:end]).to(device))
            start = end
    engine = make_engine(encoder.to(device).eval(), "bf16")
    ways: Dict[str, Callable[[], Any]] = {"ours": lambda: [engine(part) for part in parts]}
    if args.compile:
        compiled = copy.deepcopy(encoder)
        compile_layers(compiled)

        def run_compiled() -> Any:
            with torch.autocast(device.type, torch.bfloat16):
                return [compiled(part) for part in parts]

        ways["ours, compiled"] = run_compiled
    try:
        from transformers import BertModel
    except ImportError:
        print("transformers is not installed: HuggingFace is left out", file=sys.stderr)
    else:
        network = torch.nn.ModuleDict({"encoder": encoder, "pooler": Pooler(config)})
        checkpoint = Checkpoint(config, None, dict(network.state_dict()), "random")
        save_checkpoint(folder / "checkpoint", checkpoint)
        model = BertModel.from_pretrained(str(folder / "checkpoint"), torch_dtype=torch.bfloat16)
        model = model.to(device).eval()

        # As many pieces at once as ours, padding included; on the device before the clock starts, too.
        padded, first = [], 0
        for end in range(1, len(sequences) + 1):
            if end == len(sequences) or (end + 1 - first) * lengths[end] > args.batch_pieces:
                padded.append([part.to(device) for part in pad(sequences[first:end])])
                first = end
        ways["huggingface"] = lambda: [model(ids, attention_mask=mask) for ids, mask in padded]
        with torch.inference_mode():
            theirs = model(padded[0][0], attention_mask=padded[0][1]).last_hidden_state
            check_agreement(engine(parts[0]), theirs, lengths)
    times: Dict[str, List[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for number in range(ROUNDS + 1):
            for name, run in ways.items():
                start_time = time.perf_counter()
                run()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number:
                    times[name].append(time.perf_counter() - start_time)
    peak = peak_flops(device, torch.bfloat16)
    return {
        name: {
            "pieces_per_second": float(lengths.sum()) / statistics.median(seconds),
            "share": needed / statistics.median(seconds) / peak,
        }
        for name, seconds in times.items()
    }


def check_agreement(ours: torch.Tensor, theirs: torch.Tensor, lengths: np.ndarray) -> None:
    """RAISES: ValueError if the vectors of the shortest sequences are not the same."""
    first = 0
    for row, n in zip(theirs[:8], lengths.tolist()):
        cosine = torch.cosine_similarity(ours[first : first + n].float(), row[:n].float()).min()
        if not cosine > LIKENESS:
            raise ValueError(
                f"The vectors of a sequence of {n} pieces differ: cosine {cosine:.4f}."
            )
        first += n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="base")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-pieces", type=int, default=32_768)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--sequences", type=int, default=4000)
    parser.add_argument("--lengths", default="128,512")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    results: Dict[str, Any] = {"device": name, "torch": torch.__version__, "settings": settings}
    with tempfile.TemporaryDirectory() as folder:
        results["inference"] = inference(args, Path(folder), device)
        for length in map(int, args.lengths.split(",")):
            results[f"pretraining {length}"] = pretraining(args, Path(folder), length)
    lines = [f"| {args.size}, bfloat16, {name} | pieces/s | share of peak |", "|---|--:|--:|"]
    for way, found in results["inference"].items():
        lines.append(
            f"| inference, {way} | {found['pieces_per_second']:,.0f} | {found['share']:.0%} |"
        )
    for key, found in results.items():
        if key.startswith("pretraining"):
            rate = f"{found['pieces_per_second']:,.0f}"
            lines.append(f"| {key} pieces | {rate} | {found['mfu']:.0%} |")
    table = "\n".join(lines) + "\n"
    print(table)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "gpu.json").write_text(json.dumps(results, indent=2), encoding="utf8")
    (args.output / "gpu.md").write_text(table, encoding="utf8")


if __name__ == "__main__":
    main()
