"""One measurement of one way of pretraining. Prints a line of JSON; see pretraining.py."""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import torch
from torch import Tensor

from spacy_bert.encoder import load_checkpoint
from spacy_bert.pretraining.batches import PretrainingBatch, PretrainingStream
from spacy_bert.pretraining.config import PretrainConfig
from spacy_bert.pretraining.evaluation import Evaluation
from spacy_bert.pretraining.loop import pretrain
from spacy_bert.pretraining.objective import PretrainingModel
from spacy_bert.pretraining.optimizer import learn_rate, progress_of
from spacy_bert.pretraining.store import TokenStore

WARM_UP = 4  # steps that are not timed


def make_config(args: argparse.Namespace) -> PretrainConfig:
    """RETURNS (PretrainConfig): What both do; the peer keeps to it as far as it is concerned."""
    timed = args.mode == "speed"
    return PretrainConfig.from_dict(
        {
            "paths": {"store": str(args.store), "checkpoint": str(args.start)},
            "encoder": {},
            "training": {
                "max_steps": WARM_UP + args.steps if timed else None,
                "max_hours": None if timed else args.minutes / 60,
                "batch_pieces": args.batch_pieces,
                "precision": args.precision,
                "held_out": 0.0 if timed else 0.02,
                "eval_every": 10**9,
                "save_every": 10**9,
            },
            "optimizer": {"learn_rate": args.learn_rate, "warmup_steps": args.warmup_steps},
            "logging": {"every": WARM_UP if timed else 50, "samples": 0},
        }
    )


def run_ours(config: PretrainConfig, folder: Path) -> Path:
    """RETURNS (Path): The checkpoint; what was logged is beside it."""
    pretrain(config, folder)
    return folder / "checkpoint-last"


def run_huggingface(config: PretrainConfig, folder: Path) -> Path:
    """A plain loop. RETURNS (Path): The checkpoint; what was logged is beside it."""
    from transformers import BertForPreTraining

    training, optimizer = config.training, config.optimizer
    model = BertForPreTraining.from_pretrained(str(config.paths.checkpoint)).train()
    decaying = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    stepper = torch.optim.AdamW(
        [
            {"params": decaying, "weight_decay": optimizer.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=optimizer.learn_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.eps,
        fused=True,
    )
    log = Log(folder, every=config.logging.every)
    begin, progress = time.perf_counter(), 0.0
    for step, batch in enumerate(read(config), start=1):
        for group in stepper.param_groups:
            group["lr"] = learn_rate(optimizer, step=step - 1, progress=progress)
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16"):
            loss = model(**padded(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimizer.grad_clip)
        stepper.step()
        stepper.zero_grad()
        seconds = time.perf_counter() - begin
        log.add(step, len(batch.pieces.ids), seconds, float(loss))
        progress = progress_of(training, step=step, seconds=seconds)
        if progress >= 1.0:
            break
    model.save_pretrained(folder / "checkpoint-last")
    load_checkpoint(str(config.paths.checkpoint)).tokenizer.to_disk(folder / "checkpoint-last")  # type: ignore[union-attr]
    return folder / "checkpoint-last"


def read(config: PretrainConfig) -> Iterator[PretrainingBatch]:
    """YIELDS (PretrainingBatch): The batches that our loop reads, too."""
    store = TokenStore.open(config.paths.store)
    train, _ = store.split(config.training.held_out, seed=config.training.seed)
    yield from PretrainingStream(
        store,
        train,
        objective=config.objective,
        max_length=config.training.max_length,
        batch_pieces=config.training.batch_pieces,
        seed=config.training.seed,
    )


def padded(batch: PretrainingBatch) -> Dict[str, Tensor]:
    """RETURNS (Dict[str, Tensor]): The batch as HuggingFace's model takes it."""
    pieces = batch.pieces
    n_seqs, longest = pieces.n_seqs, pieces.max_seqlen
    labels = torch.full_like(pieces.ids, -100)
    labels[batch.masked_rows] = batch.masked_ids
    mask = torch.arange(longest)[None] < torch.tensor(pieces.lengths)[:, None]

    def pad(rows: Tensor, value: int) -> Tensor:
        out = torch.full((n_seqs, longest), value, dtype=rows.dtype)
        out[mask] = rows
        return out

    return {
        "input_ids": pad(pieces.ids, 0),
        "token_type_ids": pad(pieces.type_ids, 0),
        "attention_mask": mask.long(),
        "labels": pad(labels, -100),
        "next_sentence_label": batch.not_next,
    }


class Log:
    """Writes lines such as our loop writes, as far as they are read here."""

    def __init__(self, folder: Path, *, every: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "metrics.jsonl").open("w", encoding="utf8")
        self._every, self._pieces, self._last, self._last_pieces = every, 0, 0.0, 0

    def add(self, step: int, n_pieces: int, seconds: float, loss: float) -> None:
        self._pieces += n_pieces
        if step % self._every == 0:
            rate = (self._pieces - self._last_pieces) / (seconds - self._last)
            self._last, self._last_pieces = seconds, self._pieces
            row = {"event": "train", "step": step, "pieces": self._pieces, "seconds": seconds}
            self._file.write(json.dumps({**row, "loss": loss, "pieces_per_second": rate}) + "\n")
            self._file.flush()


RUN: Dict[str, Callable[[PretrainConfig, Path], Path]] = {
    "ours": run_ours,
    "huggingface": run_huggingface,
}


def logged(folder: Path) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): The lines about training."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == "train"]


def held_out(config: PretrainConfig, checkpoint: Path) -> Dict[str, Optional[float]]:
    """RETURNS (Dict[str, Optional[float]]): Losses and accuracies of a checkpoint on the held-out
    documents, in 32 bits: the same masks for all."""
    store = TokenStore.open(config.paths.store)
    _, documents = store.split(config.training.held_out, seed=config.training.seed)
    trained = load_checkpoint(checkpoint)
    model = PretrainingModel(trained.config, nsp=True)
    model.load(trained)
    result = Evaluation(store, documents, config)(
        model, autocast=lambda: torch.autocast("cpu", enabled=False)
    )
    assert result is not None
    return {key: value for key, value in result.items() if key != "samples"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["speed", "race"])
    parser.add_argument("--peer", choices=sorted(RUN), required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch-pieces", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--learn-rate", type=float, default=1e-4)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    config = make_config(args)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.output or Path(temporary) / "run"
        checkpoint = RUN[args.peer](config, folder)
        rows = logged(folder)
        result: Dict[str, Any] = {"steps": rows[-1]["step"], "pieces": rows[-1]["pieces"]}
        if args.mode == "speed":
            pieces = rows[-1]["pieces"] - rows[0]["pieces"]
            result["pieces_per_second"] = pieces / (rows[-1]["seconds"] - rows[0]["seconds"])
        else:
            result.update(held_out(config, checkpoint))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
