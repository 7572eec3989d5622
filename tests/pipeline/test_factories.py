"""The factories: defaults, settings, and how the encoder comes by its weights."""

import subprocess
import sys

import numpy as np
import pytest
import spacy
from confection import Config
from spacy.training import Example
from thinc.api import fix_random_seed
from thinc.config import ConfigValidationError

import spacy_bert
from spacy_bert.layers.doc_encoder import shim_of
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.wordpiece import WordPieceTokenizer

from .heads import equal, listener, ner, perturb, weights


@pytest.fixture
def sizes(tiny_nlp):
    """The settings that fit the tiny checkpoint."""
    return tiny_nlp.get_pipe_config("bert")["model"]


@pytest.fixture
def fresh(sizes):
    """A pipeline whose `bert` fits the tiny checkpoint and has no weights."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert", config={"model": sizes})
    return nlp


def initialize(nlp, **settings):
    nlp.config["initialize"]["components"]["bert"] = {
        key: str(value) for key, value in settings.items()
    }
    nlp.initialize()


def test_nothing_needs_importing():
    """Catches a factory or architecture that is found only once spacy_bert was imported."""
    code = """
import spacy
nlp = spacy.blank("en")
nlp.add_pipe("segments")
nlp.add_pipe("bert")
print(nlp.pipe_names)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "['segments', 'bert']\n", result.stderr


def test_default_config():
    """Catches a default that changes: it would change what a config without it means."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert")
    nlp.add_pipe("segments")
    assert nlp.get_pipe_config("segments") == {"factory": "segments", "separator": "\n\n"}
    nlp.add_pipe("fill_mask")
    assert nlp.get_pipe_config("fill_mask") == {
        "factory": "fill_mask",
        "top_k": 5,
        "model": {
            "@architectures": "spacy-bert.BertMaskedLM.v1",
            "vocab_size": 30522,
            "width": 768,
            "depth": 12,
            "heads": 12,
            "intermediate_width": 3072,
            "max_positions": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "activation": "gelu",
            "window": 512,
            "stride": 448,
            "batch_pieces": 4096,
        },
    }
    assert nlp.get_pipe_config("bert") == {
        "factory": "bert",
        "set_tensor": True,
        "keep": [],
        "inference": "fp32",
        "model": {
            "@architectures": "spacy-bert.Bert.v1",
            "vocab_size": 30522,
            "width": 768,
            "depth": 12,
            "heads": 12,
            "intermediate_width": 3072,
            "max_positions": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "activation": "gelu",
            "hidden_dropout": 0.1,
            "attention_dropout": 0.1,
            "causal": False,
            "layers": [-1],
            "window": 512,
            "stride": 448,
            "batch_pieces": 4096,
            "mixed_precision": False,
            "gradient_checkpointing": False,
        },
    }


def test_constructing_takes_no_memory():
    """Catches weights that are made before they are loaded: 440 MB of them, here."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert")
    assert all(p.is_meta for p in shim_of(nlp.get_pipe("bert").model)._model.parameters())


@pytest.mark.parametrize(
    "factory, config, key",
    [
        ("bert", {"kepp": []}, "kepp"),
        ("bert", {"set_tensor": "maybe"}, "set_tensor"),
        ("bert", {"checkpoint": "here"}, "checkpoint"),
        ("bert", {"model": {"@architectures": "spacy-bert.Bert.v1", "witdh": 32}}, "witdh"),
        ("bert", {"model": {"@architectures": "spacy-bert.Bert.v1", "width": "wide"}}, "width"),
        ("segments", {"seperator": "|"}, "seperator"),
        ("fill_mask", {"topk": 3}, "topk"),
        ("fill_mask", {"top_k": "many"}, "top_k"),
    ],
)
def test_wrong_key_is_named(factory, config, key):
    """Catches a misspelt setting that is ignored."""
    with pytest.raises(ConfigValidationError, match=key):
        spacy.blank("en").add_pipe(factory, config=config)


def test_keep_is_checked():
    """Catches a misspelt vector that is never kept."""
    with pytest.raises(ValueError, match=r"'token'.*tokens, pooler, max"):
        spacy.blank("en").add_pipe("bert", config={"keep": ["token"]})


def test_empty_separator_is_refused():
    """Catches a separator that would be found everywhere."""
    with pytest.raises(ValueError, match="'segments' is empty"):
        spacy.blank("en").add_pipe("segments", config={"separator": ""})


@pytest.mark.parametrize("use", ["call", "pipe", "update", "predict"])
def test_without_weights_one_clear_error(fresh, use):
    """Catches torch's own error, or zeros, where the encoder was never initialised."""
    example = Example.from_dict(fresh.make_doc("a"), {})
    uses = {
        "call": lambda: fresh("a"),
        "pipe": lambda: list(fresh.pipe(["a", "b"])),
        "update": lambda: fresh.update([example]),
        "predict": lambda: fresh.get_pipe("bert").predict([fresh.make_doc("a")]),
    }
    message = r"'bert' has no weights\..*\[initialize\.components\.bert\] checkpoint = "
    with pytest.raises(ValueError, match=message):
        uses[use]()


def test_without_weights_the_handler_is_asked_once(fresh):
    """Catches one complaint a text where no text can be read."""
    errors = []
    fresh.set_error_handler(lambda name, pipe, docs, error: errors.append(len(docs)))
    assert list(fresh.pipe(["a", "b", "c"])) == []
    assert errors == [3]


def test_initialize_needs_a_checkpoint(fresh):
    """Catches an encoder that trains from random weights by oversight."""
    with pytest.raises(ValueError, match="'bert' cannot be initialised.*Name a checkpoint"):
        fresh.initialize()


def test_initialize_takes_one_source(fresh, tiny_checkpoint):
    """Catches one of two sources winning silently."""
    with pytest.raises(ValueError, match="both checkpoint = .* and vocab = .*Name one"):
        initialize(fresh, checkpoint=tiny_checkpoint, vocab=tiny_checkpoint)


def test_initialize_loads_the_checkpoint(fresh, tiny_nlp, tiny_checkpoint):
    """Catches weights or a vocabulary other than the checkpoint's."""
    initialize(fresh, checkpoint=tiny_checkpoint)
    assert equal(weights(fresh), weights(tiny_nlp))
    text = "Alice lives in Paris."
    np.testing.assert_array_equal(fresh(text).tensor, tiny_nlp(text).tensor)


def test_initialize_by_config_file(sizes, tiny_checkpoint, tiny_nlp, tmp_path):
    """Catches a checkpoint that only Python, not a config file, can name."""
    text = """
    [paths]
    checkpoint = null
    [nlp]
    lang = "en"
    pipeline = ["bert"]
    [components]
    [components.bert]
    factory = "bert"
    [initialize]
    [initialize.components]
    [initialize.components.bert]
    checkpoint = ${paths.checkpoint}
    """
    config = Config().from_str(text, interpolate=False)
    config["components"]["bert"]["model"] = sizes
    config["paths"]["checkpoint"] = str(tiny_checkpoint)
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.initialize()
    assert equal(weights(nlp), weights(tiny_nlp))


@pytest.mark.parametrize("key, value", [("width", 48), ("depth", 3), ("vocab_size", 200)])
def test_sizes_that_disagree_are_named(sizes, tiny_checkpoint, key, value):
    """Catches a shape mismatch reported by torch, in terms of tensors, or not at all."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert", config={"model": {**sizes, key: value}})
    with pytest.raises(ValueError, match=f"{key} = {value} where the checkpoint has {sizes[key]}"):
        initialize(nlp, checkpoint=tiny_checkpoint)
    assert not nlp.get_pipe("bert").is_loaded


def test_loaded_weights_are_kept(tiny_nlp, make_checkpoint):
    """Catches trained weights that a second `initialize` overwrites with a checkpoint's."""
    perturb(tiny_nlp)
    before = weights(tiny_nlp)
    initialize(tiny_nlp, checkpoint=make_checkpoint(seed=7))
    assert equal(weights(tiny_nlp), before)
    tiny_nlp.initialize()
    assert equal(weights(tiny_nlp), before)


def test_random_weights_from_a_vocabulary(fresh, tiny_checkpoint, tiny_nlp, tmp_path):
    """Catches weights that are not BERT's initial ones, or a vocabulary that is not the folder's."""
    WordPieceTokenizer.from_disk(tiny_checkpoint).to_disk(tmp_path)
    fix_random_seed(0)
    initialize(fresh, vocab=tmp_path)
    assert fresh.get_pipe("bert").tokenizer == tiny_nlp.get_pipe("bert").tokenizer
    random = weights(fresh)
    assert not equal(random, weights(tiny_nlp))
    matrix = random["encoder.layers.0.attention.qkv.weight"]
    # the paper's code: normal of deviation 0.02, cut at two deviations, which leaves 0.0176
    assert 0.0165 < matrix.std() < 0.0185 and abs(matrix).max() <= 0.04
    assert (random["encoder.layers.0.attention.qkv.bias"] == 0).all()
    assert fresh("Alice lives").tensor.any()


def test_vocabulary_larger_than_the_embedding(sizes, tiny_checkpoint):
    """Catches ids that have no row in the embedding."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert", config={"model": {**sizes, "vocab_size": 50}})
    with pytest.raises(ValueError, match=f"Set vocab_size = {sizes['vocab_size']}"):
        initialize(nlp, vocab=tiny_checkpoint)


def test_an_encoder_has_no_labels(tiny_nlp):
    """Catches a label that goes nowhere."""
    with pytest.raises(ValueError, match="'bert' is an encoder and has no labels"):
        tiny_nlp.get_pipe("bert").add_label("X")


def test_analysis_of_the_pipeline(tiny_nlp):
    """Catches attributes that are not declared to spaCy: `nlp.analyze_pipes` lists them."""
    summary = tiny_nlp.analyze_pipes()
    assert summary["summary"]["bert"]["assigns"] == ["doc.tensor", "doc._.bert"]
    assert summary["problems"] == {"bert": []}


def test_from_checkpoint(tiny_checkpoint, tiny_nlp):
    """Catches settings that are dropped, and a pipeline that is not ready."""
    nlp = spacy_bert.from_checkpoint(
        tiny_checkpoint, lang="de", config={"model": {"window": 32, "stride": 24}, "keep": ["max"]}
    )
    assert nlp.lang == "de" and nlp.pipe_names == ["bert"]
    model = nlp.get_pipe_config("bert")["model"]
    assert (model["window"], model["stride"], model["width"]) == (32, 24, 32)
    doc, expected = nlp("Alice lives in Paris"), tiny_nlp("Alice lives in Paris")
    np.testing.assert_array_equal(doc.tensor, expected.tensor)
    assert doc._.bert.pooled("max").shape == (32,)


def test_from_checkpoint_trains_gently(tiny_checkpoint, make_examples):
    """Catches spaCy's usual optimizer, of rate 0.001, on a pretrained encoder: `nlp.initialize()`
    and `nlp.resume_training()` return what the pipeline's config says."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint)
    nlp.add_pipe("ner", config=ner(listener()))
    optimizer = nlp.initialize(lambda: make_examples(nlp))
    assert isinstance(optimizer, AdamW) and optimizer.learn_rate == 5e-5
    assert isinstance(nlp.resume_training(), AdamW)
    before = weights(nlp)
    nlp.update(make_examples(nlp), sgd=optimizer)
    change = max(np.abs(value - before[key]).max() for key, value in weights(nlp).items())
    assert 1e-5 < change < 6e-5
    assert spacy.blank("en").config["training"]["optimizer"]["@optimizers"] == "Adam.v1"


def test_from_checkpoint_fits_the_window_to_the_positions(tiny_checkpoint):
    """Catches a default window longer than a short checkpoint has positions."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint)
    model = nlp.get_pipe_config("bert")["model"]
    assert (model["window"], model["stride"]) == (64, 56)
    assert nlp("Alice " * 100).tensor.shape == (100, 32)


def test_model_of_a_head_is_no_encoder(sizes):
    """Catches a model that constructs, and ends in an AttributeError at the first text."""
    model = {**sizes, "@architectures": "spacy-bert.BertTok2Vec.v1"}
    with pytest.raises(ValueError, match=r"no shared encoder.*spacy-bert\.Bert\.v1"):
        spacy.blank("en").add_pipe("bert", config={"model": model})
