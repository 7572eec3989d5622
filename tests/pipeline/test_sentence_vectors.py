"""Vectors of sentences, against the recipe that sentence-embedding checkpoints are published with."""

import numpy as np
import pytest
import torch

import spacy_bert

TEXTS = [
    "A man plays a guitar.",
    "Somebody makes music,\n  loudly!",
    "Unbelievably, the 3 köttbullar weren't eaten.",
    "",
    "bank",
]


def published(folder, texts):
    """Mean over all pieces with [CLS] and [SEP], made one long: 1_Pooling and 2_Normalize of
    sentence-transformers, written on HuggingFace's own model and tokenizer."""
    from transformers import AutoTokenizer, BertModel

    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        rows = model.eval()(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    means = (rows * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(means, dim=1).numpy()


@pytest.mark.fp32
def test_published_recipe(minilm_path):
    """Catches a mean over tokens, or without [CLS] and [SEP], or over padding."""
    nlp = spacy_bert.from_checkpoint(minilm_path)
    docs = list(nlp.pipe(TEXTS))
    vectors = np.stack([doc._.bert.pooled("mean") for doc in docs])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, published(minilm_path, TEXTS), atol=1e-5)
    # The other vectors of a text are not these, each by its own rule.
    doc = docs[0]
    np.testing.assert_allclose(doc.vector, doc.tensor.mean(axis=0), atol=1e-5)
    for other in (doc.vector, doc._.bert.cls):
        assert np.abs(other / np.linalg.norm(other) - vectors[0]).max() > 1e-3
    like, unlike = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert like > unlike + 0.2


@pytest.mark.fp32
def test_pooler_and_cls(make_checkpoint):
    """Catches a [CLS] that is another row, and a pooler without its tanh."""
    from transformers import AutoTokenizer, BertModel

    folder = make_checkpoint()
    nlp = spacy_bert.from_checkpoint(folder, config={"keep": ["pooler", "max"]})
    model = BertModel.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)("Alice lives in Paris", return_tensors="pt")
    with torch.no_grad():
        found = model(**batch)
    view = nlp("Alice lives in Paris")._.bert
    rows = found.last_hidden_state[0].numpy()
    np.testing.assert_allclose(view.cls, rows[0], atol=1e-5)
    np.testing.assert_allclose(view.pooled("pooler"), found.pooler_output[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(view.pooled("max"), rows.max(axis=0), atol=1e-5)
    with pytest.raises(ValueError, match="pooler and max are made when listed in keep"):
        spacy_bert.from_checkpoint(folder)("Alice")._.bert.pooled("pooler")
