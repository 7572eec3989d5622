"""The `fill_mask` component: HuggingFace's answers, on Docs."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training.initialize import init_nlp

from spacy_bert import from_checkpoint, load_checkpoint, make_pair
from spacy_bert.pipeline.assemble import masked_lm_settings
from spacy_bert.pipeline.fill_mask import FillMask
from spacy_bert.pipeline.mask_view import KEY

from .heads import equal, listener, ner, perturb, weights

TEXT = "Alice [MASK] in Paris, where un[MASK]ed [MASK][MASK]."
TEXTS = [TEXT, "", "Bob works", "[MASK]", "in [MASK] " * 40, "Carol's [mask] [SEP] [MASK]!"]


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint):
    """The folder of a random BERT with a masked-LM head."""
    return make_checkpoint(parts=("pooler", "mlm"), seed=3)


@pytest.fixture
def nlp(checkpoint):
    """A pipeline of `fill_mask`, windows of 32 pieces, whose weights no checkpoint has."""
    model = {"window": 32, "stride": 24}
    nlp = from_checkpoint(checkpoint, component="fill_mask", config={"model": model, "top_k": 4})
    perturb(nlp)
    return nlp


def plain(doc):
    """What is on a Doc, but the Span, which belongs to this Doc alone."""
    return [(m.start, m.end, m.tokens.start, m.tokens.end, m.predictions) for m in doc._.fill_mask]


def assert_same(docs, others):
    for doc, other in zip(docs, others, strict=True):
        assert doc.text == other.text
        assert [m[:4] for m in plain(doc)] == [m[:4] for m in plain(other)]
        for mask, expected in zip(doc._.fill_mask, other._.fill_mask, strict=True):
            assert [p.piece for p in mask.predictions] == [p.piece for p in expected.predictions]
            for key in ("probability", "logit"):
                values = [[getattr(p, key) for p in m.predictions] for m in (mask, expected)]
                assert values[0] == pytest.approx(values[1], abs=1e-5)


# The reference


@pytest.fixture(scope="session")
def hf(checkpoint):
    """HuggingFace's model and tokenizer on the same files."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    model = transformers.BertForMaskedLM.from_pretrained(checkpoint).eval()
    return model, transformers.BertTokenizerFast.from_pretrained(checkpoint)


def reference(hf, *texts):
    """Logits of HuggingFace's model at the masks of a text or of a pair, shape (n_masks, n_pieces)."""
    model, tokenizer = hf
    inputs = tokenizer(*texts, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits[0]
    return logits[inputs["input_ids"][0] == tokenizer.mask_token_id]


def check(masks, expected, names):
    assert len(masks) == len(expected) > 0
    probabilities = expected.softmax(dim=-1)
    for mask, row, shares in zip(masks, expected, probabilities):
        best, ids = row.topk(len(mask.predictions))
        assert [p.id for p in mask.predictions] == ids.tolist()
        assert [p.piece for p in mask.predictions] == [names[i] for i in ids.tolist()]
        assert [p.logit for p in mask.predictions] == pytest.approx(best.tolist(), abs=1e-5)
        assert [p.probability for p in mask.predictions] == pytest.approx(shares[ids].tolist(), abs=1e-6)  # fmt: skip


@pytest.mark.fp32
@pytest.mark.parametrize(
    "text", ["Paris is the [MASK] of France.", TEXT, "[MASK]", "un[MASK]able [MASK] \u4e2d[MASK]e\u0301", "[MASK] " * 50]
)  # fmt: skip
def test_answers_are_huggingfaces(checkpoint, hf, text):
    """Catches other logits, other probabilities or another order than BertForMaskedLM's: a wrong
    row, a decoder that is not tied, a mask read as text, pieces cut otherwise beside it."""
    nlp = from_checkpoint(checkpoint, component="fill_mask", config={"top_k": 10})
    names = nlp.get_pipe("fill_mask").tokenizer.pieces
    check(nlp(text)._.fill_mask, reference(hf, text), names)


@pytest.mark.fp32
def test_pipeline_of_huggingface_agrees(checkpoint, hf):
    """Catches a difference to what users of HuggingFace's fill-mask pipeline see."""
    transformers = pytest.importorskip("transformers")
    model, tokenizer = hf
    theirs = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    nlp = from_checkpoint(checkpoint, component="fill_mask")
    text = "Alice [MASK] in [MASK]."
    for mask, rows in zip(nlp(text)._.fill_mask, theirs(text, top_k=5), strict=True):
        assert [p.id for p in mask.predictions] == [row["token"] for row in rows]
        expected = [row["score"] for row in rows]
        assert [p.probability for p in mask.predictions] == pytest.approx(expected, abs=1e-6)


@pytest.mark.fp32
def test_pairs_are_read_as_pairs(checkpoint, hf):
    """Catches a pair that is read as one text: its second half has other segment embeddings."""
    nlp = from_checkpoint(checkpoint, component="fill_mask")
    names = nlp.get_pipe("fill_mask").tokenizer.pieces
    pair = ("Alice [MASK] Paris.", "Bob likes [MASK].")
    doc = nlp(make_pair(nlp, *pair))
    check(doc._.fill_mask, reference(hf, *pair), names)
    alone = nlp(" ".join(pair))
    assert plain(doc)[1][4][0].logit != pytest.approx(plain(alone)[1][4][0].logit, abs=1e-3)


@pytest.mark.fp32
def test_long_texts(checkpoint, hf):
    """Catches a mask that is cut off with the end of a long text, or read in another window than
    the one in which its context is widest: the pieces 24 to 55, for the second."""
    model = {"window": 34, "stride": 24}
    nlp = from_checkpoint(checkpoint, component="fill_mask", config={"model": model})
    words = (["a", "b", "c", "d"] * 50)[:160]
    words[3] = words[40] = words[159] = "[MASK]"
    masks = nlp(" ".join(words))._.fill_mask
    names = nlp.get_pipe("fill_mask").tokenizer.pieces
    check(masks[:1], reference(hf, " ".join(words[:32]))[:1], names)
    check(masks[1:2], reference(hf, " ".join(words[24:56])), names)
    check(masks[2:], reference(hf, " ".join(words[144:])), names)


# What is on the Doc


def test_places(nlp):
    """Catches characters or tokens beside the mask, wherever spaCy's tokenizer split it."""
    doc = nlp(TEXT)
    masks = doc._.fill_mask
    assert [doc.text[mask.start : mask.end] for mask in masks] == ["[MASK]"] * 4
    assert [mask.start for mask in masks] == [6, 31, 40, 46]
    for mask in masks:
        span = mask.tokens
        assert span.doc is doc and span.start_char <= mask.start and span.end_char >= mask.end
        assert all(t.idx < mask.end and t.idx + len(t) > mask.start for t in span)
    assert [mask.tokens.text for mask in masks][:2] == ["[MASK]", "un[MASK]ed"]
    finer = nlp(
        Doc(nlp.vocab, words=["in", "[", "MA", "SK", "]", "."], spaces=[True] + [False] * 5)
    )
    assert [(m.tokens.start, m.tokens.end) for m in finer._.fill_mask] == [(1, 5)]


def test_nothing_else_is_touched(nlp):
    """Catches a tokenizer, or annotations of others, that the component changes."""
    doc = nlp(TEXT)
    blank = spacy.blank("en")
    assert [t.text for t in doc] == [t.text for t in blank(TEXT)]
    assert nlp.tokenizer.rules == blank.tokenizer.rules
    assert not doc.tensor.size and not doc.ents and list(doc.user_data) == [KEY]


def test_texts_without_masks(nlp):
    """Catches the difference between no mask and not run."""
    assert nlp("")._.fill_mask == [] and nlp("Bob works [mask]")._.fill_mask == []
    assert nlp.make_doc("Bob")._.fill_mask is None


def test_characters_that_are_dropped(nlp):
    """Catches characters counted wrongly behind those that cleaning drops, such as what is read in
    the place of a lone surrogate, which no Doc can hold."""
    doc = nlp("a\ufffd b\x00 [MASK]")
    assert [(m.start, m.end) for m in doc._.fill_mask] == [(6, 12)]


def test_top_k(nlp):
    """Catches a setting that is ignored, at birth or later, and one larger than the vocabulary."""
    assert {len(m.predictions) for m in nlp(TEXT)._.fill_mask} == {4}
    pipe = nlp.get_pipe("fill_mask")
    pipe.top_k = 2
    assert {len(m.predictions) for m in nlp(TEXT)._.fill_mask} == {2}
    pipe.top_k = 10**6
    everything = nlp(TEXT)._.fill_mask[0].predictions
    assert len(everything) == len(pipe.tokenizer)
    assert sum(p.probability for p in everything) == pytest.approx(1.0, abs=1e-4)
    assert everything == sorted(everything, key=lambda p: -p.logit)
    with pytest.raises(ValueError, match="top_k of the component 'fill_mask' is 0"):
        pipe.top_k = 0
    with pytest.raises(ValueError, match="top_k"):
        spacy.blank("en").add_pipe("fill_mask", config={"top_k": -1})


def test_batches_do_not_matter(nlp):
    """Catches answers that depend on what else is in the batch, or that go to another Doc."""
    alone = [nlp(text) for text in TEXTS]
    for batch_size in (1, 2, 128):
        assert_same(nlp.pipe(TEXTS, batch_size=batch_size), alone)
    assert_same(reversed(list(nlp.pipe(TEXTS[::-1]))), alone)


def test_clearing(nlp):
    """Catches results that cannot be cleared, by hand or by spaCy's doc_cleaner; and any other
    value, which would be lost without a word."""
    doc = nlp(TEXT)
    with pytest.raises(ValueError, match="only be set to None"):
        doc._.fill_mask = []
    doc._.fill_mask = None
    assert doc._.fill_mask is None and KEY not in doc.user_data
    nlp.add_pipe("doc_cleaner", config={"attrs": {"_.fill_mask": None}})
    assert nlp(TEXT)._.fill_mask is None


def test_parts_of_a_doc(nlp):
    """Catches places of the whole text that are shown for a part of it, which has others."""
    doc = nlp(TEXT)
    assert doc[2:5].as_doc(copy_user_data=True)._.fill_mask is None
    with pytest.warns(UserWarning, match="W101"):  # what spaCy says of any attribute of a Doc
        assert Doc.from_docs([doc, nlp("Bob")])._.fill_mask is None
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:3])
    first = doc._.fill_mask[0].tokens
    assert (first.start, first.text) == (0, "Alice [MASK]")


# Saving


def test_docs_survive_saving(nlp):
    """Catches results that bytes, DocBin or pickling lose or change."""
    docs = list(nlp.pipe(TEXTS))
    copies = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    binary = DocBin(docs=docs, store_user_data=True).to_bytes()
    for others in (
        copies,
        list(DocBin().from_bytes(binary).get_docs(nlp.vocab)),
        pickle.loads(pickle.dumps(docs)),
    ):
        assert [plain(doc) for doc in others] == [plain(doc) for doc in docs]


def test_pipeline_survives_saving(nlp, tmp_path):
    """Catches weights, a vocabulary or a setting that a saved pipeline lacks."""
    expected = list(nlp.pipe(TEXTS))
    nlp.to_disk(tmp_path)
    blank = spacy.util.load_model_from_config(nlp.config)
    assert not blank.get_pipe("fill_mask").is_loaded
    for other in (
        spacy.load(tmp_path),
        blank.from_bytes(nlp.to_bytes()),
        pickle.loads(pickle.dumps(nlp)),
        copy.deepcopy(nlp),
    ):
        assert equal(weights(other, "fill_mask"), weights(nlp, "fill_mask"))
        assert_same(other.pipe(TEXTS), expected)


def test_config_of_a_load_counts(nlp, tmp_path):
    """Catches a top_k that was saved with the weights and wins over the config."""
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path, config={"components.fill_mask.top_k": 2})
    assert {len(m.predictions) for m in loaded(TEXT)._.fill_mask} == {2}


@pytest.mark.fp32
def test_loads_in_a_fresh_process(nlp, tmp_path):
    """Catches a pipeline that needs its checkpoint, an import or the network to load."""
    nlp.to_disk(tmp_path)
    code = f"""
import socket
socket.socket.connect = None
import spacy
doc = spacy.load({str(tmp_path)!r})({TEXT!r})
print([[p.piece for p in mask.predictions] for mask in doc._.fill_mask])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = [[p.piece for p in mask.predictions] for mask in nlp(TEXT)._.fill_mask]
    assert result.stdout == f"{expected}\n", result.stderr


def test_two_processes(nlp):
    """Catches results that do not come back from another process."""
    assert_same(nlp.pipe(TEXTS, n_process=2, batch_size=2), list(nlp.pipe(TEXTS)))


# Weights


def test_without_weights(checkpoint):
    """Catches torch's own error, or an answer, from a component that was never initialised."""
    nlp = spacy.blank("en")
    nlp.add_pipe("fill_mask", name="mlm")
    pattern = r"'mlm' has neither weights.*\[initialize\.components\.mlm\] checkpoint = "
    errors = []
    for use in (lambda: nlp("a"), lambda: list(nlp.pipe(["a", "b"])), nlp.initialize):
        with pytest.raises(ValueError, match=pattern):
            use()
    nlp.set_error_handler(lambda name, pipe, docs, error: errors.append(len(docs)))
    assert list(nlp.pipe(["a", "b", "c"])) == [] and errors == [3]


@pytest.mark.parametrize("way", ["initialize", "callback", "python"])
def test_ways_to_load(checkpoint, nlp, way):
    """Catches a way to name the weights that `bert` has and this has not; and weights that a second
    initialisation replaces."""
    settings = {
        **masked_lm_settings(load_checkpoint(checkpoint).config),
        "window": 32,
        "stride": 24,
    }
    other = spacy.blank("en")
    pipe = other.add_pipe("fill_mask", config={"model": settings, "top_k": 4})
    if way == "initialize":
        other.config["initialize"]["components"]["fill_mask"] = {"checkpoint": str(checkpoint)}
        other.initialize()
    elif way == "callback":
        callback = {"@callbacks": "spacy-bert.LoadCheckpoint.v1", "checkpoint": str(checkpoint)}
        other.config["initialize"]["before_init"] = callback
        other.initialize()
    else:
        pipe.load_checkpoint(load_checkpoint(checkpoint))
    fresh = from_checkpoint(
        checkpoint,
        component="fill_mask",
        config={"model": {"window": 32, "stride": 24}, "top_k": 4},
    )
    assert_same(other.pipe(TEXTS), list(fresh.pipe(TEXTS)))
    perturb(other)
    before = weights(other, "fill_mask")
    other.initialize()
    assert equal(weights(other, "fill_mask"), before)


def test_checkpoint_without_the_head(tiny_checkpoint):
    """Catches a random head on an encoder that was saved without its own."""
    with pytest.raises(ValueError, match="lacks a masked-LM head.*It holds an encoder, a pooler"):
        from_checkpoint(tiny_checkpoint, component="fill_mask")


def test_other_components_are_refused(checkpoint):
    """Catches a misspelt name that ends in another component."""
    with pytest.raises(ValueError, match="component is 'fill-mask'.*bert, fill_mask"):
        from_checkpoint(checkpoint, component="fill-mask")


def test_model_of_another_kind_is_refused():
    """Catches an encoder without a head in the place of a masked language model."""
    with pytest.raises(ValueError, match="no masked language model.*BertMaskedLM"):
        spacy.blank("en").add_pipe("fill_mask", config={"model": {"@architectures": "spacy-bert.Bert.v1"}})  # fmt: skip


# Errors


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_one_doc_that_fails_fails_alone(nlp, batch_size):
    """Catches a batch that is lost with one of its Docs."""
    errors = []
    nlp.set_error_handler(lambda name, pipe, docs, error: errors.append((name, docs, str(error))))
    docs = [nlp.make_doc(text) for text in TEXTS]
    docs[2].spans["segments"] = [docs[2][:1]]
    done = list(nlp.pipe(docs, batch_size=batch_size))
    assert_same(done, [nlp(text) for i, text in enumerate(TEXTS) if i != 2])
    [(name, failed, message)] = errors
    assert name == "fill_mask" and failed == [docs[2]] and "two spans were expected" in message
    with pytest.raises(ValueError, match=r"\[E005\].*'fill_mask'"):  # as of spaCy's own components
        nlp(docs[2])


def test_without_a_handler_it_is_raised(nlp):
    """Catches an error that vanishes."""
    doc = nlp.make_doc("Bob [MASK]")
    doc.spans["segments"] = [doc[:1]]
    with pytest.raises(ValueError, match="two spans were expected"):
        nlp(doc)


# Beside others


def test_stays_as_it_is_while_others_train(checkpoint, make_examples):
    """Catches a training that it stops, or that changes it. Its encoder is not that of `bert`."""
    nlp = from_checkpoint(checkpoint)
    pipe = nlp.add_pipe(
        "fill_mask",
        first=True,
        config={"model": masked_lm_settings(load_checkpoint(checkpoint).config)},
    )
    assert isinstance(pipe, FillMask) and not pipe.is_trainable
    nlp.add_pipe("ner", config=ner(listener()))
    nlp.config["initialize"]["components"]["fill_mask"] = {"checkpoint": str(checkpoint)}
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.01
    before, encoder = weights(nlp, "fill_mask"), weights(nlp, "bert")
    losses = {}
    for _ in range(2):
        nlp.update(examples, sgd=sgd, losses=losses)
    assert losses["ner"] > 0 and "fill_mask" not in losses
    assert equal(weights(nlp, "fill_mask"), before) and not equal(weights(nlp, "bert"), encoder)
    scores = nlp.evaluate(examples)
    assert "ents_f" in scores
    doc = nlp(TEXT)
    assert len(doc._.fill_mask) == 4 and doc._.bert.pieces.count("[MASK]") == 0


def test_in_spacy_train(checkpoint, tmp_path, corpus):
    """Catches a config with it that `spacy train` cannot initialise, where it is frozen, too."""
    for frozen in (False, True):
        settings = masked_lm_settings(load_checkpoint(checkpoint).config)
        callback = {"@callbacks": "spacy-bert.LoadCheckpoint.v1", "checkpoint": str(checkpoint)}
        reader = {"@readers": "spacy.Corpus.v1", "path": str(corpus)}
        named = {"fill_mask": {"checkpoint": str(checkpoint)}}
        config = spacy.blank("en").config.merge(
            {
                "nlp": {"lang": "en", "pipeline": ["fill_mask"]},
                "components": {"fill_mask": {"factory": "fill_mask", "model": settings}},
                "corpora": {"train": reader, "dev": reader},
                "training": {"frozen_components": ["fill_mask"] if frozen else []},
                "initialize": {"before_init": callback} if frozen else {"components": named},
            }
        )
        assert len(init_nlp(config)(TEXT)._.fill_mask) == 4


def test_sourced_and_disabled(nlp):
    """Catches a component that cannot be taken into another pipeline, or switched off."""
    other = spacy.blank("en")
    other.add_pipe("fill_mask", source=nlp, name="mlm")
    assert_same([other(TEXT)], [nlp(TEXT)])
    with other.select_pipes(disable=["mlm"]):
        assert other(TEXT)._.fill_mask is None


def test_memory_zone(nlp):
    """Catches results that point into memory that spaCy has freed."""
    expected = plain(nlp(TEXT))
    with nlp.memory_zone():
        assert plain(nlp(TEXT)) == expected
    assert plain(nlp(TEXT)) == expected


def test_one_doc_does_not_keep_the_batch(nlp):
    """Catches views of the arrays of the whole batch on each Doc."""
    docs = list(nlp.pipe(["[MASK] " * 20] * 8))
    for value in docs[0].user_data[KEY].values():
        assert not isinstance(value, np.ndarray) or value.base is None
