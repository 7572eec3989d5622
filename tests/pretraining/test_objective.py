"""The losses against HuggingFace's BertForPreTraining, and how they add up over batches."""

from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_bert.encoder import BertConfig, Checkpoint, load_checkpoint, pack, packing
from spacy_bert.encoder.packing import TRAINING_ROWS
from spacy_bert.encoder.parameters import parameter_groups
from spacy_bert.pretraining.batches import PretrainingBatch
from spacy_bert.pretraining.config import Optimizer
from spacy_bert.pretraining.objective import (
    COUNTS,
    PretrainingModel,
    Totals,
    masked_logits,
)
from spacy_bert.pretraining.optimizer import AdamW

transformers = pytest.importorskip("transformers")
SIZES = dict(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=40,
    max_position_embeddings=32,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
LENGTHS = [5, 9, 9, 9, 20, 32]


def make_batch(seed: int, lengths: List[int] = LENGTHS) -> PretrainingBatch:
    draws = np.random.default_rng(seed)
    # Not piece 0: HuggingFace takes it for padding, and does not train its embedding.
    ids = [draws.integers(1, 61, length) for length in lengths]
    types = [(np.arange(length) >= length // 2) * 1 for length in lengths]
    rows = np.sort(draws.permutation(sum(lengths))[: max(1, sum(lengths) // 7)])
    return PretrainingBatch(
        pack(ids, types),
        torch.from_numpy(rows),
        torch.from_numpy(draws.integers(0, 61, len(rows))),
        torch.from_numpy(draws.integers(0, 2, len(lengths))),
    )


def padded(batch: PretrainingBatch) -> dict:
    """RETURNS (dict): The arguments of BertForPreTraining for the same batch."""
    pieces = batch.pieces
    shape = (pieces.n_seqs, pieces.max_seqlen)
    where = torch.arange(shape[1]) < torch.tensor(pieces.lengths)[:, None]
    ids, types = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    ids[where], types[where] = pieces.ids, pieces.type_ids
    told = torch.full((len(pieces.ids),), -100)
    told[batch.masked_rows] = batch.masked_ids
    labels = torch.full(shape, -100)
    labels[where] = told
    return dict(
        input_ids=ids,
        token_type_ids=types,
        attention_mask=where.long(),
        labels=labels,
        next_sentence_label=batch.not_next,
    )


def make_pair(folder: Path) -> Tuple[Any, PretrainingModel]:
    """The same weights in theirs and in ours; no weight has a value that it is born with."""
    torch.manual_seed(0)
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**SIZES))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(folder)
    checkpoint = load_checkpoint(folder, tokenizer=False)
    ours = PretrainingModel(checkpoint.config, nsp=True)
    assert ours.load(checkpoint) == ([], [])
    return theirs.train(), ours.train()


def their_losses(theirs: Any, batch: PretrainingBatch) -> Tuple[Tensor, Tensor, Tensor]:
    """RETURNS (Tuple[Tensor, Tensor, Tensor]): The whole loss, and its two parts."""
    arguments = padded(batch)
    output = theirs(**arguments)
    logits, labels = output.prediction_logits, arguments["labels"]
    mlm = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    nsp = torch.nn.functional.cross_entropy(output.seq_relationship_logits, batch.not_next)
    return output.loss, mlm, nsp


def parts_of(tally: Tensor) -> Tuple[float, float]:
    sums = dict(zip(COUNTS, tally.tolist(), strict=True))
    return sums["mlm_loss"] / sums["mlm_count"], sums["nsp_loss"] / sums["nsp_count"]


def test_losses_equal_huggingface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a head, a loss or a mean that is not theirs; labels of the next sentence that are the
    other way round; rows that fill the batch up and are counted."""
    theirs, ours = make_pair(tmp_path)
    monkeypatch.setattr(packing, "WORTH_FILLING", 1)
    assert sum(LENGTHS) > TRAINING_ROWS and sum(LENGTHS) % TRAINING_ROWS
    for seed in range(3):
        batch = make_batch(seed)
        loss, tally = ours(batch, Totals.of([batch]))
        whole, mlm, nsp = their_losses(theirs, batch)
        assert float(loss) == pytest.approx(float(whole), abs=1e-5)
        assert parts_of(tally) == pytest.approx((float(mlm), float(nsp)), abs=1e-5)


def test_fifty_steps_equal_huggingface(tmp_path: Path) -> None:
    """Catches gradients, clipping, decay or moments that are not those of a plain loop with
    torch.optim.AdamW: the two would part within fifty steps."""
    theirs, ours = make_pair(tmp_path)
    settings = Optimizer(learn_rate=2e-3)
    optimizer = AdamW(ours, depth=3, settings=settings)
    groups = [
        {"params": [p for p in theirs.parameters() if (p.ndim >= 2) == decays], "weight_decay": d}
        for decays, d in ((True, 0.01), (False, 0.0))
    ]
    reference = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.999), eps=1e-6)
    batches = [make_batch(seed) for seed in range(5)]
    losses = []
    for step in range(50):
        batch = batches[step % 5]
        loss, _ = ours(batch, Totals.of([batch]))
        loss.backward()
        optimizer.clip_and_step(loss, learn_rate=2e-3)
        expected = their_losses(theirs, batch)[0]
        expected.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
        reference.zero_grad()
        losses.append((float(loss), float(expected)))
    assert losses[-1][0] < losses[0][0] - 0.5  # they did learn
    assert losses[-1][0] == pytest.approx(losses[-1][1], abs=1e-3)


def test_groups_are_the_same() -> None:
    """Catches parameters that no optimizer steps, or that decay and should not: theirs are counted
    by their number of dimensions in the test above."""
    model = PretrainingModel(BertConfig.from_hf(SIZES), nsp=True)
    groups = parameter_groups(model, depth=3)
    assert sum(len(g.parameters) for g in groups) == len(list(model.parameters()))
    assert all((p.ndim >= 2) == g.decays for g in groups for p in g.parameters)


@pytest.mark.parametrize("nsp", [True, False])
def test_half_batches_add_up(nsp: bool) -> None:
    """Catches a mean over each batch instead of over the step: halves with different numbers of
    masked pieces would count the same."""
    torch.manual_seed(0)
    model = PretrainingModel(BertConfig.from_hf(SIZES), nsp=nsp)
    whole = make_batch(4)
    cut = sum(LENGTHS[:4])
    first_rows = whole.masked_rows < cut
    assert 0 < int(first_rows.sum()) != int((~first_rows).sum()) > 0
    halves = []
    for start, stop, rows in ((0, 4, first_rows), (4, 6, ~first_rows)):
        begin, end = sum(LENGTHS[:start]), sum(LENGTHS[:stop])
        pieces = whole.pieces
        offsets = np.cumsum(LENGTHS[start:stop])[:-1]
        halves.append(
            PretrainingBatch(
                pack(
                    np.split(pieces.ids[begin:end].numpy(), offsets),
                    np.split(pieces.type_ids[begin:end].numpy(), offsets),
                ),
                whole.masked_rows[rows] - begin,
                whole.masked_ids[rows],
                whole.not_next[start:stop],
            )
        )

    def gradients(batches: List[PretrainingBatch]) -> Tuple[float, Tensor, List[Tensor]]:
        model.zero_grad()
        loss, tally = 0.0, torch.zeros(len(COUNTS), dtype=torch.float64)
        for batch in batches:
            part, counts = model(batch, Totals.of(batches))
            part.backward()
            loss, tally = loss + float(part), tally + counts
        return loss, tally, [p.grad.clone() for p in model.parameters()]  # type: ignore[union-attr]

    one, two = gradients([whole]), gradients(halves)
    assert one[0] == pytest.approx(two[0], rel=1e-6)
    torch.testing.assert_close(one[1], two[1], rtol=1e-6, atol=1e-6)
    for a, b in zip(one[2], two[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_tally_without_next_sentences() -> None:
    """Catches figures of an objective that is off."""
    model = PretrainingModel(BertConfig.from_hf(SIZES), nsp=False)
    batch = make_batch(0)
    loss, tally = model(batch, Totals.of([batch]))
    assert tally[3:].tolist() == [0, 0, 0] and int(tally[2]) == len(batch.masked_rows)
    assert float(loss.detach()) == pytest.approx(float(tally[0] / tally[2]))
    assert set(model.parts()) == {"encoder", "mlm"}


def test_a_batch_without_masked_pieces() -> None:
    """Catches NaN from a mean over nothing."""
    model = PretrainingModel(BertConfig.from_hf(SIZES), nsp=True)
    batch = make_batch(0)
    none = batch._replace(masked_rows=batch.masked_rows[:0], masked_ids=batch.masked_ids[:0])
    loss, tally = model(none, Totals.of([none]))
    loss.backward()
    assert tally[:3].tolist() == [0, 0, 0]
    assert float(loss.detach()) == pytest.approx(float(tally[3] / tally[5]))


def test_causal_rows_do_not_see_what_comes() -> None:
    """Catches a causal objective that can look at its answers."""
    model = PretrainingModel(BertConfig.from_hf(SIZES), nsp=False, causal=True).eval()
    batch = make_batch(0, [12])
    every_row = batch._replace(masked_rows=torch.arange(12), masked_ids=torch.arange(12))
    changed = every_row.pieces.ids.clone()
    changed[7] = (changed[7] + 1) % 61
    with torch.no_grad():
        before = masked_logits(model, every_row)
        other = every_row._replace(pieces=every_row.pieces._replace(ids=changed))
        after = masked_logits(model, other)
    assert torch.equal(before[:7], after[:7])
    assert (before[7:] - after[7:]).abs().amax(1).min() > 1e-6


def test_loading_says_what_is_missing(tmp_path: Path) -> None:
    """Catches random heads that nobody hears of."""
    config = BertConfig.from_hf(SIZES)
    whole = PretrainingModel(config, nsp=True).to_checkpoint(None, "somewhere")
    bare = Checkpoint(
        config, None, {n: t for n, t in whole.weights.items() if n.startswith("encoder")}, "x"
    )
    model = PretrainingModel(config, nsp=True)
    assert model.load(bare) == (["mlm", "pooler", "nsp"], [])
    assert torch.equal(
        model.encoder.layers[0].up.weight, bare.weights["encoder.layers.0.up.weight"]
    )
    assert PretrainingModel(config, nsp=False).load(whole) == ([], ["nsp", "pooler"])
