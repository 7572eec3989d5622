"""The heads against HuggingFace's BertForPreTraining."""

import pytest
import torch

from spacy_bert.encoder import MaskedLMHead, NextSentenceHead, Pooler
from spacy_bert.encoder.names import name_table

transformers = pytest.importorskip("transformers")

LENGTHS = [5, 32, 1, 9, 9]


class Heads(torch.nn.Module):
    """The three heads, by the names that a checkpoint gives them."""

    def __init__(self, checkpoint):
        super().__init__()
        self.pooler = Pooler(checkpoint.config)
        self.mlm = MaskedLMHead(checkpoint.config)
        self.nsp = NextSentenceHead(checkpoint.config)
        for name, head in self.named_children():
            head.load_state_dict(checkpoint.part(name))


@pytest.fixture(params=["gelu", "gelu_new", "relu"])
def both(request, make_hf, via_disk, make_encoder):
    theirs = make_hf(transformers.BertForPreTraining, hidden_act=request.param)
    checkpoint = via_disk(theirs)
    assert checkpoint.has_pooler and checkpoint.has_mlm and checkpoint.has_nsp
    return theirs, make_encoder(checkpoint), Heads(checkpoint).eval(), checkpoint.config


def test_logits_equal_huggingface(both, make_batch):
    """Catches a deviation in a head: activation, LayerNorm, bias, tied decoder, tanh, the order of
    the two next-sentence labels."""
    theirs, encoder, heads, config = both
    batch = make_batch(LENGTHS)
    with torch.no_grad():
        expected = theirs(batch.ids, batch.mask, batch.type_ids)
        rows = encoder(batch.pieces)
        pooled = heads.pooler(rows[batch.pieces.cu_seqlens[:-1].long()])
        pieces = heads.mlm(rows, encoder.embeddings.pieces.weight)
        next_sentence = heads.nsp(pooled)
        their_pooled = theirs.bert(batch.ids, batch.mask, batch.type_ids).pooler_output
    assert pieces.shape == (sum(LENGTHS), config.vocab_size)
    assert next_sentence.shape == (len(LENGTHS), 2)
    assert (pooled - their_pooled).abs().max() <= 1e-5
    masked = expected.prediction_logits[batch.mask.bool()]
    assert (pieces - masked).abs().max() <= 1e-5 * max(1, masked.abs().max().item())
    assert (next_sentence - expected.seq_relationship_logits).abs().max() <= 1e-5


def test_gradient_of_the_pretraining_loss(both, make_batch):
    """Catches a decoder that is a copy of the embedding: then the embedding would miss the gradient
    that comes from the logits."""
    theirs, encoder, heads, config = both
    batch = make_batch(LENGTHS)
    torch.manual_seed(1)
    labels = torch.randint(0, config.vocab_size, batch.ids.shape)
    labels[batch.mask == 0] = -100
    not_next = torch.tensor([0, 1, 1, 0, 1])
    theirs(
        batch.ids, batch.mask, batch.type_ids, labels=labels, next_sentence_label=not_next
    ).loss.backward()
    rows = encoder(batch.pieces)
    pooled = heads.pooler(rows[batch.pieces.cu_seqlens[:-1].long()])
    cross_entropy = torch.nn.functional.cross_entropy
    logits = heads.mlm(rows, encoder.embeddings.pieces.weight)
    loss = cross_entropy(logits, labels[batch.mask.bool()])
    (loss + cross_entropy(heads.nsp(pooled), not_next)).backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    found = {f"encoder.{name}": p.grad for name, p in encoder.named_parameters()}
    found.update({name: p.grad for name, p in heads.named_parameters()})
    for entry in name_table(config):
        grad = torch.cat([expected[name] for name in entry.theirs])
        ours = found.pop(entry.ours)
        if entry.ours == "encoder.embeddings.pieces.weight":
            ours, grad = ours[1:], grad[1:]  # HuggingFace gives the padding piece less
        assert (ours - grad).abs().max() <= 1e-5 * max(1, grad.abs().max().item()), entry.ours
    assert not found


def test_no_decoder_of_its_own(tiny_config):
    """Catches a second matrix as large as the piece embedding in memory and in every file."""
    head = MaskedLMHead(tiny_config)
    assert max(p.numel() for p in head.parameters()) < tiny_config.vocab_size * tiny_config.width


def test_heads_of_no_rows(tiny_config):
    """Catches a crash for a batch in which nothing is masked."""
    rows = torch.zeros(0, tiny_config.width)
    embeddings = torch.zeros(tiny_config.vocab_size, tiny_config.width)
    assert MaskedLMHead(tiny_config)(rows, embeddings).shape == (0, tiny_config.vocab_size)
    assert NextSentenceHead(tiny_config)(Pooler(tiny_config)(rows)).shape == (0, 2)
