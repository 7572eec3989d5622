"""Weights from a checkpoint and from a generator, into the model that they are meant for."""

from pathlib import Path
from typing import Callable

import pytest
import torch

from spacy_bert.encoder import load_checkpoint
from spacy_bert.layers import weights as weights_module
from spacy_bert.layers.doc_encoder import find_part, shim_of
from spacy_bert.layers.weights import load_weights, randomize_weights
from spacy_bert.models.encoder import Bert
from spacy_bert.wordpiece import WordPieceTokenizer

from .reference import build, network_of


def test_sizes_disagree(make_checkpoint: Callable[..., Path], tiny_checkpoint: Path) -> None:
    """Weights of another network that are loaded as far as they fit; an error that names one size
    of several."""
    model = build(tiny_checkpoint)
    before = {n: p.clone() for n, p in network_of(model).state_dict().items()}
    other = load_checkpoint(make_checkpoint(depth=1, layer_norm_eps=1e-6))
    with pytest.raises(ValueError, match="depth = 2 .* 1; layer_norm_eps = 1e-12 .* 1e-06"):
        load_weights(model, other)
    after = network_of(model).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_dropout_is_the_users_choice(make_checkpoint: Callable[..., Path]) -> None:
    """A checkpoint that overrides the config's dropout, or that is refused for its own."""
    checkpoint = make_checkpoint(hidden_dropout=0.5)
    model = build(checkpoint, hidden_dropout=0.0)
    assert network_of(model).encoder.config.hidden_dropout == 0.0


def test_no_vocabulary(tiny_checkpoint: Path) -> None:
    """A vocabulary that is taken away by a checkpoint that was loaded without."""
    model = build(tiny_checkpoint)
    with pytest.raises(ValueError, match="loaded without its vocabulary.*tokenizer=False"):
        load_weights(model, load_checkpoint(tiny_checkpoint, tokenizer=False))
    assert find_part(model, "doc-windows").attrs["tokenizer"].get()


def test_interrupted(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that nobody filled, taken for weights."""
    model, checkpoint = build(tiny_checkpoint), load_checkpoint(tiny_checkpoint)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(network_of(model).pooler, "load_state_dict", interrupt)
    monkeypatch.setattr(weights_module, "initialize_weights", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_weights(model, checkpoint)
    assert not shim_of(model).is_loaded
    monkeypatch.undo()
    load_weights(model, checkpoint)
    assert shim_of(model).is_loaded


def test_missing_pooler(make_checkpoint: Callable[..., Path]) -> None:
    """A pooler left without memory, at zero, or with what was in the memory before, where the
    checkpoint has none (sentence encoders have none)."""
    torch.manual_seed(0)
    model = build(make_checkpoint(parts=()))
    pooler = network_of(model).pooler.dense.requires_grad_(False)
    assert 0.01 < float(pooler.weight.std()) < 0.03
    assert float(pooler.weight.abs().max()) <= 0.04 + 1e-6
    assert torch.equal(pooler.bias, torch.zeros(32))


def test_random_weights(tiny_checkpoint: Path) -> None:
    """Training from random weights that are not BERT's (truncated normal, 0.02), or with a
    vocabulary whose ids the embedding does not have."""
    tokenizer = WordPieceTokenizer.from_disk(tiny_checkpoint)
    sizes = dict(width=32, depth=2, heads=4, intermediate_width=64, max_positions=64)
    model = Bert(vocab_size=len(tokenizer), window=12, stride=7, **sizes)
    assert not shim_of(model).is_loaded
    randomize_weights(model, tokenizer)
    weight = network_of(model).encoder.embeddings.pieces.weight.detach()
    assert 0.015 < float(weight.std()) < 0.02 and float(weight.abs().max()) <= 0.04 + 1e-6
    small = Bert(vocab_size=len(tokenizer) - 1, window=12, stride=7, **sizes)
    with pytest.raises(ValueError, match=f"vocab_size = {len(tokenizer)}"):
        randomize_weights(small, tokenizer)
