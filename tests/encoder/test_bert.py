"""The encoder against HuggingFace's BertModel, and what must hold for it whatever the weights."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_bert.encoder import BertConfig, BertEncoder, Pooler, initialize_weights, pack, unpack
from spacy_bert.encoder.bert import Layer
from spacy_bert.encoder.names import name_table

transformers = pytest.importorskip("transformers")

MIXED = [1, 32, 7, 7, 2, 19, 7, 32, 3]


def difference(rows, padded, mask):
    """Largest absolute difference where there are pieces."""
    return (rows - padded[mask.bool()]).abs().max().item()


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_equals_huggingface(activation, make_hf, via_disk, make_encoder, make_batch):
    """Catches any deviation of the network: order of the sublayers, scale, activation, epsilon,
    positions, segment types, padding that leaks in, rows that leave in another order."""
    # A large epsilon: if it is ignored, it shows.
    theirs = make_hf(transformers.BertModel, hidden_act=activation, layer_norm_eps=1e-2)
    ours = make_encoder(via_disk(theirs))
    batch = make_batch(MIXED)
    with torch.no_grad():
        expected = theirs(batch.ids, batch.mask, batch.type_ids).last_hidden_state
        rows = ours(batch.pieces)
    assert rows.shape == (sum(MIXED), 24)
    assert difference(rows, expected, batch.mask) <= 1e-5


def test_left_to_right_equals_huggingface(make_hf, via_disk, make_encoder, make_batch):
    """Catches an encoder that was pretrained left to right and reads both ways: `is_decoder` lost on
    the way through a config.json, or a mask that is shifted by one."""
    theirs = make_hf(transformers.BertModel, is_decoder=True)
    checkpoint = via_disk(theirs)
    assert checkpoint.config.causal and checkpoint.config.to_hf()["is_decoder"]
    ours = make_encoder(checkpoint)
    batch = make_batch(MIXED)
    with torch.no_grad():
        expected = theirs(batch.ids, batch.mask, batch.type_ids).last_hidden_state
        assert difference(ours(batch.pieces), expected, batch.mask) <= 1e-5
        assert difference(ours(batch.pieces, causal=False), expected, batch.mask) > 0.1


def test_activations_differ(make_hf, make_batch):
    """Catches a reference that cannot tell the activations apart, which would make the test above
    vacuous."""
    batch = make_batch(MIXED)
    outputs = []
    for activation in ("gelu", "gelu_new", "relu"):
        model = make_hf(transformers.BertModel, hidden_act=activation)
        with torch.no_grad():
            outputs.append(model(batch.ids, batch.mask, batch.type_ids).last_hidden_state)
    assert difference(outputs[0][batch.mask.bool()], outputs[1], batch.mask) > 1e-5
    assert difference(outputs[0][batch.mask.bool()], outputs[2], batch.mask) > 1e-5


def test_segment_types_count(make_hf, via_disk, make_encoder, make_batch):
    """Catches an encoder that ignores the segment types."""
    ours = make_encoder(via_disk(make_hf(transformers.BertModel)))
    pieces = make_batch(MIXED).pieces
    flipped = pieces._replace(type_ids=1 - pieces.type_ids)
    with torch.no_grad():
        assert (ours(pieces) - ours(flipped)).abs().amin(dim=1).max() > 1e-3


def test_hidden_states(make_hf, via_disk, make_encoder, make_batch):
    """Catches hidden states that are not those between the layers, lowest first."""
    theirs = make_hf(transformers.BertModel)
    ours = make_encoder(via_disk(theirs))
    batch = make_batch(MIXED)
    states = []
    with torch.no_grad():
        expected = theirs(
            batch.ids, batch.mask, batch.type_ids, output_hidden_states=True
        ).hidden_states
        last = ours(batch.pieces, hidden_states=states)
    assert len(states) == len(expected) == 4
    for rows, padded in zip(states, expected, strict=True):
        assert difference(rows, padded, batch.mask) <= 1e-5
    assert states[-1] is last


def test_real_checkpoint(real_checkpoint, real_path, make_encoder, texts):
    """Catches what random weights are too tame to show: the values of a trained network, at full
    length, through its own vocabulary."""
    theirs = transformers.BertModel.from_pretrained(real_path).eval()
    ours = make_encoder(real_checkpoint)
    tokenizer = real_checkpoint.tokenizer
    sequences = [
        np.array([tokenizer.cls_id, *encoded.ids[:510], tokenizer.sep_id])
        for encoded in tokenizer.encode_batch(texts)
    ]
    assert max(map(len, sequences)) == 512 and min(map(len, sequences)) == 3
    pieces = pack(sequences)
    with torch.no_grad():
        for ids, rows in zip(sequences, unpack(ours(pieces), pieces), strict=True):
            expected = theirs(torch.from_numpy(ids)[None]).last_hidden_state[0]
            assert (rows - expected).abs().max() <= 1e-5


def test_gradient_equals_huggingface(make_hf, via_disk, make_encoder, make_batch):
    """Catches a weight that gets no gradient, or a wrong one, though the forward is right."""
    theirs = make_hf(transformers.BertModel)
    checkpoint = via_disk(theirs)
    ours = make_encoder(checkpoint)
    batch = make_batch(MIXED)
    torch.manual_seed(1)
    direction = torch.randn(sum(MIXED), 24)
    padded = theirs(batch.ids, batch.mask, batch.type_ids).last_hidden_state
    (padded[batch.mask.bool()] * direction).sum().backward()
    (ours(batch.pieces) * direction).sum().backward()
    expected = {f"bert.{name}": p.grad for name, p in theirs.named_parameters()}
    found = {f"encoder.{name}": p.grad for name, p in ours.named_parameters()}
    entries = [entry for entry in name_table(checkpoint.config) if entry.part == "encoder"]
    assert {entry.ours for entry in entries} == set(found)
    for entry in entries:
        grad = torch.cat([expected[name] for name in entry.theirs])
        assert found[entry.ours].abs().max() > 0 or "qkv.bias" in entry.ours
        # HuggingFace gives the padding piece no gradient; here, no row is padding.
        rows = slice(1, None) if "pieces" in entry.ours else slice(None)
        scale = max(1.0, grad.abs().max().item())
        assert (found[entry.ours][rows] - grad[rows]).abs().max() <= 1e-5 * scale, entry.ours


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 32), min_size=1, max_size=8), st.randoms())
def test_batch_independence(make_batch, tiny_config, lengths, random):
    """Catches results that depend on what else is in the batch, or where in it a sequence is."""
    torch.manual_seed(0)
    encoder = BertEncoder(tiny_config).eval()
    pieces = make_batch(lengths).pieces
    ids, types = unpack(pieces.ids, pieces), unpack(pieces.type_ids, pieces)
    order = random.sample(range(len(lengths)), len(lengths))
    shuffled = pack([ids[i].numpy() for i in order], [types[i].numpy() for i in order])
    with torch.no_grad():
        in_batch = unpack(encoder(pieces), pieces)
        in_other = unpack(encoder(shuffled), shuffled)
        for place, i in enumerate(order):
            alone = encoder(pack([ids[i].numpy()], [types[i].numpy()]))
            torch.testing.assert_close(in_batch[i], alone, rtol=0, atol=1e-5)
            torch.testing.assert_close(in_other[place], alone, rtol=0, atol=1e-5)


def test_empty_batch(tiny_config):
    """Catches a crash where no text of a batch has a piece."""
    encoder = BertEncoder(tiny_config)
    assert encoder(pack([])).shape == (0, 24)
    encoder.gradient_checkpointing = True
    assert encoder(pack([])).shape == (0, 24)


def test_too_long(tiny_config, make_batch):
    """Catches an index error, or worse, a read beyond the position table."""
    encoder = BertEncoder(tiny_config).eval()
    encoder(make_batch([32]).pieces)
    with pytest.raises(ValueError, match="sequence of 33 pieces.*32 positions.*shorter windows"):
        encoder(make_batch([3, 33]).pieces)


@pytest.mark.parametrize(
    "rates", [dict(hidden_dropout=0.5, attention_dropout=0.0), dict(attention_dropout=0.5)]
)
def test_dropout_in_training_only(rates, tiny_config, make_batch):
    """Catches either dropout left out of training, or left on at prediction."""
    config = tiny_config.replace(**{"hidden_dropout": 0.0, **rates})
    torch.manual_seed(0)
    encoder = BertEncoder(config)
    pieces = make_batch(MIXED).pieces
    with torch.no_grad():
        assert not torch.equal(encoder.train()(pieces), encoder(pieces))
        assert torch.equal(encoder.eval()(pieces), encoder(pieces))


def test_no_dropout_in_training_if_the_rate_is_zero(tiny_config, make_batch):
    """Catches a rate that is not the config's."""
    encoder = BertEncoder(tiny_config.replace(hidden_dropout=0.0, attention_dropout=0.0)).train()
    pieces = make_batch(MIXED).pieces
    with torch.no_grad():
        assert torch.equal(encoder(pieces), encoder.eval()(pieces))


def test_gradient_checkpointing(tiny_config, make_batch, monkeypatch):
    """Catches a recomputation that draws other dropout masks than the first run, or does not
    happen at all."""
    runs = []
    forward = Layer.forward
    monkeypatch.setattr(Layer, "forward", lambda *args: runs.append(1) or forward(*args))
    torch.manual_seed(0)
    encoder = BertEncoder(tiny_config.replace(hidden_dropout=0.3, attention_dropout=0.3)).train()
    pieces = make_batch(MIXED).pieces
    grads = {}
    for recompute in (False, True):
        runs.clear()
        encoder.zero_grad()
        encoder.gradient_checkpointing = recompute
        torch.manual_seed(7)
        encoder(pieces).square().sum().backward()
        grads[recompute] = [p.grad.clone() for p in encoder.parameters()]
        assert len(runs) == (2 if recompute else 1) * tiny_config.depth
    for a, b in zip(grads[False], grads[True], strict=True):
        torch.testing.assert_close(a, b)
    torch.manual_seed(8)
    encoder.zero_grad()
    encoder(pieces).square().sum().backward()
    assert not torch.equal(grads[True][0], encoder.embeddings.pieces.weight.grad)


def test_initialisation():
    """Catches other initial values than the paper's: truncated normal of 0.02, cut at two standard
    deviations (which leaves 0.88 of the deviation), zero biases, neutral LayerNorms."""
    torch.manual_seed(0)
    config = BertConfig.from_size("tiny", vocab_size=2000)
    encoder = BertEncoder(config)
    initialize_weights(encoder, std=config.initializer_range)
    norms = [n for n, m in encoder.named_modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 1 + 2 * config.depth
    for name, parameter in encoder.named_parameters():
        owner = name.rpartition(".")[0]
        if name.endswith(".bias"):
            assert not parameter.any(), name
        elif owner in norms:
            assert (parameter == 1).all(), name
        else:
            n = parameter.numel()
            assert parameter.abs().max() <= 0.04, name
            # Five standard errors of the mean and of the deviation.
            assert parameter.mean().item() == pytest.approx(0, abs=5 * 0.0176 / n**0.5), name
            assert parameter.std().item() == pytest.approx(0.0176, rel=5 / (2 * n) ** 0.5), name


def test_initialisation_of_a_head():
    """Catches heads that keep torch's own initial values."""
    pooler = Pooler(BertConfig.from_size("tiny"))
    initialize_weights(pooler, std=0.01)
    assert pooler.dense.weight.abs().max() <= 0.02
    assert not pooler.dense.bias.any()
