"""Two `bert` components in one pipeline: nobody reads the other's vectors."""

import pickle
import warnings

import numpy as np
import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import Doc, DocBin
from thinc.api import Linear, Logistic, chain, concatenate, list2ragged, reduce_mean

import spacy_bert
from spacy_bert.layers.listeners import BertListenerModel

from .heads import (
    assert_same,
    equal,
    listener,
    ner,
    perturb,
    pooled_listener,
    tagger,
    textcat,
    weights,
)

TEXT = "Alice lives in Paris."


@pytest.fixture
def two(tiny_nlp, wide_checkpoint, add_encoder):
    """`bert` (width 32), which owns doc.tensor, and `wide` (width 48), which does not."""
    add_encoder(tiny_nlp, "wide", wide_checkpoint, set_tensor=False)
    return tiny_nlp


@pytest.fixture
def alone(wide_checkpoint):
    """The vectors that `wide` makes by itself."""
    config = {"model": {"window": 32, "stride": 24}}
    return spacy_bert.from_checkpoint(wide_checkpoint, config=config)


def add_heads(nlp):
    """A head of each kind on each encoder, mixed, with explicit names."""
    nlp.add_pipe("ner", config=ner(listener(48, upstream="wide")))
    nlp.add_pipe("tagger", config=tagger(listener(32, upstream="bert")))
    nlp.add_pipe("textcat", config=textcat(pooled_listener(48, "cls", upstream="wide")))


def examples_of(nlp, make_examples):
    examples = make_examples(nlp)
    for example in examples:
        for token in example.reference:
            token.tag_ = "X" if token.is_title else "Y"
    return examples


def test_each_leaves_its_own(two, alone):
    """Catches one encoder's results under the other's name, or in doc.tensor."""
    doc, other = two(TEXT), alone(TEXT)
    assert doc._.bert.names == ["bert", "wide"] and doc._.bert.name == "bert"
    np.testing.assert_array_equal(doc.tensor, doc._.bert.tokens)
    np.testing.assert_allclose(doc._.bert["wide"].tokens, other.tensor, atol=1e-6)
    np.testing.assert_allclose(doc._.bert["wide"].cls, other._.bert.cls, atol=1e-6)
    assert doc._.bert["bert"].cls.shape == (32,)


@pytest.mark.parametrize("last", ["bert", "wide"])
def test_the_last_owns_the_tensor(tiny_nlp, wide_checkpoint, add_encoder, alone, last):
    """Catches vectors of the first encoder that are lost when the second takes doc.tensor."""
    expected = {"bert": tiny_nlp(TEXT).tensor, "wide": alone(TEXT).tensor}
    place = {"before" if last == "bert" else "after": "bert"}
    wide = add_encoder(tiny_nlp, "wide", wide_checkpoint)
    tiny_nlp.remove_pipe("wide")
    tiny_nlp.add_pipe("bert", name="wide", config={"model": _settings(wide)}, **place)
    tiny_nlp.get_pipe("wide").from_bytes(wide.to_bytes())
    doc = tiny_nlp(TEXT)
    for _ in range(2):  # the second time, both have run on the Doc before
        assert doc._.bert.name == last
        np.testing.assert_allclose(doc.tensor, expected[last], atol=1e-6)
        for name in ("bert", "wide"):
            np.testing.assert_allclose(doc._.bert[name].tokens, expected[name], atol=1e-6)
        doc = tiny_nlp(doc)


def _settings(pipe):
    sizes = pipe.model.layers[1].attrs["sizes"]
    sizes = {key: value for key, value in sizes.items() if key != "initializer_range"}
    return {"@architectures": "spacy-bert.Bert.v1", **sizes, "window": 32, "stride": 24}


def test_heads_predict_from_their_own(two, make_examples):
    """Catches a head that reads the vectors of the other encoder."""
    add_heads(two)
    two.initialize(lambda: examples_of(two, make_examples))
    perturb(two)
    assert two.get_pipe("bert").listening_components == ["tagger"]
    assert two.get_pipe("wide").listening_components == ["ner", "textcat"]
    doc = two(TEXT)
    view = doc._.bert
    for head, expected in [
        ("tagger", view["bert"].tokens),
        ("ner", view["wide"].tokens),
        ("textcat", view["wide"].cls[None]),
    ]:
        nodes = two.get_pipe(head).model.walk()
        (reader,) = [node for node in nodes if isinstance(node, BertListenerModel)]
        read = reader.predict([doc])
        np.testing.assert_array_equal(read[0] if head != "textcat" else read, expected)
        assert expected.any()


def test_heads_train_their_own(two, make_examples):
    """Catches a gradient that goes to the other encoder, or to neither."""
    add_heads(two)
    examples = examples_of(two, make_examples)
    optimizer = two.initialize(lambda: examples)
    perturb(two)
    for head, trained, other in [("tagger", "bert", "wide"), ("ner", "wide", "bert")]:
        before = {name: weights(two, name) for name in ("bert", "wide")}
        heads = {"ner", "tagger", "textcat"}
        losses = {}
        two.update(examples, sgd=optimizer, exclude=list(heads - {head}), losses=losses)
        two(TEXT)  # takes a step that was put off
        assert losses[trained] > 0 and losses[other] == 0
        assert not equal(weights(two, trained), before[trained])
        assert equal(weights(two, other), before[other])


def test_anyone_means_the_nearest_before(two, make_examples):
    """Catches "*" taken for the first encoder, whose width would not even fit here."""
    two.add_pipe("ner", config=ner(listener(48)))
    two.add_pipe("textcat", config=textcat(pooled_listener(32)), after="bert")
    assert two.get_pipe("bert").listening_components == ["textcat"]
    assert two.get_pipe("wide").listening_components == ["ner"]
    two.initialize(lambda: make_examples(two))
    before = {name: weights(two, name) for name in ("bert", "wide")}
    perturb(two)
    two.update(make_examples(two))
    two.update(make_examples(two))
    for name in ("bert", "wide"):
        assert not equal(weights(two, name), before[name])
    assert two(TEXT).cats


def test_saving(two, make_examples, tmp_path):
    """Catches one encoder's weights written over the other's."""
    add_heads(two)
    two.initialize(lambda: examples_of(two, make_examples))
    perturb(two)
    two.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert_same(loaded.pipe([TEXT, "Bob works"]), two.pipe([TEXT, "Bob works"]))
    for name in ("bert", "wide"):
        assert equal(weights(loaded, name), weights(two, name))


def test_docs_on_their_way(two):
    """Catches results of the second encoder that are lost with the tensor."""
    doc = two(TEXT)
    back = Doc(two.vocab).from_bytes(doc.to_bytes(exclude=["user_hooks"]))
    assert back._.bert.names == ["bert", "wide"]
    for name in ("bert", "wide"):
        np.testing.assert_array_equal(back._.bert[name].tokens, doc._.bert[name].tokens)
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (back,) = DocBin().from_bytes(data).get_docs(two.vocab)
    np.testing.assert_array_equal(back._.bert["wide"].tokens, doc._.bert["wide"].tokens)


@pytest.mark.parametrize("upstream", ["wide", "bert"])
def test_stock_listener_of_an_encoder_without_the_tensor(two, upstream):
    """Catches spaCy's own listener learning from one encoder's vectors and predicting from zeros, or
    from those of another."""
    stock = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": upstream}
    if upstream == "bert":
        two.add_pipe("tagger", config=tagger(stock))  # it owns the tensor
        return
    with pytest.raises(ValueError, match=r"upstream = 'wide'.*doc\.tensor.*BertListener"):
        two.add_pipe("tagger", config=tagger({**stock, "width": 48}))


def add_tok2vec(nlp, width, **place):
    embed = {
        "@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": width, "depth": 1,
        "embed_size": 100, "window_size": 1, "maxout_pieces": 2, "subword_features": True,
    }  # fmt: skip
    return nlp.add_pipe("tok2vec", config={"model": embed}, **place)


def stock_listener(width, upstream="tok2vec"):
    return {"@architectures": "spacy.Tok2VecListener.v1", "width": width, "upstream": upstream}


@pytest.mark.parametrize("width", [32, 48])
def test_tok2vec_behind(tiny_nlp, make_examples, width):
    """Catches a head that predicts from the vectors of spaCy's tok2vec, which takes doc.tensor over,
    because they happen to have the same width, or finds none, because they have another."""
    alone = tiny_nlp(TEXT).tensor
    add_tok2vec(tiny_nlp, width)
    tiny_nlp.add_pipe("ner", config=ner(listener(32)))
    tiny_nlp.add_pipe("tagger", config=tagger(stock_listener(width)))
    tiny_nlp.initialize(lambda: examples_of(tiny_nlp, make_examples))
    doc = tiny_nlp(TEXT)
    (reader,) = [
        node
        for node in tiny_nlp.get_pipe("ner").model.walk()
        if isinstance(node, BertListenerModel)
    ]
    np.testing.assert_allclose(reader.predict([doc])[0], alone, atol=1e-6)
    np.testing.assert_allclose(doc._.bert.tokens, alone, atol=1e-6)
    assert doc.tensor.shape == (len(doc), width) and not np.allclose(doc.tensor[:, :32], alone)
    # Between the two, doc.tensor is the encoder's.
    tiny_nlp.add_pipe("tagger", "early", config=tagger(stock_listener(32, "bert")), after="bert")
    assert tiny_nlp.get_pipe("bert").listening_components == ["early", "ner"]


@pytest.mark.parametrize("upstream, width", [("tok2vec", 32), ("tok2vec", 48), ("*", 48)])
def test_tok2vec_in_front(tiny_nlp, make_examples, upstream, width):
    """Catches a head that learns from spaCy's tok2vec and predicts from what the encoder has put in
    the place of its vectors."""
    add_tok2vec(tiny_nlp, width, before="bert")
    config = tagger(stock_listener(width, upstream))
    tiny_nlp.add_pipe("tagger", config=config)
    message = r"behind 'bert'.*doc\.tensor.*set_tensor = false"
    examples = examples_of(tiny_nlp, make_examples)
    with pytest.raises(ValueError, match=message):
        tiny_nlp.initialize(lambda: examples)
    with pytest.raises(ValueError, match=message):
        tiny_nlp.get_pipe("bert").update(examples)
    with pytest.raises(ValueError, match=message):
        tiny_nlp(TEXT)
    tiny_nlp.remove_pipe("tagger")
    tiny_nlp.add_pipe("tagger", config=config, before="bert")
    tiny_nlp.initialize(lambda: examples)
    assert tiny_nlp(TEXT).tensor.shape == (5, 32)


def test_tok2vec_in_front_keeps_the_tensor(tiny_nlp, make_examples):
    """Catches the remedy that the error names not being one."""
    add_tok2vec(tiny_nlp, 48, before="bert")
    tiny_nlp.add_pipe("tagger", config=tagger(stock_listener(48)))
    tiny_nlp.get_pipe("bert").set_tensor = False
    tiny_nlp.add_pipe("ner", config=ner(listener(32)))
    tiny_nlp.initialize(lambda: examples_of(tiny_nlp, make_examples))
    doc = tiny_nlp(TEXT)
    expected = tiny_nlp.get_pipe("tok2vec").predict([tiny_nlp.make_doc(TEXT)])[0]
    np.testing.assert_allclose(doc.tensor, expected, atol=1e-6)
    assert doc._.bert.tokens.shape == (len(doc), 32)


def reader_of(nlp, name="ner"):
    """What hands a head the vectors."""
    nodes = nlp.get_pipe(name).model.walk()
    (reader,) = (node for node in nodes if isinstance(node, BertListenerModel))
    return reader


def with_tok2vec_behind(nlp, make_examples, width):
    add_tok2vec(nlp, width)
    nlp.add_pipe("tagger", config=tagger(stock_listener(width)))
    nlp.add_pipe("ner", config=ner(listener(32)))
    nlp.initialize(lambda: examples_of(nlp, make_examples))


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("width", [32, 48])
@pytest.mark.parametrize("disabled", [["tok2vec", "tagger"], ["tok2vec"]])
def test_linked_while_tok2vec_is_disabled(
    tiny_nlp, make_examples, tmp_path, width, disabled, pickled
):
    """Catches a head that reads tok2vec's vectors, or finds none, because spaCy linked the pipeline while
    tok2vec was disabled: frozen, as the others are initialised, or loaded without."""
    alone = tiny_nlp(TEXT).tensor
    with_tok2vec_behind(tiny_nlp, make_examples, width)
    tags = [token.tag_ for token in tiny_nlp(TEXT)]
    tiny_nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path, disable=disabled)
    # One that was unpickled does not know its pipeline.
    loaded = pickle.loads(pickle.dumps(loaded)) if pickled else loaded
    for name in disabled:
        loaded.enable_pipe(name)
    with tiny_nlp.select_pipes(disable=["tok2vec", "tagger"]):
        tiny_nlp.initialize(lambda: examples_of(tiny_nlp, make_examples))
    for nlp in (loaded, tiny_nlp):
        doc = nlp(TEXT)
        np.testing.assert_allclose(reader_of(nlp).predict([doc])[0], alone, atol=1e-6)
        assert doc.tensor.shape == (len(doc), width) and not np.allclose(doc.tensor[:, :32], alone)
        assert [token.tag_ for token in doc] == tags


@pytest.mark.parametrize("width", [32, 48])
def test_shared_with_another_pipeline(tiny_nlp, make_examples, width):
    """Catches a head that reads tok2vec's vectors, finds none, or is refused, because its encoder takes the
    pipeline that it was made for, which lives on, for the one that it is used in."""
    alone = tiny_nlp(TEXT).tensor
    other = spacy.blank("en")
    other.add_pipe("bert", source=tiny_nlp)
    with_tok2vec_behind(other, make_examples, width)
    doc = other(TEXT)
    np.testing.assert_allclose(reader_of(other).predict([doc])[0], alone, atol=1e-6)
    assert doc.tensor.shape == (len(doc), width) and not np.allclose(doc.tensor[:, :32], alone)
    np.testing.assert_allclose(tiny_nlp(TEXT).tensor, alone, atol=1e-6)


def test_a_stock_head_without_its_encoder(tiny_nlp, make_examples):
    """Catches a tagger that reads our vectors, of as many numbers, while its own tok2vec is disabled."""
    with_tok2vec_behind(tiny_nlp, make_examples, 32)
    with (
        tiny_nlp.select_pipes(disable=["tok2vec"]),
        pytest.raises(ValueError, match="'tagger' behind 'bert'.*its own encoder behind, enabled"),
    ):
        tiny_nlp(TEXT)
    with tiny_nlp.select_pipes(disable=["tok2vec", "tagger"]):
        assert tiny_nlp(TEXT).ents is not None
    assert tiny_nlp(TEXT)[0].tag_
    # As it is where its tok2vec is frozen, and the others are initialised.
    with tiny_nlp.select_pipes(disable=["tok2vec"]):
        tiny_nlp.initialize(lambda: examples_of(tiny_nlp, make_examples))


def test_removed_tok2vec(tiny_nlp, make_examples):
    """Catches vectors that are stored twice on account of a component that is gone."""
    with_tok2vec_behind(tiny_nlp, make_examples, 32)
    bert = tiny_nlp.get_pipe("bert")
    assert not bert.owns_tensor
    removed = [tiny_nlp.remove_pipe(name) for name in ("tagger", "tok2vec")]
    assert bert.owns_tensor and len(removed) == 2
    tiny_nlp.add_pipe("tagger", config=tagger(stock_listener(32, "bert")))
    assert "tagger" in bert.listening_components


@pytest.mark.parametrize("pickled", [False, True])
def test_anyone_means_who_is_only_disabled(
    tiny_nlp, tiny_checkpoint, add_encoder, make_examples, tmp_path, pickled
):
    """Catches a head that goes over to an encoder that it has not learnt from, of the same width, because its
    own was disabled while spaCy linked the pipeline."""
    add_encoder(tiny_nlp, "second", tiny_checkpoint, set_tensor=False)
    tiny_nlp.add_pipe("ner", config=ner(listener()))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    perturb(tiny_nlp)
    expected = reader_of(tiny_nlp).predict([tiny_nlp(TEXT)])[0]
    tiny_nlp.to_disk(tmp_path)
    nlp = spacy.load(tmp_path, disable=["second"])
    nlp = pickle.loads(pickle.dumps(nlp)) if pickled else nlp
    with pytest.raises(ValueError, match="E203.*'second'"):
        nlp(TEXT)
    nlp.enable_pipe("second")
    np.testing.assert_allclose(reader_of(nlp).predict([nlp(TEXT)])[0], expected, atol=1e-6)
    with tiny_nlp.select_pipes(disable=["second"]):
        tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    assert tiny_nlp.get_pipe("bert").listening_components == []
    # Who is gone is not meant.
    removed = tiny_nlp.remove_pipe("second")
    assert tiny_nlp.get_pipe("bert").listening_components == ["ner"] and removed


def test_templates_of_spacy(tmp_path):
    """Catches an error where spaCy only puts a config together: its template has a tok2vec before ours."""
    config = init_config(lang="en", pipeline=["bert", "ner"], silent=True)
    names = config["nlp"]["pipeline"]
    assert names.index("tok2vec") < names.index("bert") < names.index("ner")


def test_upstream_that_is_not_there(tiny_nlp, make_examples):
    """Catches advice for other mistakes than a name that was left in a config."""
    tiny_nlp.add_pipe("tagger", config=tagger(stock_listener(32, "transformer")))
    with pytest.raises(ValueError, match='set upstream = "bert" if that is what'):
        tiny_nlp.initialize(lambda: examples_of(tiny_nlp, make_examples))


POOLED = {"@architectures": "spacy-bert.BertPooledListener.v1", "width": 32}


@pytest.mark.parametrize("head", ["ner", "tagger", "senter", "spancat"])
def test_one_vector_a_doc_for_tokens(head, tiny_nlp):
    """Catches a vector of the whole text for a head that reads tokens, which fails somewhere in Thinc."""
    with pytest.warns(UserWarning, match=f"'{head}' listens .*BertPooledListener.*BertListener"):
        tiny_nlp.remove_pipe("ner") if "ner" in tiny_nlp.pipe_names else None
        tiny_nlp.add_pipe(head, config={"model": {"tok2vec": POOLED}})


def test_one_vector_a_doc_beside_tokens(tiny_nlp):
    """Catches a warning of a model of the user's own that reads both."""

    @spacy.registry.architectures("toy.Both.v1")
    def both(pooled, tokens):
        mean = chain(tokens, list2ragged(), reduce_mean())
        return chain(concatenate(pooled, mean), Linear(nI=64), Logistic())

    listener = {"@architectures": "spacy-bert.BertListener.v1", "width": 32}
    model = {"@architectures": "toy.Both.v1", "pooled": POOLED, "tokens": listener}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_nlp.add_pipe("textcat_multilabel", config={"model": model})
    assert len(tiny_nlp.get_pipe("bert").listener_map["textcat_multilabel"]) == 2


@pytest.mark.parametrize("ours", [True, False])
def test_one_vector_a_doc_for_categories(ours, tiny_nlp):
    """The same for the text classifiers of spaCy's that read tokens; and not for ours."""
    model = {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": True,
        "tok2vec": POOLED,
    }
    names = ("first", "last", "max", "mean")
    model.update({f"use_reduce_{name}": name == "mean" for name in names})
    if ours:
        architecture = "spacy-bert.BertTextCat.v1"
        model = {"@architectures": architecture, "exclusive_classes": True, "tok2vec": POOLED}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tiny_nlp.add_pipe("textcat", config={"model": model})
    assert ["BertTextCat" in str(warning.message) for warning in told] == ([] if ours else [True])
