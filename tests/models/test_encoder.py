"""The architectures by their registered names: shared, inlined, and from one to the other."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import spacy
import torch
from confection import ConfigValidationError
from spacy import registry
from thinc.api import Config

from spacy_bert.layers.doc_encoder import find_part, is_loaded, shim_of
from spacy_bert.layers.optimizer import AdamW

from .conftest import POOLED, TOKENS, ner_of, textcat_of

TEXTS = ["Alice lives in Paris.", "was Carol's worker in London? " * 3, "", "Bob"]


def resolve(section: Dict[str, Any]) -> Any:
    return registry.resolve({"model": section})["model"]


def answers(nlp: Any, texts: List[str] = TEXTS) -> List[Any]:
    return [([(e.text, e.label_) for e in doc.ents], doc.cats) for doc in nlp.pipe(texts)]


def network_of(pipe: Any) -> Any:
    return shim_of(pipe.model)._model


# Names and keys


ARCHITECTURES: Dict[str, Dict[str, Any]] = {
    "Bert": {},
    "BertTok2Vec": {},
    "BertPooled": {"pooling": "cls"},
    "BertListener": {"width": 32},
    "BertPooledListener": {"width": 32},
}


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_unknown_key(name: str) -> None:
    """A misspelt key that is ignored, or an error that does not name it."""
    section = {"@architectures": f"spacy-bert.{name}.v1", **ARCHITECTURES[name]}
    resolve(section)
    with pytest.raises(ConfigValidationError, match="widht"):
        resolve({**section, "widht": 5})
    with pytest.raises(ConfigValidationError, match="grad_factor|hidden_dropout"):
        key = "grad_factor" if "Listener" in name else "hidden_dropout"
        resolve({**section, key: "much"})


def test_unknown_key_of_textcat() -> None:
    """A misspelt key of the classifier, or of the listener within it."""
    good = textcat_of(POOLED)
    resolve(good)
    with pytest.raises(ConfigValidationError, match="exclusive"):
        resolve({**good, "exclusive": True})
    with pytest.raises(ConfigValidationError, match="poling"):
        resolve(textcat_of({**POOLED, "poling": "cls"}))


@pytest.mark.parametrize("name", ["BertListener", "BertPooledListener"])
def test_missing_width(name: str) -> None:
    """A listener without the width that frozen pipelines cannot infer."""
    with pytest.raises(ConfigValidationError, match="width"):
        resolve({"@architectures": f"spacy-bert.{name}.v1"})


@pytest.mark.parametrize("name", ["Bert", "BertTok2Vec", "BertPooled"])
@pytest.mark.parametrize(
    "settings, named",
    [
        ({"heads": 5}, "width 768 .* 5 heads"),
        ({"window": 600}, "window is 600 .* 512 positions"),
        ({"stride": 511}, "stride is 511"),
        ({"depth": 0}, "depth is 0"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"hidden_dropout": 1.0}, "hidden_dropout is 1.0"),
        ({"batch_pieces": 0}, "batch_pieces is 0"),
    ],
)
def test_wrong_sizes(name: str, settings: Dict[str, Any], named: str) -> None:
    """Sizes that cannot be, found when weights are loaded; an error that does not name the key."""
    section = {"@architectures": f"spacy-bert.{name}.v1", **ARCHITECTURES[name]}
    with pytest.raises(ValueError, match=named):
        resolve({**section, **settings})


@pytest.mark.parametrize("name", ["BertPooled", "BertPooledListener"])
def test_wrong_pooling(name: str) -> None:
    """A pooling that does not exist, found in training."""
    with pytest.raises(ValueError, match="pooling is 'first'"):
        resolve({"@architectures": f"spacy-bert.{name}.v1", "width": 768, "pooling": "first"})


def test_negative_grad_factor() -> None:
    """A factor that turns the encoder's learning round."""
    with pytest.raises(ValueError, match="grad_factor"):
        resolve({**TOKENS, "grad_factor": -1.0})


# Inlined


def test_only_what_is_needed(encoder_settings: Dict[str, Any]) -> None:
    """An inlined encoder that makes vectors nobody can read."""
    tokens = resolve({"@architectures": "spacy-bert.BertTok2Vec.v1", **encoder_settings})
    pooled = resolve(
        {"@architectures": "spacy-bert.BertPooled.v1", "pooling": "max", **encoder_settings}
    )
    assert find_part(tokens, "doc-encoder").attrs["poolings"] == []
    assert find_part(pooled, "doc-encoder").attrs["poolings"] == ["max"]
    assert tokens.get_dim("nO") == pooled.get_dim("nO") == 32


def inlined(settings: Dict[str, Any]) -> Dict[str, Any]:
    tokens = {"@architectures": "spacy-bert.BertTok2Vec.v1", **settings}
    pooled = {"@architectures": "spacy-bert.BertPooled.v1", "pooling": "cls", **settings}
    return {
        "ner": {"factory": "ner", "model": ner_of(tokens)},
        "textcat": {"factory": "textcat", "model": textcat_of(pooled)},
    }


def shared(settings: Dict[str, Any]) -> Dict[str, Any]:
    model = {"@architectures": "spacy-bert.Bert.v1", **settings}
    return {
        "bert": {"factory": "bert", "model": model},
        "ner": {"factory": "ner", "model": ner_of(TOKENS)},
        "textcat": {"factory": "textcat", "model": textcat_of(POOLED)},
    }


def loading(checkpoint: Path) -> Dict[str, Any]:
    return {
        "before_init": {
            "@callbacks": "spacy-bert.LoadCheckpoint.v1",
            "checkpoint": str(checkpoint),
        }
    }


def test_inlined(
    from_sections: Callable,
    encoder_settings: Dict[str, Any],
    tiny_checkpoint: Path,
    make_examples: Callable,
    tmp_path: Path,
) -> None:
    """Encoders of the heads' own, from config to disk: weights that are not loaded, not trained,
    not saved, or that need the checkpoint again."""
    nlp = from_sections(inlined(encoder_settings), loading(tiny_checkpoint))
    start = {
        name: {key: value.clone() for key, value in network_of(pipe).state_dict().items()}
        for name, pipe in nlp.pipeline
    }
    key = "encoder.layers.0.up.weight"
    assert torch.equal(start["ner"][key], start["textcat"][key])
    optimizer = AdamW(0.003)
    losses: List[Dict[str, float]] = []
    for _ in range(20):
        losses.append({})
        nlp.update(make_examples(nlp), sgd=optimizer, losses=losses[-1])
    for name, pipe in nlp.pipeline:
        assert losses[-1][name] < 0.5 * losses[0][name]
        assert not torch.equal(start[name][key], network_of(pipe).state_dict()[key])
    scores = nlp.evaluate(make_examples(nlp))
    assert scores["ents_f"] > 0.9 and scores["cats_score"] == 1.0
    nlp.to_disk(tmp_path / "nlp")
    config = Config().from_disk(tmp_path / "nlp" / "config.cfg")
    config["initialize"]["before_init"]["checkpoint"] = "/nowhere"
    config.to_disk(tmp_path / "nlp" / "config.cfg")
    assert answers(spacy.load(tmp_path / "nlp")) == answers(nlp)


def test_inlined_without_checkpoint(
    from_sections: Callable, encoder_settings: Dict[str, Any]
) -> None:
    """An inlined encoder nobody loaded that trains on whatever was in memory."""
    with pytest.raises(ValueError, match="neither weights nor vocabulary.*LoadCheckpoint"):
        from_sections(inlined(encoder_settings))


def test_inlined_like_shared(
    from_sections: Callable,
    encoder_settings: Dict[str, Any],
    tiny_checkpoint: Path,
    make_examples: Callable,
) -> None:
    """A head that learns something else when its encoder is its own."""
    sections, own = shared(encoder_settings), inlined(encoder_settings)
    for name in ("ner", "textcat"):
        one = from_sections(
            {"bert": sections["bert"], name: sections[name]}, loading(tiny_checkpoint)
        )
        other = from_sections({name: own[name]}, loading(tiny_checkpoint))
        for nlp in (one, other):
            nlp.update(make_examples(nlp), sgd=False)
        one.get_pipe("bert")._finish_batch()
        found = dict(network_of(one.get_pipe("bert")).named_parameters())
        expected = dict(network_of(other.get_pipe(name)).named_parameters())
        assert any(parameter.grad is not None for parameter in expected.values())
        for key, parameter in expected.items():
            if parameter.grad is None:
                assert found[key].grad is None
            else:
                torch.testing.assert_close(found[key].grad, parameter.grad, rtol=1e-3, atol=1e-4)


def test_loss_that_is_not_finite(
    from_sections: Callable,
    encoder_settings: Dict[str, Any],
    tiny_checkpoint: Path,
    make_examples: Callable,
) -> None:
    """A NaN that is stepped with in a component that owns its encoder."""
    nlp = from_sections({"textcat": inlined(encoder_settings)["textcat"]}, loading(tiny_checkpoint))
    textcat = nlp.get_pipe("textcat")
    before = {k: v.clone() for k, v in network_of(textcat).state_dict().items()}
    layer = textcat.model.get_ref("output_layer")
    weights = layer.get_param("W").copy()
    layer.set_param("W", weights * np.nan)
    with pytest.raises(
        FloatingPointError, match="loss of the batch of 6 Docs that starts with 'Al"
    ):
        nlp.update(make_examples(nlp), sgd=AdamW(0.01))
    after = network_of(textcat).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_step_that_goes_too_far(
    from_sections: Callable,
    encoder_settings: Dict[str, Any],
    tiny_checkpoint: Path,
    make_examples: Callable,
) -> None:
    """Weights of NaN's making, kept by a component that owns its encoder, and no word of the batch."""
    nlp = from_sections({"textcat": inlined(encoder_settings)["textcat"]}, loading(tiny_checkpoint))
    vector = nlp("Bob works").cats
    optimizer = AdamW(1e12)
    nlp.update(make_examples(nlp), sgd=optimizer)
    with pytest.raises(FloatingPointError, match="batch of 6 Docs .*'Alice.* were taken back"):
        nlp.update(make_examples(nlp), sgd=optimizer)
    assert nlp("Bob works").cats == pytest.approx(vector)


# From shared to inlined


@pytest.fixture
def trained(
    from_sections: Callable,
    encoder_settings: Dict[str, Any],
    tiny_checkpoint: Path,
    make_examples: Callable,
) -> Any:
    """A pipeline with one encoder for two heads, trained a little."""
    nlp = from_sections(shared(encoder_settings), loading(tiny_checkpoint))
    optimizer = AdamW(0.003)
    for _ in range(16):
        nlp.update(make_examples(nlp), sgd=optimizer)
    nlp.get_pipe("bert").to_bytes()
    return nlp


def test_inference_of_ones_own(trained: Any) -> None:
    """Catches precision that is lost when a head gets an encoder of its own: at once, or on saving."""
    trained.get_pipe("bert").inference = "int8"
    for name in ("ner", "textcat"):
        trained.replace_listeners("bert", name, ["model.tok2vec"])
    other = spacy.util.load_model_from_config(Config().from_str(trained.config.to_str()))
    other.from_bytes(trained.to_bytes())
    for nlp in (trained, other):
        for name in ("ner", "textcat"):
            assert shim_of(nlp.get_pipe(name).model).inference == "int8"
    assert answers(other) == answers(trained)


def test_replace_listeners(trained: Any, make_examples: Callable) -> None:
    """Heads that answer otherwise once their encoder is their own, or that still follow the shared
    one; a config that makes another pipeline than the one it stands for."""
    expected = answers(trained)
    assert any(entities for entities, _ in expected)
    for name in ("ner", "textcat"):
        trained.replace_listeners("bert", name, ["model.tok2vec"])
    assert trained.get_pipe("bert").listening_components == []
    assert answers(trained) == expected
    sections = {name: trained.config["components"][name]["model"]["tok2vec"] for name in ("ner", "textcat")}  # fmt: skip
    assert sections["ner"]["@architectures"] == "spacy-bert.BertTok2Vec.v1"
    assert sections["textcat"]["@architectures"] == "spacy-bert.BertPooled.v1"
    assert sections["textcat"]["pooling"] == "cls"
    assert find_part(trained.get_pipe("ner").model, "doc-encoder").attrs["poolings"] == []

    config = Config().from_str(trained.config.to_str())
    other = spacy.util.load_model_from_config(config, auto_fill=True, validate=True)
    other.from_bytes(trained.to_bytes())
    assert answers(other) == expected

    with torch.no_grad():
        network_of(trained.get_pipe("bert")).encoder.layers[0].up.weight *= 0.0
    assert answers(trained) == expected
    trained.remove_pipe("bert")
    assert answers(trained) == expected
    # The heads train their own encoders from here on, each its own.
    before = network_of(trained.get_pipe("ner")).encoder.layers[0].up.weight.detach().clone()
    trained.update(make_examples(trained), sgd=AdamW(0.01))
    after = {
        name: network_of(trained.get_pipe(name)).encoder.layers[0].up.weight.detach()
        for name in ("ner", "textcat")
    }
    assert not torch.equal(before, after["ner"]) and not torch.equal(before, after["textcat"])
    assert not torch.equal(after["ner"], after["textcat"])


def test_replace_one_listener(trained: Any, make_examples: Callable) -> None:
    """The head that stays with the shared encoder, which waits for the one that left."""
    expected = answers(trained)
    trained.replace_listeners("bert", "ner", ["model.tok2vec"])
    assert answers(trained) == expected
    assert trained.get_pipe("bert").listening_components == ["textcat"]
    before = network_of(trained.get_pipe("bert")).encoder.layers[0].up.weight.detach().clone()
    trained.update(make_examples(trained), sgd=AdamW(0.01))
    after = network_of(trained.get_pipe("bert")).encoder.layers[0].up.weight.detach()
    assert not torch.equal(before, after)


def test_replace_stock_listener(tiny_nlp: Any, make_examples: Callable) -> None:
    """spaCy's own listener on our encoder, replaced."""
    model = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    tiny_nlp.add_pipe("ner", config={"model": ner_of(model)})
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    optimizer = AdamW(0.003)
    for _ in range(5):
        tiny_nlp.update(make_examples(tiny_nlp), sgd=optimizer)
    expected = answers(tiny_nlp)
    tiny_nlp.replace_listeners("bert", "ner", ["model.tok2vec"])
    assert answers(tiny_nlp) == expected
    other = type(tiny_nlp).from_config(tiny_nlp.config).from_bytes(tiny_nlp.to_bytes())
    assert answers(other) == expected


def test_replaced_in_config(
    trained: Any, tmp_path: Path, from_sections: Callable, make_examples: Callable
) -> None:
    """`replace_listeners` in the config of a sourced head: spaCy's way to freeze it with its encoder."""
    trained.to_disk(tmp_path / "source")
    expected = [entities for entities, _ in answers(trained)]
    assert any(expected)
    sections = shared({})
    source = str(tmp_path / "source")
    nlp = from_sections(
        {
            "ner": {"source": source, "replace_listeners": ["model.tok2vec"]},
            "bert": {"source": source},
            "textcat": sections["textcat"],
        },
        frozen_components=["ner"],
    )
    nlp.update(make_examples(nlp), sgd=AdamW(0.05), exclude=["ner"])
    assert [entities for entities, _ in answers(nlp)] == expected
    assert is_loaded(nlp.get_pipe("ner").model)
