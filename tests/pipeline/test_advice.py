"""What goes wrong in training is told before it does, with what to do."""

import warnings

import pytest
from spacy.training import Example

import spacy_bert
from spacy_bert.layers.optimizer import AdamW

from .heads import listener, ner, pooled_listener, tagger, textcat

PIECES = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}


@pytest.mark.parametrize(
    "upstream, place, message",
    [
        ("transformer", {}, "'ner' listens to 'transformer', but the encoders .* are 'bert'"),
        (
            "bert",
            {"before": "bert"},
            "'ner' stands before 'bert', to which it listens. Put it behind",
        ),
        ("*", {"before": "bert"}, "'ner' stands before any encoder"),
    ],
)
def test_encoders_that_are_not_there(tiny_nlp, make_examples, upstream, place, message):
    """Catches a training that ends at its first batch, with advice to enable what does not exist."""
    tiny_nlp.add_pipe("ner", config=ner(listener(upstream=upstream)), **place)
    with pytest.raises(ValueError, match=message):
        tiny_nlp.initialize(lambda: make_examples(tiny_nlp))


def test_a_second_encoder_is_found(tiny_nlp, wide_checkpoint, add_encoder, make_examples):
    """Catches an encoder that is taken for none, or for one behind."""
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    add_encoder(tiny_nlp, "wide", wide_checkpoint)
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(48, upstream="wide")))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    listening = {n: tiny_nlp.get_pipe(n).listening_components for n in ("bert", "wide")}
    assert listening == {"bert": ["ner"], "wide": ["textcat"]}


def test_pieces_for_a_head_that_reads_tokens(tiny_nlp):
    """Catches Thinc's advice to report a bug, where a listener was mistaken for another."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": PIECES}
        tiny_nlp.add_pipe("bert_ner", config={"model": model})
    with pytest.warns(UserWarning, match="'tagger' listens .*BertPieceListener.*BertListener"):
        tiny_nlp.add_pipe("tagger", config=tagger(PIECES))


def test_nobody_listens(tiny_nlp, make_examples):
    """Catches `nlp.add_pipe("tagger")`, which trains without BERT beside it."""
    tiny_nlp.add_pipe("textcat")
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    with pytest.warns(UserWarning, match="Nothing that is trained listens to 'bert'") as caught:
        for _ in range(3):
            tiny_nlp.update(make_examples(tiny_nlp), sgd=AdamW(1e-3))
    assert len([w for w in caught if "listens to" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Who does not update it does not ask it to learn.
        tiny_nlp.update(make_examples(tiny_nlp), sgd=AdamW(1e-3), exclude=["bert"])


def test_pairs_that_are_trained_on_as_single_texts(tiny_nlp, make_examples):
    """Catches a pipeline that learns from single texts and predicts on pairs."""
    # One warning is no reason to keep another back.
    with pytest.warns(UserWarning, match="Nothing that is trained"):
        tiny_nlp.update(make_examples(tiny_nlp))
    tiny_nlp.add_pipe("segments", first=True)
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    pair = spacy_bert.make_pair(tiny_nlp, "Alice lives in Paris.", "Bob works.")
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    cats = {"cats": {"A": 1.0, "B": 0.0}}
    bare = [Example.from_dict(tiny_nlp.make_doc(pair.text), cats)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_nlp.update(bare, annotates=["segments"])
        tiny_nlp.update(make_examples(tiny_nlp))
    # A text that ends in a blank line is a single one in prediction, too; and so is any without `segments`.
    with warnings.catch_warnings(), tiny_nlp.select_pipes(disable=["segments"]):
        warnings.simplefilter("error")
        tiny_nlp.update([Example.from_dict(tiny_nlp.make_doc(pair.text), cats)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_nlp.update([Example.from_dict(tiny_nlp.make_doc("Alice lives.\n\n "), cats)])
    bare = [Example.from_dict(tiny_nlp.make_doc(pair.text), cats)]
    with pytest.warns(UserWarning, match='trained on as a single text.*"segments" in annotating'):
        tiny_nlp.update(bare)


@pytest.mark.parametrize("max_steps, warns", [(50, True), (100, True), (101, False), (0, False)])
def test_nothing_but_warm_up(tiny_nlp, make_examples, max_steps, warns):
    """Catches a training that was cut to fewer steps than the learning rate takes to rise."""
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    tiny_nlp.config["training"] = {
        **tiny_nlp.config["training"],
        "max_steps": max_steps,
        "optimizer": {
            "@optimizers": "spacy-bert.AdamW.v1",
            "learn_rate": {
                "@schedules": "warmup_linear.v1", "initial_rate": 1e-4, "warmup_steps": 100, "total_steps": 2000
            },
        },
    }  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    found = [str(w.message) for w in caught if "warm-up" in str(w.message)]
    assert bool(found) == warns
    assert not warns or f"learn_rate.total_steps {max_steps}" in found[0]


def test_no_optimizer(tiny_nlp, make_examples):
    """Catches a config without an optimizer, as of who brings their own."""
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    tiny_nlp.config["training"] = {**tiny_nlp.config["training"], "optimizer": None}
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    assert tiny_nlp.get_pipe("ner").labels
