"""spacy-bert.BertMaskedLM.v1: its settings, and what it refuses."""

import pytest
from spacy.util import registry

from spacy_bert.encoder import BertConfig, load_checkpoint
from spacy_bert.layers.doc_encoder import find_part, has_encoder, is_loaded
from spacy_bert.layers.weights import load_weights
from spacy_bert.models.masked_lm import BertMaskedLM
from spacy_bert.pipeline.assemble import masked_lm_settings

NAME = "spacy-bert.BertMaskedLM.v1"


def settings_for(folder):
    settings = masked_lm_settings(load_checkpoint(folder).config)
    assert settings.pop("@architectures") == NAME
    return settings


def test_is_registered_and_has_memory_for_nothing():
    """Catches a name that leads elsewhere, and weights that are made before they are loaded."""
    model = registry.resolve({"model": {"@architectures": NAME}})["model"]
    assert has_encoder(model) and not is_loaded(model)
    assert BertConfig(**find_part(model, "doc-encoder").attrs["sizes"]).width == 768


@pytest.mark.parametrize("parts", [("mlm",), ("pooler", "mlm"), ("pooler", "mlm", "nsp")])
def test_takes_what_it_needs(make_checkpoint, parts):
    """Catches a head that must come with, or without, others."""
    folder = make_checkpoint(parts=parts)
    model = BertMaskedLM(**settings_for(folder))
    load_weights(model, load_checkpoint(folder))
    assert is_loaded(model)


@pytest.mark.parametrize(
    "parts, found", [((), "holds an encoder."), (("pooler", "nsp"), "an encoder, a pooler, a next-sentence head")]
)  # fmt: skip
def test_checkpoint_without_the_head(make_checkpoint, parts, found):
    """Catches a random head that gives random answers, and a model that counts as loaded after a
    load that failed."""
    folder = make_checkpoint(parts=parts)
    model = BertMaskedLM(**settings_for(folder))
    with pytest.raises(ValueError, match="lacks a masked-LM head") as error:
        load_weights(model, load_checkpoint(folder))
    assert str(folder) in str(error.value) and found in str(error.value)
    assert not is_loaded(model)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"window": 100, "max_positions": 64}, "window is 100.*64 positions"),
        ({"window": 4}, "window is 4"),
        ({"stride": 0}, "stride is 0"),
        ({"batch_pieces": 0}, "batch_pieces is 0"),
        ({"heads": 7}, "heads"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    """Catches a setting that fails later, or never."""
    with pytest.raises(ValueError, match=message):
        BertMaskedLM(**changes)


def test_has_no_setting_without_effect():
    """Catches a dropout or a precision for a training that there is not."""
    with pytest.raises(TypeError, match="hidden_dropout"):
        BertMaskedLM(hidden_dropout=0.1)


def test_sizes_that_disagree_are_named(make_checkpoint):
    """Catches a checkpoint of other sizes."""
    folder = make_checkpoint(parts=("mlm",))
    model = BertMaskedLM(**{**settings_for(folder), "depth": 3})
    with pytest.raises(ValueError, match="depth = 3 where the checkpoint has 2"):
        load_weights(model, load_checkpoint(folder))
