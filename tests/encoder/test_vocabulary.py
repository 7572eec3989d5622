"""A checkpoint with a larger vocabulary."""

import pytest
import torch

from spacy_bert.encoder import (
    BertEncoder,
    MaskedLMHead,
    extend_checkpoint,
    load_checkpoint,
    pack,
    save_checkpoint,
)
from spacy_bert.wordpiece import WordPieceTokenizer, extend_vocab

transformers = pytest.importorskip("transformers")

NEW = ["parislondon", "workberlin", "##alic", "zzz☃"]


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint):
    return load_checkpoint(make_checkpoint(parts=("pooler", "mlm", "nsp")))


def larger(tokenizer, *new):
    return WordPieceTokenizer([*tokenizer.pieces, *new], **vars(tokenizer.settings))


def vectors(checkpoint, text):
    encoder = BertEncoder(checkpoint.config)
    encoder.load_state_dict(checkpoint.part("encoder"))
    pieces = pack([checkpoint.tokenizer.encode(text).ids])
    with torch.no_grad():
        return encoder.eval()(pieces)


def test_new_rows(checkpoint):
    """Catches a row, or a bias of the masked-LM head, that is not the mean of the old pieces'; of a
    word that the old vocabulary cannot spell, that is [UNK]."""
    old = checkpoint.tokenizer
    extended = extend_checkpoint(checkpoint, larger(old, *NEW))
    ids = {piece: i for i, piece in enumerate(old.pieces)}
    cuts = [
        old.encode("parislondon").ids.tolist(),
        old.encode("workberlin").ids.tolist(),
        [ids[piece] for piece in ("##a", "##l", "##i", "##c")],
        [old.unk_id],
    ]
    assert all(len(cut) > 1 for cut in cuts[:3])
    for name in ("encoder.embeddings.pieces.weight", "mlm.bias"):
        rows, before = extended.weights[name], checkpoint.weights[name]
        assert torch.equal(rows[: len(old)], before)
        expected = torch.stack([before[cut].mean(dim=0) for cut in cuts])
        assert torch.allclose(rows[len(old) :], expected) and len(rows) == len(old) + len(NEW)
    assert extended.config.vocab_size == len(old) + len(NEW)


def test_old_texts(checkpoint):
    """Catches old ids or weights that change: a text without new words has the same vectors."""
    extended = extend_checkpoint(checkpoint, larger(checkpoint.tokenizer, *NEW))
    text = "Alice works in London, and was in Paris."
    assert torch.equal(vectors(extended, text), vectors(checkpoint, text))
    assert len(vectors(extended, "parislondon")) == 1 < len(vectors(checkpoint, "parislondon"))


def test_the_old_checkpoint_stays(checkpoint):
    """Catches a checkpoint that is changed in place."""
    before = {name: tensor.clone() for name, tensor in checkpoint.weights.items()}
    extended = extend_checkpoint(checkpoint, larger(checkpoint.tokenizer, *NEW))
    extended.weights["mlm.bias"].add_(1)
    assert all(torch.equal(before[name], t) for name, t in checkpoint.weights.items())
    assert checkpoint.config.vocab_size == len(checkpoint.tokenizer)


def test_saved(checkpoint, tmp_path):
    """Catches sizes that disagree on the disk, for us or for HuggingFace."""
    texts = ["parislondon workberlin"] * 3
    tokenizer = extend_vocab(checkpoint.tokenizer, texts, size=len(checkpoint.tokenizer) + 2)
    extended = extend_checkpoint(checkpoint, tokenizer)
    save_checkpoint(tmp_path / "larger", extended)
    again = load_checkpoint(tmp_path / "larger")
    text = "Bob likes parislondon"
    assert torch.equal(vectors(again, text), vectors(extended, text))
    head = MaskedLMHead(again.config)
    head.load_state_dict(again.part("mlm"))
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path / "larger").eval()
    ids = torch.tensor([again.tokenizer.encode(text).ids.tolist()])
    with torch.no_grad():
        rows = vectors(again, text)
        logits = head(rows, again.weights["encoder.embeddings.pieces.weight"])
        assert torch.allclose(theirs(ids).prediction_logits[0], logits, atol=1e-4)
    assert logits.shape[1] == len(tokenizer)


def test_padded_rows_are_filled(make_checkpoint, checkpoint):
    """Catches new pieces behind rows that no piece had, where their ids do not point."""
    padded = load_checkpoint(make_checkpoint(vocab_size=len(checkpoint.tokenizer) + 3))
    n_old = len(padded.tokenizer)
    extended = extend_checkpoint(padded, larger(padded.tokenizer, "parislondon"))
    assert extended.config.vocab_size == n_old + 3
    before = padded.weights["encoder.embeddings.pieces.weight"]
    rows = extended.weights["encoder.embeddings.pieces.weight"]
    cut = padded.tokenizer.encode("parislondon").ids.tolist()
    assert torch.allclose(rows[n_old], before[cut].mean(dim=0))
    assert torch.equal(rows[n_old + 1 :], before[n_old + 1 :])
    assert not extended.has_mlm


def test_another_vocabulary(checkpoint, tiny_checkpoint):
    """Catches rows that come to stand for other pieces."""
    old = checkpoint.tokenizer
    other = WordPieceTokenizer([*old.pieces[:-2], old.pieces[-1], old.pieces[-2], "new"])
    message = rf"{len(old) - 2} of its {len(old)} pieces have the same id"
    with pytest.raises(ValueError, match=message):
        extend_checkpoint(checkpoint, other)
    with pytest.raises(ValueError, match="does not extend"):
        extend_checkpoint(checkpoint, WordPieceTokenizer(old.pieces, lowercase=False))
    with pytest.raises(ValueError, match="has no vocabulary"):
        extend_checkpoint(load_checkpoint(tiny_checkpoint, tokenizer=False), old)
