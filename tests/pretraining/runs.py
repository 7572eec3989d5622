"""Small runs: a store of made-up sentences that takes a second to learn something from."""

import filecmp
import random
from pathlib import Path
from typing import Any, Dict, List

import torch

from spacy_bert.pretraining.config import PretrainConfig
from spacy_bert.pretraining.loop import RunResult, pretrain
from spacy_bert.pretraining.store import TokenStore
from spacy_bert.pretraining.store_writer import write_store
from spacy_bert.wordpiece import WordPieceTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"{a}{b}" for a in "bdfgk" for b in "aeiou"]


def make_tokenizer(more: int = 0) -> WordPieceTokenizer:
    """more (int): Pieces beyond those that are used. RETURNS (WordPieceTokenizer): 33 and those."""
    return WordPieceTokenizer(
        [*SPECIALS, *WORDS, "##x", "##y", "##z", *(f"m{i}" for i in range(more))]
    )


def make_documents(n: int = 50) -> List[List[str]]:
    """n (int): How many. RETURNS (List[List[str]]): Their sentences. Each document has words of
    its own, in alphabetical order within a sentence: both objectives have something to find."""
    draws = random.Random(0)
    documents = []
    for _ in range(n):
        topic = draws.sample(WORDS, 8)
        documents.append(
            [
                " ".join(sorted(draws.choice(topic) for _ in range(draws.randint(6, 14))))
                for _ in range(draws.randint(4, 16))
            ]
        )
    return documents


def make_store(path: Path, *, n_documents: int = 50, more: int = 0) -> TokenStore:
    """path (Path): Where. RETURNS (TokenStore): A store of `n_documents` small documents."""
    return write_store(path, make_documents(n_documents), make_tokenizer(more))


def make_config(store: Path, changes: Dict[str, Any] = {}) -> PretrainConfig:  # noqa: B006
    """store (Path): The store.
    changes (Dict[str, Any]): "section.key" -> value.
    RETURNS (PretrainConfig): A run of 24 steps with everything in it: accumulation, two lengths of
        sequences, evaluations, and states that are saved at other steps than these."""
    data: Dict[str, Dict[str, Any]] = {
        "paths": {"store": str(store)},
        "encoder": {"width": 16, "depth": 2, "heads": 2, "max_positions": 64},
        "objective": {},
        "training": {
            "max_steps": 24,
            "batch_pieces": 192,
            "accumulate": 2,
            "max_length": 32,
            "final_length": 48,
            "final_share": 0.4,
            "held_out": 0.1,
            "eval_every": 6,
            "save_every": 5,
        },
        "optimizer": {"learn_rate": 1e-2, "warmup_steps": 4},
        "logging": {"every": 4, "samples": 2},
    }
    for key, value in changes.items():
        section, name = key.split(".")
        data[section][name] = value
    return PretrainConfig.from_dict(data)


def run_alone(store: str, output: str, changes: Dict[str, Any], resume: bool) -> None:
    """What a process of its own does."""
    torch.set_num_threads(1)
    pretrain(make_config(Path(store), changes), output, resume=resume, quiet=True)


def run_here(config: PretrainConfig, output: Path, *, resume: bool = False) -> RunResult:
    """RETURNS (RunResult): How a run ended that this process made, with one thread."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return pretrain(config, output, resume=resume, quiet=True)
    finally:
        torch.set_num_threads(n_threads)


def same_files(one: Path, other: Path) -> bool:
    """RETURNS (bool): Whether two folders hold the same files, byte by byte; and any at all."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    equal, different, faulty = filecmp.cmpfiles(one, other, names, shallow=False)
    return bool(equal) and not different and not faulty


def same_checkpoints(one: Path, other: Path) -> bool:
    """RETURNS (bool): Whether two runs ended with the same checkpoints."""
    return all(same_files(one / n, other / n) for n in ("checkpoint-last", "checkpoint-best"))
