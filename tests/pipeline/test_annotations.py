"""What the encoder leaves on a Doc, and whether it survives the ways of a Doc."""

import pickle
import warnings

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_bert import from_checkpoint
from spacy_bert.layers.annotations import KEY

from .heads import perturb

TEXT = "Alice  isn't living in Paris, worker!"


@pytest.fixture
def keep_all(tiny_checkpoint):
    """A pipeline that keeps all it can."""
    model = {"window": 32, "stride": 24}
    keep = ["tokens", "pooler", "max"]
    return from_checkpoint(tiny_checkpoint, config={"model": model, "keep": keep})


def test_view(tiny_nlp):
    """Catches pieces, offsets and vectors that belong to other tokens."""
    doc = tiny_nlp(TEXT)
    view = doc._.bert
    assert doc.tensor.shape == (len(doc), 32) and doc.tensor.dtype == np.float32
    assert view.pieces == "alice is ##n ' t l ##i ##v ##ing in paris , w ##o ##r ##k ##er !".split()
    assert view.names == ["bert"]
    assert [doc.text[start:end] for start, end in view.offsets] == (
        "Alice is n ' t l i v ing in Paris , w o r k er !".split()
    )
    tokens = tiny_nlp.get_pipe("bert").tokenizer.pieces
    assert [tokens[id_] for id_ in view.ids] == view.pieces
    # "isn't" is two tokens, "is" and "n't"; the two blanks before it are one, of whitespace
    assert [token.text for token in doc][:4] == ["Alice", " ", "is", "n't"]
    assert [view.pieces_of(i) for i in range(4)] == [["alice"], [], ["is"], ["##n", "'", "t"]]
    starts, counts = view.alignment
    assert counts.tolist() == [1, 0, 1, 3, 4, 1, 1, 1, 5, 1]
    assert starts.tolist()[2:4] == [1, 2]
    assert view.cls.shape == (32,) and np.array_equal(view.cls, view.pooled("cls"))
    np.testing.assert_array_equal(view.tokens, doc.tensor)
    assert not doc.tensor[1].any() and doc.tensor[[0, *range(2, len(doc))]].any(axis=1).all()
    assert repr(view) == "<BertView of 'bert': 18 pieces, 10 tokens>"


def test_pieces_shared_by_tokens(tiny_nlp):
    """Catches a piece that counts for only one of two tokens that overlap it."""
    doc = Doc(tiny_nlp.vocab, words=["par", "is"], spaces=[False, False])
    tiny_nlp(doc)
    assert [doc._.bert.pieces_of(i) for i in range(2)] == [["paris"], ["paris"]]
    np.testing.assert_array_equal(doc.tensor[0], doc.tensor[1])
    assert doc.tensor.any()


def test_no_encoder_no_view():
    """Catches a view, or an error, on Docs that no encoder has seen."""
    assert spacy.blank("en")("Alice")._.bert is None


def test_unknown_encoder_and_pooling(tiny_nlp):
    """Catches an answer for something that was not made."""
    view = tiny_nlp(TEXT)._.bert
    with pytest.raises(KeyError, match=r"No encoder 'other'.*\['bert'\]"):
        view["other"]
    for pooling in ("max", "pooler", "ids", "pieces", "tokens"):
        with pytest.raises(ValueError, match=f"left no '{pooling}' vector"):
            view.pooled(pooling)


def test_rows_are_no_pooled_vector(tiny_checkpoint):
    """Catches all rows of all windows passed for one vector of the text."""
    nlp = from_checkpoint(tiny_checkpoint, config={"keep": ["rows"]})
    for name in ("rows", "windows"):
        with pytest.raises(ValueError, match=f"left no '{name}' vector"):
            nlp(TEXT)._.bert.pooled(name)


def test_keep(keep_all):
    """Catches a vector that was asked for and not left on the Doc, or another one in its place."""
    doc = keep_all(TEXT)
    values = doc.user_data[KEY]["encoders"]["bert"]
    tokens = {"tokens", "starts"}
    assert values.keys() == {"ids", "offsets", "pieces", "cls", "mean", "pooler", "max"} | tokens
    assert values["starts"].tolist() == [token.idx for token in doc]
    np.testing.assert_array_equal(values["tokens"], doc.tensor)
    view = doc._.bert
    network = keep_all.get_pipe("bert").model.layers[1].shims[0]._model
    weight, bias = (p.detach().numpy() for p in network.pooler.dense.parameters())
    np.testing.assert_allclose(view.pooled("pooler"), np.tanh(weight @ view.cls + bias), atol=1e-5)
    # Each piece here is a row of its own, so no token exceeds the maximum over pieces.
    assert (doc.tensor <= view.pooled("max") + 1e-6).all()
    assert (view.pooled("mean") < view.pooled("max")).all()


def test_vectors_do_not_hold_the_batch(tiny_nlp):
    """Catches views of the batch's array: each would keep the vectors of all Docs alive."""
    docs = list(tiny_nlp.pipe([TEXT, "Alice", "Bob"]))
    for doc in docs:
        assert doc.tensor.base is None and doc._.bert.cls.base is None
        doc.tensor += 1.0
    assert docs[1].tensor.shape == (1, 32)


def test_without_set_tensor(tiny_checkpoint):
    """Catches an encoder that takes doc.tensor although it must not, or loses its vectors."""
    model = {"window": 32, "stride": 24}
    nlp = from_checkpoint(tiny_checkpoint, config={"model": model, "set_tensor": False})
    doc = nlp(TEXT)
    assert doc.tensor.size == 0 and not doc.has_vector
    expected = from_checkpoint(tiny_checkpoint, config={"model": model})(TEXT)
    np.testing.assert_array_equal(doc._.bert.tokens, expected.tensor)


@pytest.mark.fp32
def test_mean_is_the_sentence_embedding(minilm_path):
    """Catches another recipe than that of sentence-embedding checkpoints: the mean over all pieces
    with [CLS] and [SEP], without padding, computed here by HuggingFace's own model."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["A man is eating food.", "Don't PANIC: it's only unbelievably naïve café talk", "x"]
    tokenizer = AutoTokenizer.from_pretrained(minilm_path)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        rows = AutoModel.from_pretrained(minilm_path)(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    expected = (rows * mask).sum(1) / mask.sum(1)
    docs = list(from_checkpoint(minilm_path).pipe(texts))
    for doc, mean, cls in zip(docs, expected.numpy(), rows[:, 0].numpy(), strict=True):
        np.testing.assert_allclose(doc._.bert.pooled("mean"), mean, atol=1e-5)
        np.testing.assert_allclose(doc._.bert.cls, cls, atol=1e-5)


@pytest.mark.parametrize("window", [32, 8])
def test_piece_vectors(tiny_checkpoint, window):
    """Catches vectors of other pieces, such as [CLS] or what a window repeats of the one before."""
    settings = {"keep": ["rows"], "model": {"window": window, "stride": window // 2}}
    nlp = from_checkpoint(tiny_checkpoint, config=settings)
    for text in (TEXT * 3, "", " "):
        doc = nlp(text)
        view = doc._.bert
        assert view.piece_vectors.shape == (len(view.pieces), 32)
        starts, counts = view.alignment
        for token, start, count in zip(doc, starts, counts, strict=True):
            if count:
                mean = view.piece_vectors[start : start + count].mean(axis=0)
                np.testing.assert_allclose(token.vector, mean, atol=1e-5)


def test_piece_vectors_that_were_not_kept(tiny_nlp):
    """Catches an error that names no remedy."""
    with pytest.raises(ValueError, match=r'keep = \["rows"\]'):
        assert tiny_nlp(TEXT)._.bert.piece_vectors.size


def test_processing_again(tiny_nlp):
    """Catches results, or spaCy's cached vector, of an earlier pass that outlive the next."""
    doc = tiny_nlp(TEXT)
    before, vector = doc.tensor.copy(), doc.vector.copy()
    assert doc.vector_norm > 0
    network = tiny_nlp.get_pipe("bert").model.layers[1].shims[0]._model
    network.encoder.layers[-1].output_norm.bias.data += 1.0
    doc = tiny_nlp(doc)
    np.testing.assert_allclose(doc.tensor[0], before[0] + 1.0, atol=1e-5)
    np.testing.assert_allclose(doc.vector, doc.tensor.mean(axis=0), atol=1e-6)
    assert not np.allclose(doc.vector, vector)
    np.testing.assert_allclose(doc.vector_norm, np.linalg.norm(doc.vector), rtol=1e-5)
    assert doc._.bert.names == ["bert"]


def test_doc_cleaner(tiny_nlp):
    """Catches results that spaCy's doc_cleaner cannot remove."""
    tiny_nlp.add_pipe("doc_cleaner", config={"attrs": {"tensor": None, "_.bert": None}})
    doc = tiny_nlp(TEXT)
    assert doc._.bert is None and "spacy_bert" not in doc.user_data and doc.tensor is None
    doc = Doc(tiny_nlp.vocab).from_bytes(doc.to_bytes(exclude=["user_hooks"]))
    assert doc._.bert is None


def test_view_of_a_cleared_doc(tiny_nlp):
    """Catches a view that reads from nowhere; and a setter that takes what it cannot keep."""
    doc = tiny_nlp(TEXT)
    view = doc._.bert
    with pytest.raises(ValueError, match="only be set to None"):
        doc._.bert = "something"
    doc._.bert = None
    with pytest.raises(ValueError, match="'bert' were cleared"):
        _ = view.cls


@pytest.mark.parametrize("tensor", [None, np.zeros((0,)), np.zeros((10, 96)), np.zeros((9, 32))])
def test_view_without_the_tensor(tiny_nlp, tensor):
    """Catches the vectors of something else being taken for the encoder's."""
    doc = tiny_nlp(TEXT)
    doc.tensor = tensor
    with pytest.raises(ValueError, match=r'cleared or replaced.*keep = \["tokens"\]'):
        _ = doc._.bert.tokens


@pytest.mark.parametrize("way", ["bytes", "pickle", "docbin", "copy"])
def test_ways_of_a_doc(keep_all, way):
    """Catches annotations that cannot be written, or change on the way."""
    doc = keep_all(TEXT)
    if way == "bytes":
        data = doc.to_bytes(exclude=["user_hooks"])
        back = Doc(spacy.blank("en").vocab).from_bytes(data)
    elif way == "pickle":
        back = pickle.loads(pickle.dumps(doc))
    elif way == "copy":
        back = doc.copy()
    else:
        data = DocBin(docs=[doc], store_user_data=True).to_bytes()
        (back,) = DocBin().from_bytes(data).get_docs(spacy.blank("en").vocab)
        assert back.tensor.size == 0  # hence `keep`
    for key in ("ids", "offsets", "cls", "tokens", "pieces", "names"):
        np.testing.assert_array_equal(getattr(back._.bert, key), getattr(doc._.bert, key))
    for pooling in ("cls", "mean", "pooler", "max"):
        one, two = back._.bert.pooled(pooling), doc._.bert.pooled(pooling)
        np.testing.assert_array_equal(one, two)
    assert back._.bert.pieces_of(3) == ["##n", "'", "t"]
    np.testing.assert_array_equal(keep_all(back).tensor, doc.tensor)


def test_part_of_a_doc(keep_all):
    """Catches results that are about the Doc that this one was cut from; and results of the part
    that replace those of the whole, because spaCy copies user data one level deep."""
    doc = keep_all(TEXT)
    before = doc._.bert.cls.copy()
    part = doc[2:5].as_doc(copy_user_data=True)
    assert part._.bert is None
    np.testing.assert_array_equal(part.tensor, doc.tensor[2:5])
    part = keep_all(part)
    assert part._.bert.pieces == "is ##n ' t l ##i ##v ##ing".split()
    assert len(doc._.bert.pieces) == 18
    np.testing.assert_array_equal(doc._.bert.cls, before)
    whole = doc[:].as_doc(copy_user_data=True)
    perturb(keep_all)
    assert not np.allclose(keep_all(whole)._.bert.cls, before)
    np.testing.assert_array_equal(doc._.bert.cls, before)


def test_docs_put_together(tiny_nlp):
    """Catches arrays printed by the page in a warning of spaCy's, as for user data that it does not
    know; and results of one part that pass for those of the whole."""
    docs = [tiny_nlp("Alice lives in Paris."), tiny_nlp("Bob")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        merged = Doc.from_docs(docs)
    assert all("W101" in str(w.message) and len(str(w.message)) < 100 for w in caught)
    assert merged._.bert is None
    np.testing.assert_array_equal(merged.tensor, np.concatenate([doc.tensor for doc in docs]))
    assert len(tiny_nlp(merged)._.bert.pieces) == 6


def test_docbin_drops_the_tensor(tiny_nlp):
    """Catches token vectors that seem to be there after DocBin has dropped the tensor."""
    data = DocBin(docs=[tiny_nlp(TEXT)], store_user_data=True).to_bytes()
    (back,) = DocBin().from_bytes(data).get_docs(tiny_nlp.vocab)
    assert len(back._.bert.cls) == 32
    with pytest.raises(ValueError, match=r'keep = \["tokens"\]'):
        _ = back._.bert.tokens


def test_retokenization(tiny_nlp, keep_all):
    """Catches vectors that are read for other tokens after spaCy has merged some: doc.tensor
    follows the tokens, vectors that are kept under the encoder's name do not."""
    doc = tiny_nlp(TEXT)
    rows = doc.tensor.copy()
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[2:4])
    assert doc[2].text == "isn't" and doc._.bert.pieces_of(2) == ["is", "##n", "'", "t"]
    np.testing.assert_array_equal(doc._.bert.tokens, np.delete(rows, 2, axis=0))
    doc = keep_all(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[2:4])
    doc.tensor = np.zeros((0,), dtype="f")
    with pytest.raises(ValueError, match="of other tokens: some were merged or split"):
        _ = doc._.bert.tokens


@pytest.mark.parametrize("set_tensor", [True, False])
def test_as_many_tokens_as_before(tiny_checkpoint, set_tensor):
    """Catches vectors that are read for their neighbours where as many tokens were merged as were split,
    and a remedy that is in the config already."""
    config = {"keep": ["tokens"], "set_tensor": set_tensor}
    doc = from_checkpoint(tiny_checkpoint, config=config)(TEXT)
    n_tokens = len(doc)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[2:4])
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[1], [doc[1].text[:1], doc[1].text[1:]], heads=[doc[1], doc[1]])
    assert len(doc) == n_tokens
    doc.tensor = np.zeros((0,), dtype="f")
    with pytest.raises(ValueError, match="of other tokens: some were merged or split"):
        _ = doc._.bert.tokens


def test_a_split_token(tiny_nlp):
    """Catches advice to keep what was not lost."""
    doc = tiny_nlp(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[1], [doc[1].text[:1], doc[1].text[1:]], heads=[doc[1], doc[1]])
    with pytest.raises(ValueError, match="or tokens were split since"):
        _ = doc._.bert.tokens
