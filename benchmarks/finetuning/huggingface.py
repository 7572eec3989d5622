"""The reference: a plain loop around HuggingFace's models. A job as JSON in, predictions as JSON out.

AdamW without decay of biases and LayerNorms, a linear warm-up and fall of the rate, the gradient
clipped, batches padded to their longest; predictions sorted by length.
"""

import json
import math
import random
import statistics
import sys
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import torch
from clock import now
from heads import Answers, Entities, Head, Similarity, Texts
from transformers import get_linear_schedule_with_warmup

HEADS = {
    "label": Texts,
    "number": Texts,
    "similarity": Similarity,
    "entities": Entities,
    "answers": Answers,
}
PREDICTED_AT_ONCE = 64
LOGGED_EVERY = 20


def main() -> None:
    job = json.load(sys.stdin)
    recipe = job["recipe"]
    torch.manual_seed(job["seed"])
    head: Head = HEADS[job["kind"]](job["checkpoint"], job["kind"], job["train"])
    started = now()
    train(head, job["train"], recipe, seed=job["seed"])
    trained = now()
    predictions = {split: predict(head, records) for split, records in job["splits"].items()}
    predicted = now()
    print(
        json.dumps(
            {
                "predictions": predictions,
                "training": started.until(trained),
                "prediction": trained.until(predicted),
            }
        )
    )


def train(head: Head, records: List[Dict[str, Any]], recipe: Dict[str, Any], *, seed: int) -> None:
    """head (Head): The model. records (List[Dict[str, Any]]): Examples.
    recipe (Dict[str, Any]): Rate, epochs, ... seed (int): For the order of the examples."""
    size, epochs = recipe["batch_size"], recipe["epochs"]
    n_steps = math.ceil(len(records) / size) * epochs
    optimizer = make_optimizer(head.model, recipe)
    warmup = max(1, round(recipe["warmup"] * n_steps))
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, n_steps)
    order, numbers = list(range(len(records))), random.Random(seed)
    head.model.train()
    step, losses = 0, []
    for _ in range(epochs):
        numbers.shuffle(order)
        for rows in batches(order, size):
            loss = head.model(**head.batch([records[row] for row in rows], gold=True)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            losses.append(loss.item())
            if step % LOGGED_EVERY == 0 or step == n_steps:
                mean = statistics.fmean(losses[-LOGGED_EVERY:])
                print(f"step {step} of {n_steps}, mean loss {mean:.3f}", file=sys.stderr)


def make_optimizer(model: torch.nn.Module, recipe: Dict[str, Any]) -> torch.optim.AdamW:
    """model (torch.nn.Module): The model. recipe (Dict[str, Any]): Its settings.
    RETURNS (torch.optim.AdamW): AdamW with the rates of encoder and head."""
    groups: Dict[Tuple[bool, bool], List[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("bert."), parameter.ndim > 1), []).append(parameter)
    rate, scale = recipe["learning_rate"], recipe["heads_scale"]
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": rate if in_encoder else rate * scale,
                "weight_decay": recipe["weight_decay"] if decays else 0.0,
            }
            for (in_encoder, decays), parameters in groups.items()
        ],
        eps=1e-6,
        fused=True,
    )


def predict(head: Head, records: List[Dict[str, Any]]) -> List[Any]:
    """head (Head): The model. records (List[Dict[str, Any]]): Examples.
    RETURNS (List[Any]): A prediction each."""
    head.model.eval()
    order = sorted(range(len(records)), key=lambda row: head.length(records[row]))
    found: Dict[int, Any] = {}
    with torch.inference_mode():
        for rows in batches(order, PREDICTED_AT_ONCE):
            batch = [records[row] for row in rows]
            found.update(zip(rows, head.decode(batch, head.model(**head.batch(batch)))))
    return [found[row] for row in range(len(records))]


def batches(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


if __name__ == "__main__":
    main()
