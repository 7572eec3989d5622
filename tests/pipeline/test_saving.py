"""Weights survive saving, pickling and copying: all were changed before, so that none is found in
a checkpoint or made by a constructor."""

import copy
import pickle
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import spacy
import torch
from spacy.util import load_model_from_config
from thinc.api import warmup_linear

import spacy_bert
from spacy_bert.layers.annotations import KEY
from spacy_bert.layers.doc_encoder import find_part
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.layers.weights import load_weights
from spacy_bert.pipeline.bert import WEIGHTS

from .heads import assert_same, equal, perturb, pooled_listener, textcat, weights

TEXTS = ["Alice lives in Paris.", "", "Bob's worker " * 20, "in London, Carol"]


@pytest.fixture
def empty(joint_nlp):
    """A pipeline of the same config, without weights."""
    return load_model_from_config(joint_nlp.config)


def test_bytes(joint_nlp, empty):
    """Catches weights or a vocabulary left out of the bytes."""
    assert not empty.get_pipe("bert").is_loaded
    loaded = empty.from_bytes(joint_nlp.to_bytes())
    assert equal(weights(loaded), weights(joint_nlp))
    assert_same(loaded.pipe(TEXTS), joint_nlp.pipe(TEXTS))


def test_bytes_over_other_weights(joint_nlp, tiny_nlp, tiny_checkpoint):
    """Catches weights that are only loaded where there are none yet."""
    data = joint_nlp.get_pipe("bert").to_bytes()
    other = spacy_bert.from_checkpoint(
        tiny_checkpoint, config={"model": {"window": 32, "stride": 24}}
    )
    assert not equal(weights(other), weights(joint_nlp))
    other.get_pipe("bert").from_bytes(data)
    assert equal(weights(other), weights(joint_nlp))


def test_back_to_a_checkpoint(joint_nlp, tiny_checkpoint, tmp_path):
    """Catches a fine-tuned encoder that cannot leave spaCy, or leaves it as it came."""
    bert = joint_nlp.get_pipe("bert")
    spacy_bert.save_checkpoint(tmp_path / "out", bert.to_checkpoint())
    again = spacy_bert.load_checkpoint(tmp_path / "out")
    assert again.parts == {"encoder", "pooler"} and again.config == bert.to_checkpoint().config
    network = find_part(bert.model, "doc-encoder").shims[0]._model.state_dict()
    assert again.weights.keys() == network.keys()
    assert all(torch.equal(again.weights[name], network[name]) for name in network)
    before = spacy_bert.load_checkpoint(tiny_checkpoint).weights
    assert not all(torch.equal(again.weights[name], before[name]) for name in network)
    other = spacy_bert.from_checkpoint(
        tmp_path / "out", config={"model": {"window": 32, "stride": 24}}
    )
    for doc, expected in zip(other.pipe(TEXTS), joint_nlp.pipe(TEXTS)):
        assert np.allclose(doc.tensor, expected.tensor, atol=1e-5)


def test_a_checkpoint_does_not_learn_on(joint_nlp):
    """Catches weights that change under a checkpoint which was taken in the middle of training."""
    bert = joint_nlp.get_pipe("bert")
    taken = bert.to_checkpoint()
    name = "encoder.embeddings.pieces.weight"
    kept = taken.weights[name].clone()
    perturb(joint_nlp)
    assert torch.equal(taken.weights[name], kept)
    assert not torch.equal(bert.to_checkpoint().weights[name], kept)


def test_settings_follow_the_config(tiny_nlp, tiny_checkpoint, tmp_path):
    """Catches settings that are given where a pipeline is loaded, and that what was saved replaces."""
    own = {**tiny_nlp.get_pipe_config("bert")["model"], "pooling": "mean"}
    own["@architectures"] = "spacy-bert.BertPooled.v1"
    model = {
        "@architectures": "spacy-bert.BertTextCat.v1",
        "exclusive_classes": True,
        "tok2vec": own,
    }
    categories = tiny_nlp.add_pipe("textcat", config={"model": model})
    load_weights(categories.model.get_ref("tok2vec"), spacy_bert.load_checkpoint(tiny_checkpoint))
    categories.add_label("A")
    categories.add_label("B")
    categories.model.initialize()
    tiny_nlp.to_disk(tmp_path)
    key = "components.textcat.model.tok2vec"
    changes = {f"{key}.pooling": "max", f"{key}.hidden_dropout": 0.25}
    loaded = spacy.load(tmp_path, config=changes).get_pipe("textcat").model.get_ref("tok2vec")
    doc = tiny_nlp("Alice lives in Paris.")
    assert not np.allclose(
        loaded.predict([doc]), categories.model.get_ref("tok2vec").predict([doc])
    )
    attrs = find_part(loaded, "doc-encoder").attrs
    assert attrs["poolings"] == ["max"] and attrs["sizes"]["hidden_dropout"] == 0.25


def test_disk_of_the_model_alone(joint_nlp, tmp_path):
    """Catches vectors that heads listen to, and that are made no more when weights are loaded."""
    model = joint_nlp.get_pipe("bert").model
    doc_encoder = find_part(model, "doc-encoder")
    before = list(doc_encoder.attrs["poolings"])
    saved = spacy.util.copy_config(joint_nlp.config)
    alone = load_model_from_config(saved, disable=["ner", "textcat"]).get_pipe("bert").model
    model.from_bytes(alone.from_bytes(model.to_bytes()).to_bytes())
    assert doc_encoder.attrs["poolings"] == before


def test_disk(joint_nlp, tmp_path):
    """Catches weights or a vocabulary left out of the folder, and settings that the config drops."""
    joint_nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert equal(weights(loaded), weights(joint_nlp))
    assert_same(loaded.pipe(TEXTS), joint_nlp.pipe(TEXTS))
    windows = find_part(loaded.get_pipe("bert").model, "doc-windows")
    assert (windows.attrs["window"], windows.attrs["stride"]) == (32, 24)
    assert loaded.get_pipe("bert").listening_components == ["ner", "textcat"]


def test_offline_and_elsewhere(make_checkpoint, make_examples, tmp_path, monkeypatch):
    """Catches a saved pipeline that still looks for its checkpoint, on disk or on the network, or
    for itself where it was saved."""
    checkpoint = make_checkpoint(seed=3)
    nlp = spacy_bert.from_checkpoint(checkpoint)
    nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    nlp.config["initialize"]["components"]["bert"] = {"checkpoint": str(checkpoint)}
    nlp.initialize(lambda: make_examples(nlp))
    perturb(nlp)
    nlp.to_disk(tmp_path / "saved")
    expected = list(nlp.pipe(TEXTS))
    shutil.rmtree(checkpoint)
    (tmp_path / "saved").rename(tmp_path / "moved")

    def refuse(*arguments, **settings):
        raise OSError("no network here")

    monkeypatch.setattr(socket, "socket", refuse)
    assert_same(spacy.load(tmp_path / "moved").pipe(TEXTS), expected)


def test_saved_without_weights(tmp_path):
    """Catches an empty encoder that is saved as something else than empty."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert")
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert not loaded.get_pipe("bert").is_loaded
    with pytest.raises(ValueError, match="has no weights"):
        loaded("Alice")


def test_weights_of_another_network(joint_nlp, make_checkpoint):
    """Catches weights that are taken for those of a network of other sizes."""
    nlp = spacy_bert.from_checkpoint(make_checkpoint(depth=3))
    before = weights(nlp)
    with pytest.raises(ValueError, match=r"not those of this network: .*differ, the first is '.*"):
        nlp.get_pipe("bert").from_bytes(joint_nlp.get_pipe("bert").to_bytes())
    assert equal(weights(nlp), before)


def test_vectors_that_nobody_reads_here(tiny_nlp):
    """Catches a loaded encoder that goes on making the vectors that a head read where it was
    saved."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener(pooling="max")))
    assert "max" in vectors(tiny_nlp.get_pipe("bert")(tiny_nlp.make_doc("Alice")))
    data = tiny_nlp.get_pipe("bert").to_bytes()
    tiny_nlp.remove_pipe("textcat")
    plain = load_model_from_config(tiny_nlp.config)
    plain.get_pipe("bert").from_bytes(data)
    assert vectors(plain("Alice")) == {"ids", "offsets", "pieces", "cls", "mean"}


def vectors(doc):
    return set(doc.user_data[KEY]["encoders"]["bert"])


@pytest.mark.parametrize("copied", ["pickle", "deepcopy"])
def test_copies_of_a_pipeline(joint_nlp, copied):
    """Catches a copy without weights, or one that shares them."""
    copies = {"pickle": lambda nlp: pickle.loads(pickle.dumps(nlp)), "deepcopy": copy.deepcopy}
    other = copies[copied](joint_nlp)
    expected = list(joint_nlp.pipe(TEXTS))
    assert_same(other.pipe(TEXTS), expected)
    perturb(joint_nlp, seed=1)
    assert not equal(weights(joint_nlp), weights(other))
    assert_same(other.pipe(TEXTS), expected)


def test_pickled_component(joint_nlp):
    """Catches a component that only travels within its pipeline."""
    bert = pickle.loads(pickle.dumps(joint_nlp.get_pipe("bert")))
    doc = bert(joint_nlp.make_doc(TEXTS[0]))
    np.testing.assert_array_equal(doc.tensor, joint_nlp(TEXTS[0]).tensor)


def test_pickled_for_another_process(joint_nlp, tmp_path):
    """Catches what a constructor sets up and unpickling does not: `doc._.bert`."""
    (tmp_path / "nlp.pickle").write_bytes(pickle.dumps(joint_nlp))
    np.save(tmp_path / "expected.npy", joint_nlp(TEXTS[0]).tensor)
    code = f"""
import pickle, numpy
doc = pickle.load(open("nlp.pickle", "rb"))({TEXTS[0]!r})
print(doc._.bert, abs(doc.tensor - numpy.load("expected.npy")).max() < 1e-5)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout == "<BertView of 'bert': 5 pieces, 5 tokens> True\n", result.stderr


@pytest.mark.parametrize("copied", ["pickle", "deepcopy", "bytes"])
def test_in_the_middle_of_an_update(joint_nlp, make_examples, empty, copied):
    """Catches a copy that is not possible, or whose next update sends the first one's gradient to
    the first one's weights, because a batch is waiting for a frozen head to report."""
    examples = make_examples(joint_nlp)
    joint_nlp.update(examples, sgd=False, exclude=["ner"])
    copies = {
        "pickle": lambda nlp: pickle.loads(pickle.dumps(nlp)),
        "deepcopy": copy.deepcopy,
        "bytes": lambda nlp: empty.from_bytes(nlp.to_bytes()),
    }
    assert joint_nlp.get_pipe("bert")._batch is not None
    other = copies[copied](joint_nlp)
    before = weights(joint_nlp)
    assert equal(weights(other), before)
    other.update(make_examples(other), sgd=other.create_optimizer())
    other.update(make_examples(other), sgd=other.create_optimizer())
    assert not equal(weights(other), before) and equal(weights(joint_nlp), before)
    gradients = [p.grad for p in network(joint_nlp).parameters()]
    assert all(gradient is None for gradient in gradients)


def test_pickled_with_a_step_to_come(joint_nlp, make_examples):
    """Catches a component that cannot be pickled because it holds an optimizer, whose schedule is a
    generator, until a head has reported."""
    optimizer = AdamW(warmup_linear(1e-3, 1, 9))
    for _ in range(2):  # the first is at rate 0
        joint_nlp.update(make_examples(joint_nlp), sgd=optimizer)
        optimizer.step_schedules()
    before = weights(joint_nlp)
    joint_nlp.update(make_examples(joint_nlp), sgd=optimizer, exclude=["ner"])
    joint_nlp._optimizer = None
    other = pickle.loads(pickle.dumps(joint_nlp))
    assert equal(weights(other), weights(joint_nlp)) and not equal(weights(other), before)


def network(nlp):
    return find_part(nlp.get_pipe("bert").model, "doc-encoder").shims[0]._model


def test_memory_zone(joint_nlp):
    """Catches results that hold on to strings or Docs of a memory zone that is over."""
    expected = [(doc.tensor, doc.cats) for doc in joint_nlp.pipe(TEXTS)]
    for i in range(3):
        with joint_nlp.memory_zone():
            # words that spaCy has not seen before are forgotten when the zone ends
            docs = list(joint_nlp.pipe([*TEXTS, f"zq{i}x unheard{i}of words{i}"]))
            assert docs[-1]._.bert.pieces[0] == "z" and docs[-1].tensor.any(axis=1).all()
            for doc, (tensor, cats) in zip(docs[:-1], expected, strict=True):
                np.testing.assert_allclose(doc.tensor, tensor, atol=1e-5)
                assert doc.cats == pytest.approx(cats, abs=1e-5)
            del doc, docs
    assert_same(joint_nlp.pipe(TEXTS), joint_nlp.pipe(TEXTS))


def test_weights_have_a_file_of_their_own(tiny_nlp, tmp_path):
    """Catches weights that are written twice, or into a file that is still read from."""
    perturb(tiny_nlp)
    tiny_nlp.to_disk(tmp_path / "one")
    expected = tiny_nlp(TEXTS[0]).tensor
    size = (tmp_path / "one" / "bert" / "model").stat().st_size
    assert size < (tmp_path / "one" / "bert" / WEIGHTS).stat().st_size
    loaded = spacy.load(tmp_path / "one")
    perturb(tiny_nlp, seed=1)
    tiny_nlp.to_disk(tmp_path / "one")
    np.testing.assert_array_equal(loaded(TEXTS[0]).tensor, expected)
    np.testing.assert_array_equal(
        spacy.load(tmp_path / "one")(TEXTS[0]).tensor, tiny_nlp(TEXTS[0]).tensor
    )
    assert not np.allclose(expected, tiny_nlp(TEXTS[0]).tensor)
    assert not list((tmp_path / "one" / "bert").glob(".*"))


def test_damaged_weights_are_named(tiny_nlp, tmp_path):
    """Catches half a file of weights, and an error that does not say which file it is."""
    tiny_nlp.to_disk(tmp_path)
    path = tmp_path / "bert" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{WEIGHTS}.*cannot be read"):
        spacy.load(tmp_path)


def test_lost_weights_are_named(tiny_nlp, tmp_path):
    """Catches a folder that was copied in part, and an error that advises to train."""
    tiny_nlp.to_disk(tmp_path)
    (tmp_path / "bert" / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=f"{WEIGHTS}.*is missing.*[Cc]opy"):
        spacy.load(tmp_path)


def test_no_weights_no_file(tiny_nlp, tmp_path):
    """Catches the weights of another encoder that stay in a folder."""
    tiny_nlp.to_disk(tmp_path)
    load_model_from_config(tiny_nlp.config).to_disk(tmp_path)
    assert not (tmp_path / "bert" / WEIGHTS).exists()


@pytest.mark.parametrize("factory", ["bert", "textcat"])
def test_windows_of_the_config_that_loads(tiny_nlp, make_examples, tmp_path, factory):
    """Catches a window, or a batch, that is asked for where a pipeline is loaded, and that the one saved
    with the weights takes the place of, in a shared encoder and in one of a head's own."""
    nlp, section = tiny_nlp, "components.bert.model"
    if factory == "textcat":
        nlp.add_pipe("textcat", config=textcat(pooled_listener(32, "cls")))
        nlp.initialize(lambda: make_examples(nlp))
        nlp.replace_listeners("bert", "textcat", ["model.tok2vec"])
        section = "components.textcat.model.tok2vec"
    nlp.to_disk(tmp_path)
    asked = {"window": 16, "stride": 8, "batch_pieces": 77}
    changed = spacy.load(tmp_path, config={f"{section}.{key}": n for key, n in asked.items()})
    layer = find_part(changed.get_pipe(factory).model, "doc-windows")
    assert {key: layer.attrs[key] for key in asked} == asked
    same = find_part(spacy.load(tmp_path).get_pipe(factory).model, "doc-windows")
    assert same.attrs["window"] == 32 and copy.deepcopy(same).attrs["window"] == 32
