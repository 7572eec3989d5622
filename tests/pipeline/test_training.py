"""`spacy train` with shared, frozen, inlined and sourced encoders."""

import shutil

import pytest
import spacy

from spacy_bert import from_checkpoint
from spacy_bert.layers.optimizer import AdamW

from .heads import equal, listener, ner, perturb, pooled_listener, textcat, weights
from .training import config_of, encoder, run_training

TEXT = "Alice lives in Paris. Bob works"
LOAD = "spacy-bert.LoadCheckpoint.v1"


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    """A copy of the tiny checkpoint, to be deleted."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


@pytest.fixture
def initial(tiny_nlp):
    """The checkpoint's weights, as a component has them."""
    return weights(tiny_nlp)


def section(factory, settings):
    return {"factory": factory, **settings}


def shared(checkpoint, **heads):
    bert = {"bert": section("bert", {"model": encoder(checkpoint)})}
    return {**bert, **{name: section(name, settings) for name, settings in heads.items()}}


def by_component(checkpoint):
    return {"components": {"bert": {"checkpoint": str(checkpoint)}}}


def by_callback(checkpoint, **settings):
    return {"before_init": {"@callbacks": LOAD, "checkpoint": str(checkpoint), **settings}}


def trained_heads(nlp):
    """The heads' arrays."""
    return {
        (name, node.name, param): node.get_param(param).copy()
        for name, pipe in nlp.components
        for node in pipe.model.walk()
        for param in node.param_names
        if node.has_param(param)
    }


def test_shared_encoder(checkpoint, corpus, tmp_path, initial):
    """Catches an encoder that does not learn, and a trained pipeline that still needs its
    checkpoint."""
    heads = {"ner": ner(listener()), "textcat": textcat(pooled_listener())}
    components = shared(checkpoint, **heads)
    nlp = run_training(config_of(corpus, components, initialize=by_component(checkpoint)), tmp_path)
    assert not equal(weights(nlp), initial)
    expected = nlp(TEXT)
    shutil.rmtree(checkpoint)
    moved = shutil.move(tmp_path / "trained" / "model-last", tmp_path / "elsewhere")
    doc = spacy.load(moved)(TEXT)
    assert (doc.tensor == expected.tensor).all() and doc.cats == expected.cats


def test_frozen_encoder_from_a_checkpoint(checkpoint, corpus, tmp_path, initial):
    """Catches a frozen encoder, which spaCy does not initialise, without weights; or that learns;
    or heads that do not learn on it."""
    config = config_of(
        corpus,
        shared(checkpoint, textcat=textcat(pooled_listener())),
        initialize=by_callback(checkpoint),
        frozen=["bert"],
        annotating=["bert"],
    )
    nlp = run_training(config, tmp_path)
    assert equal(weights(nlp), initial)
    heads = trained_heads(nlp)
    assert heads and all(value.any() for value in heads.values())  # they began as zeros
    shutil.rmtree(checkpoint)
    assert nlp(TEXT).tensor.any()


def test_frozen_encoder_has_to_annotate(checkpoint, corpus, tmp_path):
    """Catches heads that are trained on zeros because nobody annotates."""
    config = config_of(
        corpus,
        shared(checkpoint, textcat=textcat(pooled_listener())),
        initialize=by_callback(checkpoint),
        frozen=["bert"],
    )
    with pytest.raises(ValueError, match=r"\[E203\].*annotating_components"):
        run_training(config, tmp_path)


def test_inlined_encoders(checkpoint, corpus, tmp_path, initial):
    """Catches encoders inside of heads that get no weights, or do not learn, or learn as one."""
    components = {
        "ner": section("ner", ner(encoder(checkpoint, "BertTok2Vec"))),
        "textcat": section("textcat", textcat(encoder(checkpoint, "BertPooled", pooling="cls"))),
    }
    nlp = run_training(config_of(corpus, components, initialize=by_callback(checkpoint)), tmp_path)
    ours, theirs = weights(nlp, "ner"), weights(nlp, "textcat")
    assert not equal(ours, initial) and not equal(theirs, initial) and not equal(ours, theirs)
    shutil.rmtree(checkpoint)
    assert nlp(TEXT).cats


def test_inlined_encoder_without_weights(checkpoint, corpus, tmp_path):
    """Catches an inlined encoder that trains from nothing: spaCy initialises the head, and Thinc
    its layers, but nobody knows of a checkpoint."""
    components = {"ner": section("ner", ner(encoder(checkpoint, "BertTok2Vec")))}
    with pytest.raises(ValueError, match=LOAD):
        run_training(config_of(corpus, components, initialize={}), tmp_path)


@pytest.mark.parametrize("names", [["ner"], ["ner", "textcat"], None])
def test_callback_loads_what_is_listed(checkpoint, tiny_checkpoint, names):
    """Catches a callback that loads other components than those listed, or none."""
    nlp = spacy.blank("en")
    nlp.add_pipe("ner", config=ner(encoder(checkpoint, "BertTok2Vec")))
    nlp.add_pipe("textcat", config=textcat(encoder(checkpoint, "BertPooled", pooling="cls")))
    make = spacy.registry.callbacks.get(LOAD)
    make(str(checkpoint), components=names)(nlp)
    for name in ("ner", "textcat"):
        parameters = next(n for n in nlp.get_pipe(name).model.walk() if n.shims).shims[0]
        assert parameters.is_loaded == (name in (names or ["ner", "textcat"]))


def test_callback_keeps_what_is_loaded(tiny_nlp, make_checkpoint):
    """Catches trained weights that a later training overwrites with a checkpoint's."""
    perturb(tiny_nlp)
    before = weights(tiny_nlp)
    spacy.registry.callbacks.get(LOAD)("no such folder")(tiny_nlp)
    assert equal(weights(tiny_nlp), before)


@pytest.mark.parametrize(
    "names, found",
    [(["berth"], "components lists 'berth'"), (["segments"], "components lists 'segments'")],
)
def test_callback_names_what_it_cannot_load(tiny_nlp, tiny_checkpoint, names, found):
    """Catches a misspelt component, or one without an encoder, that is passed over."""
    tiny_nlp.add_pipe("segments")
    with pytest.raises(ValueError, match=f"{found}, but of bert, segments, bert has"):
        spacy.registry.callbacks.get(LOAD)(str(tiny_checkpoint), components=names)(tiny_nlp)


def test_callback_without_any_encoder(tiny_checkpoint):
    """Catches a callback in a pipeline that has nothing to load."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    with pytest.raises(ValueError, match="there is nothing to load, but of sentencizer, none has"):
        spacy.registry.callbacks.get(LOAD)(str(tiny_checkpoint))(nlp)


def test_frozen_head(checkpoint, corpus, tmp_path, initial):
    """Catches an encoder that waits for the gradient of a frozen head, which never comes; a frozen
    head that learns; and a vector that is no longer made for it."""
    heads = {"textcat": textcat(pooled_listener(pooling="max")), "ner": ner(listener())}
    config = config_of(
        corpus, shared(checkpoint, **heads), initialize=by_component(checkpoint), steps=2
    )
    first = run_training(config, tmp_path)
    frozen = {"source": str(tmp_path / "trained" / "model-last")}
    config = config_of(
        corpus,
        {"bert": frozen, "textcat": frozen, "ner": section("ner", heads["ner"])},
        initialize={},
        frozen=["textcat"],
    )
    nlp = run_training(config, tmp_path / "second")
    assert not equal(weights(nlp), weights(first))
    before, after = trained_heads(first), trained_heads(nlp)
    for key, value in before.items():
        assert (value == after[key]).all() == (key[0] == "textcat")


def test_resumed(checkpoint, corpus, tmp_path):
    """Catches a sourced encoder that begins again from a checkpoint, or does not learn any more."""
    heads = {"textcat": textcat(pooled_listener())}
    config = config_of(
        corpus, shared(checkpoint, **heads), initialize=by_component(checkpoint), steps=2
    )
    first = run_training(config, tmp_path)
    source = {"source": str(tmp_path / "trained" / "model-last")}
    frozen = config_of(
        corpus,
        {"bert": source, "textcat": section("textcat", heads["textcat"])},
        initialize={},
        frozen=["bert"],
        annotating=["bert"],
        steps=2,
    )
    assert equal(weights(run_training(frozen, tmp_path / "second")), weights(first))
    further = config_of(corpus, {"bert": source, "textcat": source}, initialize={}, steps=2)
    assert not equal(weights(run_training(further, tmp_path / "third")), weights(first))


def test_missing_checkpoint_is_named(checkpoint, corpus, tmp_path):
    """Catches a training that starts without the weights it was told to load."""
    components = shared(checkpoint, textcat=textcat(pooled_listener()))
    nowhere = tmp_path / "nowhere"
    config = config_of(corpus, components, initialize=by_component(nowhere))
    with pytest.raises((ValueError, OSError), match="nowhere"):
        run_training(config, tmp_path)


@pytest.mark.parametrize("mixed_precision", [False, True])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_learns_with_dropout(
    tiny_checkpoint, make_examples, mixed_precision, gradient_checkpointing
):
    """Catches attention with dropout that sends a gradient of something else, in texts of several lengths and
    windows: without dropout, which the tiny checkpoint has none of, another way is taken."""
    settings = {
        "attention_dropout": 0.1,
        "hidden_dropout": 0.1,
        "window": 8,
        "stride": 4,
        "mixed_precision": mixed_precision,
        "gradient_checkpointing": gradient_checkpointing,
    }
    nlp = from_checkpoint(tiny_checkpoint, config={"model": settings})
    pieces = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}
    model = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": pieces}
    nlp.add_pipe("bert_ner", config={"model": model})
    examples = make_examples(nlp, cats=False)
    nlp.initialize(lambda: examples)
    before, losses, optimizer = weights(nlp), [], AdamW(0.003)
    for _ in range(30):
        step = {}
        nlp.update(examples, sgd=optimizer, losses=step)
        losses.append(step["bert_ner"])
    assert losses[-1] < 0.5 * losses[0]
    assert not equal(weights(nlp), before)
