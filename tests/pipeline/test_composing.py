"""What users do to pipelines: disable, rename, remove, source, replace listeners."""

import copy
import pickle

import numpy as np
import pytest
import spacy

from spacy_bert import from_checkpoint
from spacy_bert.layers.listeners import token_listener
from spacy_bert.layers.optimizer import AdamW

from .heads import (
    assert_same,
    equal,
    listener,
    ner,
    perturb,
    pooled_listener,
    textcat,
    weights,
)

TEXTS = ["Alice lives in Paris.", "Bob works in London", "", "the working day of Carol"]


@pytest.fixture
def saved(joint_nlp, tmp_path):
    """The folder of a pipeline."""
    joint_nlp.to_disk(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("head", ["ner", "textcat"])
def test_disabled_encoder(joint_nlp, head):
    """Catches zeros that a head reads when its encoder did not run."""
    expected = joint_nlp(TEXTS[0])
    with (
        joint_nlp.select_pipes(enable=[head]),
        pytest.raises(ValueError, match=r"\[E203\].*'Alice lives.*of the encoder 'bert'.*enabled"),
    ):
        joint_nlp(TEXTS[0])
    assert_same([joint_nlp(TEXTS[0])], [expected])
    with joint_nlp.select_pipes(enable="bert"):
        doc = joint_nlp(TEXTS[0])
    with joint_nlp.select_pipes(disable="bert"):
        assert_same([joint_nlp(doc)], [expected])  # the encoder's part was done before


def test_disabled_when_loaded(saved, joint_nlp):
    """Catches an encoder that has no weights, or heads that do not find it, when it is enabled
    later."""
    nlp = spacy.load(saved, disable=["bert"])
    with pytest.raises(ValueError, match="E203"):
        nlp(TEXTS[0])
    nlp.enable_pipe("bert")
    assert_same(nlp.pipe(TEXTS), joint_nlp.pipe(TEXTS))


def test_excluded_when_loaded(saved):
    """Catches zeros where the encoder was not even loaded."""
    nlp = spacy.load(saved, exclude=["bert"])
    with pytest.raises(ValueError, match="E203"):
        nlp(TEXTS[0])


def test_removed_encoder(joint_nlp):
    """Catches a head that goes on without its encoder."""
    joint_nlp.remove_pipe("bert")
    with pytest.raises(ValueError, match="E203"):
        joint_nlp(TEXTS[0])


def test_removed_head(joint_nlp, make_examples):
    """Catches an encoder that waits for the gradient of a head that is gone."""
    joint_nlp.remove_pipe("ner")
    assert joint_nlp.get_pipe("bert").listening_components == ["textcat"]
    before = weights(joint_nlp)
    joint_nlp.update(make_examples(joint_nlp))
    assert not equal(weights(joint_nlp), before)  # stepped at once: all have reported


def test_renamed_encoder(joint_nlp, make_examples, tmp_path):
    """Catches listeners that lose the encoder they listen to as "*"; in prediction, in training,
    and after saving."""
    expected = list(joint_nlp.pipe(TEXTS))
    joint_nlp.rename_pipe("bert", "encoder")
    docs = list(joint_nlp.pipe(TEXTS))
    assert docs[0]._.bert.names == ["encoder"]
    for doc, other in zip(docs, expected, strict=True):
        assert doc.cats == other.cats and str(doc.ents) == str(other.ents)
    joint_nlp.to_disk(tmp_path)
    assert_same(spacy.load(tmp_path).pipe(TEXTS), docs)
    before = weights(joint_nlp, "encoder")
    losses = joint_nlp.update(make_examples(joint_nlp))
    assert losses["encoder"] > 0 and not equal(weights(joint_nlp, "encoder"), before)


def test_renamed_head(joint_nlp):
    """Catches a head whose listener is registered under its old name."""
    joint_nlp.rename_pipe("ner", "names")
    assert joint_nlp.get_pipe("bert").listening_components == ["names", "textcat"]
    assert joint_nlp(TEXTS[0]).cats


def test_renamed_away_from_its_listeners(tiny_nlp, make_examples):
    """Catches zeros for a head that names an encoder which now has another name."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(upstream="bert")))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    assert tiny_nlp(TEXTS[0]).cats
    tiny_nlp.rename_pipe("bert", "encoder")
    with pytest.raises(ValueError, match="of the encoder 'bert'"):
        tiny_nlp(TEXTS[0])


def test_source_in_python(joint_nlp):
    """Catches heads that do not find their encoder in another pipeline, under another name."""
    expected = list(joint_nlp.pipe(TEXTS))
    nlp = spacy.blank("en")
    nlp.add_pipe("bert", source=joint_nlp, name="encoder")
    nlp.add_pipe("ner", source=joint_nlp)
    nlp.add_pipe("textcat", source=joint_nlp)
    assert nlp.get_pipe("encoder").listening_components == ["ner", "textcat"]
    for doc, other in zip(nlp.pipe(TEXTS), expected, strict=True):
        assert doc.cats == other.cats and str(doc.ents) == str(other.ents)
        assert doc._.bert.names == ["encoder"]


@pytest.mark.parametrize("of_spacy", [False, True])
def test_sourced_beside_another_encoder(
    joint_nlp, tiny_nlp, make_checkpoint, make_examples, of_spacy
):
    """Catches a head that silently reads the encoder that has the name of its own: names and widths agree."""
    nlp = from_checkpoint(make_checkpoint(seed=5))
    stock = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "bert"}
    nlp.add_pipe("ner", "names", config=ner(stock if of_spacy else listener()))
    nlp.initialize(lambda: make_examples(nlp))
    joint_nlp.remove_pipe("textcat")
    joint_nlp.add_pipe("bert", source=nlp, name="bert2", first=True)
    joint_nlp.get_pipe("bert2").set_tensor = False
    with pytest.warns(
        UserWarning, match="'names' learnt from another encoder than the 'bert'.*replace_lis"
    ):
        joint_nlp.add_pipe("names", source=nlp)


def test_own_encoder_or_an_equal_one(joint_nlp, saved, tiny_checkpoint, make_examples, recwarn):
    """Catches a warning of that where there is nothing to spoil: in a head without weights, in one that
    comes with its encoder or with what was loaded of it twice, in copies, and in the pipeline that it was
    sourced from."""
    config = config_of(
        saved, "bert", "ner", "textcat", ner={"replace_listeners": ["model.tok2vec"]}
    )
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.rename_pipe("textcat", "topics")
    copied = copy.deepcopy(spacy.load(saved))
    copied.rename_pipe("textcat", "topics")
    pickle.loads(pickle.dumps(copied)).rename_pipe("ner", "names")
    twice = spacy.blank("en")
    twice.add_pipe("bert", source=spacy.load(saved))
    twice.add_pipe("textcat", source=joint_nlp)
    joint_nlp.rename_pipe("ner", "names")

    nlp = from_checkpoint(tiny_checkpoint)
    nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    nlp.remove_pipe("bert")
    nlp.add_pipe("bert", source=joint_nlp, first=True)
    nlp.initialize(lambda: make_examples(nlp))
    nlp.rename_pipe("textcat", "topics")
    assert nlp(TEXTS[0]).cats
    assert not [str(warning.message) for warning in recwarn if "learnt" in str(warning.message)]


def test_trained_with_another_encoder(joint_nlp, make_checkpoint, make_examples, recwarn):
    """Catches a head that is still said to be another encoder's when it has learnt from this one."""
    nlp = from_checkpoint(make_checkpoint(seed=5))
    with pytest.warns(UserWarning, match="'ner' learnt from another encoder"):
        nlp.add_pipe("ner", source=joint_nlp)
    nlp.update(make_examples(nlp), sgd=AdamW(0.01))
    recwarn.clear()
    nlp.rename_pipe("ner", "names")
    assert not [str(warning.message) for warning in recwarn if "learnt" in str(warning.message)]


def test_sourced_by_a_pipeline_that_listens_less(tiny_nlp, make_examples):
    """Catches a component that is shared by two pipelines (spaCy does not copy what is sourced in
    Python) and makes only the vectors that the second listens to."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(pooling="max")))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    nlp = spacy.blank("en")
    nlp.add_pipe("bert", source=tiny_nlp)
    assert nlp.get_pipe("bert") is tiny_nlp.get_pipe("bert")
    assert nlp(TEXTS[0]).tensor.any() and tiny_nlp(TEXTS[0]).cats


def config_of(saved, *names, **settings):
    """A config that sources components of a saved pipeline."""
    components = {name: {"source": str(saved), **settings.get(name, {})} for name in names}
    return {"nlp": {"lang": "en", "pipeline": list(names)}, "components": components}


def test_source_in_a_config(saved, joint_nlp, tmp_path):
    """Catches weights that a sourced component does not bring along."""
    config = config_of(saved, "bert", "ner", "textcat")
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    assert_same(nlp.pipe(TEXTS), joint_nlp.pipe(TEXTS))
    nlp.to_disk(tmp_path / "again")
    saved.rename(tmp_path / "moved")
    assert_same(spacy.load(tmp_path / "again").pipe(TEXTS), joint_nlp.pipe(TEXTS))


def test_source_without_the_encoder(saved, joint_nlp, tmp_path):
    """Catches `replace_listeners` in a config that leaves a sourced head without an encoder of its
    own: it has to work in a pipeline that has none."""
    replaced = {"replace_listeners": ["model.tok2vec"]}
    config = config_of(saved, "textcat", "ner", textcat=replaced, ner=replaced)
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.to_disk(tmp_path / "again")
    for other in (nlp, spacy.load(tmp_path / "again")):
        for doc, expected in zip(other.pipe(TEXTS), joint_nlp.pipe(TEXTS), strict=True):
            assert doc.cats == pytest.approx(expected.cats, abs=1e-6)
            assert str(doc.ents) == str(expected.ents) and doc._.bert is None
    names = {"ner": "spacy-bert.BertTok2Vec.v1", "textcat": "spacy-bert.BertPooled.v1"}
    for name, architecture in names.items():
        tok2vec = nlp.get_pipe_config(name)["model"]["tok2vec"]
        assert tok2vec["@architectures"] == architecture and tok2vec["window"] == 32


def test_replaced_listeners_train_apart(joint_nlp, make_examples):
    """Catches a copy that shares weights with the encoder it was made from."""
    expected = list(joint_nlp.pipe(TEXTS))
    joint_nlp.replace_listeners("bert", "textcat", ["model.tok2vec"])
    assert joint_nlp.get_pipe("bert").listening_components == ["ner"]
    assert_same(joint_nlp.pipe(TEXTS), expected)
    shared, own = weights(joint_nlp), weights(joint_nlp, "textcat")
    assert equal(shared, own)
    optimizer = joint_nlp.resume_training()
    joint_nlp.update(make_examples(joint_nlp), sgd=optimizer, exclude=["ner", "bert"])
    assert equal(weights(joint_nlp), shared) and not equal(weights(joint_nlp, "textcat"), own)
    own = weights(joint_nlp, "textcat")
    joint_nlp.update(make_examples(joint_nlp), sgd=optimizer, exclude=["textcat"])
    assert not equal(weights(joint_nlp), shared) and equal(weights(joint_nlp, "textcat"), own)


@pytest.mark.parametrize("pooling", ["pooler", "max"])
def test_disabled_while_others_are_linked(tiny_nlp, make_examples, pooling):
    """Catches a vector that is no longer made because the head that reads it was disabled while
    spaCy linked the pipeline, as frozen heads are while the others are initialised."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(pooling=pooling)))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    with tiny_nlp.select_pipes(disable=["textcat"]):
        tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    assert tiny_nlp.get_pipe("bert").listening_components == ["ner"]
    assert tiny_nlp(TEXTS[0]).cats


def test_listener_of_another_width(tiny_nlp):
    """Catches a head that would fail on shapes at its first batch."""
    with pytest.raises(ValueError, match="declares width = 48, but its encoder 'bert'.*width 32"):
        tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(48)))


def test_two_pipelines_in_one_process(tiny_checkpoint, make_checkpoint):
    """Catches state that pipelines share without sharing a component."""
    one = from_checkpoint(tiny_checkpoint)
    two = from_checkpoint(make_checkpoint(seed=5))
    expected = one(TEXTS[0]).tensor.copy(), two(TEXTS[0]).tensor.copy()
    perturb(two)
    assert (one(TEXTS[0]).tensor == expected[0]).all()
    assert not (two(TEXTS[0]).tensor == expected[1]).any()


def test_two_listeners_of_one_head_are_removed(tiny_nlp):
    """Catches the second of two being passed over: nlp.replace_listeners walks over the list that this shortens."""
    bert = tiny_nlp.get_pipe("bert")
    for _ in range(2):
        bert.add_listener(token_listener(upstream="bert", width=32, grad_factor=1.0), "head")
    assert all([bert.remove_listener(each, "head") for each in bert.listener_map["head"]])
    assert bert.listeners == [] and "head" not in bert.listener_map


def test_loss_while_a_head_is_disabled(joint_nlp, make_examples):
    """Catches a loss of the encoder that is told a step too late, or twice, where not all heads report."""
    told, optimizer = {}, AdamW(0.0)
    with joint_nlp.select_pipes(disable=["textcat"]):
        for step in range(1, 4):
            losses = {}
            joint_nlp.update(make_examples(joint_nlp), sgd=optimizer, losses=losses)
            joint_nlp.update(make_examples(joint_nlp), sgd=optimizer, losses=told)
            assert losses["bert"] == pytest.approx(told["bert"] / step, rel=1e-3)
    told.clear()
    joint_nlp(TEXTS[0])
    assert not told.get("bert")


def test_loss_of_a_batch_that_is_dropped(joint_nlp, make_examples, monkeypatch):
    """Catches a loss below zero: what was told of a batch, taken back from losses that were cleared."""
    examples = make_examples(joint_nlp)
    textcat = joint_nlp.get_pipe("textcat")
    monkeypatch.setattr(
        textcat, "get_loss", lambda *_: (0.0, np.full((len(examples), 2), np.nan, "f"))
    )
    losses = {}
    with pytest.raises(FloatingPointError):
        joint_nlp.update(examples, sgd=AdamW(0.01), losses=losses)
    assert losses["bert"] > 0
    losses.clear()
    joint_nlp.get_pipe("bert").update(examples, losses=losses)
    assert losses["bert"] == 0.0


def test_a_listener_that_goes_leaves_the_others(tiny_nlp, make_examples, tmp_path):
    """Catches heads that were disabled while the pipeline was linked, and whose vectors are made no
    more when another head gets an encoder of its own."""
    pieces = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    tiny_nlp.add_pipe("bert_ner", config={"model": {"tok2vec": pieces}})
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(pooling="max")))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    expected = tiny_nlp("Alice lives in Paris.")
    tiny_nlp.to_disk(tmp_path)
    nlp = spacy.load(tmp_path, disable=["bert_ner", "textcat"])
    nlp.enable_pipe("bert_ner")
    nlp.enable_pipe("textcat")
    nlp.replace_listeners("bert", "ner", ["model.tok2vec"])
    assert_same([nlp("Alice lives in Paris.")], [expected])
