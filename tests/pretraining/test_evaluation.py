"""Evaluation: the same figures for the same weights, and no trace in the run."""

import math
from typing import Any, Dict

import pytest
import torch

from spacy_bert.encoder import BertConfig
from spacy_bert.pretraining.batches import PretrainingStream
from spacy_bert.pretraining.evaluation import Evaluation, as_text, choose_gaps, score_of
from spacy_bert.pretraining.objective import PretrainingModel, masked_logits
from spacy_bert.pretraining.store import TokenStore

from .runs import make_config, make_store, make_tokenizer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return make_store(tmp_path_factory.mktemp("corpus") / "store")


def make(store: TokenStore, changes: Dict[str, Any] = {}) -> Any:  # noqa: B006
    config = make_config(store.path, {"training.held_out": 0.3, **changes})
    _, held_out = store.split(0.3, seed=0)
    torch.manual_seed(0)
    sizes = BertConfig(
        vocab_size=len(store.tokenizer), width=16, depth=2, heads=2, intermediate_width=32,
        max_positions=64, initializer_range=0.2,
    )  # fmt: skip
    model = PretrainingModel(
        sizes, nsp=config.objective.nsp, causal=config.objective.causal
    ).train()
    return Evaluation(store, held_out, config), model, config, held_out


def fp32() -> Any:
    return torch.autocast("cpu", enabled=False)


def test_figures_are_right(store: TokenStore) -> None:
    """Catches means over batches instead of over pieces, dropout in evaluation, sequences of a length
    other than that of the run's last part, and a baseline that
    is not that of the masked pieces."""
    evaluation, model, config, held_out = make(store, {"training.eval_pieces": 0})
    result = evaluation(model, autocast=fp32)
    losses, right, guess, n = 0.0, 0, 0, 0
    not_next = []
    model.eval()
    stream = PretrainingStream(
        store, held_out, objective=config.objective, max_length=48, batch_pieces=192, seed=0, epochs=1
    )  # fmt: skip
    with torch.no_grad():
        for batch in stream:
            logits = masked_logits(model, batch)
            shares = logits.log_softmax(1).gather(1, batch.masked_ids[:, None])
            losses -= float(shares.sum())
            right += int((logits.argmax(1) == batch.masked_ids).sum())
            guess += int((batch.masked_ids == store.manifest.most_frequent_id).sum())
            n += len(batch.masked_ids)
            not_next += batch.not_next.tolist()
    assert n > 100 and guess > 0
    share = sum(not_next) / len(not_next)
    assert result["nsp_baseline"] == max(share, 1 - share) > 0.5
    assert result["mlm_loss"] == pytest.approx(losses / n, rel=1e-5)
    assert result["mlm_accuracy"] == right / n
    assert result["mlm_baseline"] == guess / n
    assert result["mlm_perplexity"] == pytest.approx(math.exp(losses / n), rel=1e-4)
    assert score_of(result) == result["mlm_loss"] + result["nsp_loss"]


def test_leaves_no_trace(store: TokenStore) -> None:
    """Catches random numbers that are drawn, gradients that are left, and a network that stays in
    evaluation mode: the run would depend on how often it is evaluated."""
    evaluation, model, _, _ = make(store)
    state = torch.get_rng_state()
    first = evaluation(model, autocast=fp32)
    assert evaluation(model, autocast=fp32) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and all(p.grad is None for p in model.parameters())


def test_gives_up(store: TokenStore) -> None:
    """Catches a long evaluation that a signal cannot end."""
    evaluation, model, _, _ = make(store)
    assert evaluation(model, autocast=fp32, stopping=lambda: True) is None
    assert model.training


def test_reads_as_much_as_is_asked_for(store: TokenStore) -> None:
    """Catches an evaluation that takes longer than the training."""
    few, *_ = make(store, {"training.eval_pieces": 200})
    assert 200 <= sum(len(batch.pieces.ids) for batch in few._batches) < 200 + 192


@pytest.mark.parametrize("causal", [False, True])
def test_gaps(causal: bool, store: TokenStore) -> None:
    """Catches a gap that shows its answer, or asks at the wrong row."""
    tokenizer = store.tokenizer
    gaps = choose_gaps(store, store.documents, 20, seed=0, causal=causal)
    assert len(gaps) == 20 and len({gap.text for gap in gaps}) == 20
    for gap in gaps:
        words = gap.text.split()
        assert words.count("[MASK]") == 1
        if causal:
            assert words[-1] == "[MASK]" and tokenizer.mask_id not in gap.ids
            assert gap.row == len(words) - 1  # the last word before the gap, after [CLS]
        else:
            assert gap.ids[gap.row] == tokenizer.mask_id
            assert gap.row == words.index("[MASK]") + 1
        assert gap.answer in tokenizer.pieces
    assert choose_gaps(store, store.documents, 20, seed=1, causal=causal) != gaps


def test_a_causal_network_is_asked_from_the_left(store: TokenStore) -> None:
    """Catches a causal network that is evaluated as if it saw both sides."""
    changes = {"objective.nsp": False, "objective.causal": True}
    evaluation, model, _, _ = make(store, changes)
    result = evaluation(model, autocast=fp32)
    assert result["nsp_loss"] is None and result["mlm_loss"] > 0
    assert all(sample["text"].endswith("[MASK]") for sample in result["samples"])


def test_text() -> None:
    """Catches pieces that are not joined to words."""
    tokenizer = make_tokenizer()
    ids = [tokenizer.pieces.index(piece) for piece in ("ba", "##x", "##y", "be", "[MASK]")]
    assert as_text(tokenizer, ids) == "baxy be [MASK]"
