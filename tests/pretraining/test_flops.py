"""Operations are counted as torch counts them."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from spacy_bert.encoder import BertConfig, dropped_attention, pack
from spacy_bert.pretraining.batches import PretrainingBatch
from spacy_bert.pretraining.flops import peak_flops, step_flops
from spacy_bert.pretraining.objective import PretrainingModel, Totals


@pytest.mark.parametrize("nsp", [True, False])
def test_equals_what_torch_counts(nsp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a product that is forgotten, or counted twice: MFU would be wrong by its share."""
    # MFU counts what the network takes: not the sequences that are filled up to take fewer operations,
    monkeypatch.setattr(dropped_attention, "WORTH_A_BLOCK", 0)
    monkeypatch.setattr(dropped_attention, "WORTH_KEEPING", 0)
    dropped_attention.plan_blocks.cache_clear()
    config = BertConfig(
        vocab_size=101, width=24, depth=3, heads=2, intermediate_width=40, max_positions=32
    )
    lengths = [30, 30, 7]
    batch = PretrainingBatch(
        pack([np.arange(length) for length in lengths]),
        torch.arange(0, 60, 6),
        torch.arange(10),
        torch.zeros(3, dtype=torch.int64),
    )
    model = PretrainingModel(config, nsp=nsp).train()
    # In bfloat16: torch does not count products that are added in place, as they are in fp32.
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
        model(batch, Totals.of([batch]))[0].backward()
    expected = step_flops(config, lengths, n_masked=10, nsp=nsp)
    dropped_attention.plan_blocks.cache_clear()
    # nor that the scores of attention are made once more for the gradient.
    expected += config.depth * sum(2 * length**2 * config.width for length in lengths)
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-9)


def test_peak_is_that_of_products() -> None:
    """Catches a time or a size that is off by an order of magnitude, and random numbers that the
    measurement takes from the run."""
    state = torch.get_rng_state()
    peak = peak_flops(torch.device("cpu"), torch.float32)
    assert 1e8 < peak < 1e14
    assert torch.equal(torch.get_rng_state(), state)
