import json
from dataclasses import fields

import pytest
import torch

from spacy_bert.encoder import SIZES, BertConfig, read_config
from spacy_bert.encoder.config import ALIASES, HF_KEYS

transformers = pytest.importorskip("transformers")

# No value is a default, and no two are equal.
OTHER = BertConfig(
    vocab_size=101,
    width=24,
    depth=3,
    heads=4,
    intermediate_width=40,
    max_positions=33,
    type_vocab_size=5,
    layer_norm_eps=1e-6,
    activation="relu",
    hidden_dropout=0.2,
    attention_dropout=0.3,
    initializer_range=0.01,
    causal=True,
)


def test_defaults_are_bert_base():
    """Catches a default that is not BERT-base's."""
    assert BertConfig() == BertConfig.from_hf(transformers.BertConfig().to_dict())
    assert BertConfig() == BertConfig.from_size("base")


def test_to_hf_and_back():
    """Catches a field that does not survive being saved."""
    assert all(getattr(OTHER, f.name) != f.default for f in fields(BertConfig))
    assert BertConfig.from_hf(json.loads(json.dumps(OTHER.to_hf()))) == OTHER


def test_huggingface_reads_what_we_write():
    """Catches a key that HuggingFace does not know, or understands in another way."""
    theirs = transformers.BertConfig(**OTHER.to_hf())
    assert {ours: getattr(theirs, key) for key, ours in HF_KEYS.items()} == OTHER.to_dict()
    assert theirs.model_type == "bert"


def test_we_read_what_huggingface_writes(tmp_path):
    """Catches a key of a config.json that is not read, or read into another field."""
    transformers.BertConfig(**OTHER.to_hf()).save_pretrained(tmp_path)
    assert read_config(tmp_path / "config.json") == OTHER


@pytest.mark.parametrize("name, ours", ALIASES.items())
def test_other_names_of_activations(name, ours):
    """Catches a BERT that is refused for how it spells its activation, or computes another one."""
    activations = pytest.importorskip("transformers.activations").ACT2FN
    config = BertConfig.from_hf({**OTHER.to_hf(), "hidden_act": name})
    assert config == OTHER.replace(activation=ours)
    if name in activations:  # this version may not know it
        rows = torch.linspace(-4, 4, 99)
        assert torch.allclose(activations[name](rows), activations[ours](rows), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    """Catches a named size that makes no BERT: heads are 64 wide, the inner layer is 4 times H."""
    config = BertConfig.from_size(size, vocab_size=100)
    assert config.head_width == 64
    assert config.intermediate_width == 4 * config.width
    assert config.vocab_size == 100


def test_unknown_size():
    """Catches a typing error in `size` that is not answered with the choice."""
    with pytest.raises(ValueError, match="'huge'.*tiny.*large"):
        BertConfig.from_size("huge")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"width": 0}, "width is 0.*positive integer"),
        ({"depth": -1}, "depth is -1"),
        ({"vocab_size": 30522.0}, "vocab_size is 30522.0"),
        ({"heads": True}, "heads is True"),
        ({"heads": "12"}, "heads is '12'"),
        ({"heads": 7}, "768 cannot be divided among 7 heads"),
        ({"activation": "swish"}, "'swish'.*gelu, gelu_new, relu"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout is 1.0.*\[0, 1\)"),
        ({"attention_dropout": -0.1}, "attention_dropout is -0.1"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps is '1e-12'.*number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan.*finite number"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps is inf.*finite number"),
        ({"layer_norm_eps": 10**400}, "layer_norm_eps is 1000.*finite number"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps is -1.0.*0 or more"),
        ({"layer_norm_eps": True}, "layer_norm_eps is True.*finite number"),
        ({"initializer_range": -0.02}, "initializer_range is -0.02.*0 or more"),
        ({"hidden_dropout": False}, "hidden_dropout is False.*number"),
        ({"causal": 1}, "causal is 1.*true or false"),
    ],
)
def test_impossible_values(changes, message):
    """Catches a value that would only fail, or do something else, when the network is built."""
    with pytest.raises(ValueError, match=message):
        BertConfig(**changes)
    with pytest.raises(ValueError, match=message):
        BertConfig().replace(**changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model_type": "roberta"}, "some.json describes another network .'roberta'"),
        ({"model_type": "distilbert"}, "'distilbert'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'.*'absolute'"),
        ({"is_decoder": True, "add_cross_attention": True}, "decoder of another"),
    ],
)
def test_other_networks_are_refused(changes, message):
    """Catches a network that shares BERT's keys, but computes something else."""
    with pytest.raises(ValueError, match=message):
        BertConfig.from_hf({**OTHER.to_hf(), **changes}, source="some.json")


def test_missing_sizes_are_named():
    """Catches defaults that stand in for sizes which a config.json has to give."""
    with pytest.raises(ValueError, match="lacks vocab_size, hidden_size"):
        BertConfig.from_hf({"num_hidden_layers": 2, "num_attention_heads": 2})


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe", b"", b"[" * 100_000, b'{"hidden_size": %s}' % (b"1" * 5000)],
    ids=["cut", "utf-16", "empty", "deep", "digits"],
)
def test_no_json(tmp_path, content):
    """Catches a bare decoding error, which does not say what file is damaged."""
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        read_config(tmp_path / "config.json")


def test_byte_order_mark(tmp_path):
    """Catches a config.json that an editor has saved with a mark, refused; the other files are read."""
    text = json.dumps(OTHER.to_hf())
    (tmp_path / "config.json").write_text(text, encoding="utf-8-sig")
    assert read_config(tmp_path / "config.json") == OTHER


def test_impossible_values_of_a_file(tmp_path):
    """Catches a message that does not say which file has the value."""
    text = json.dumps({**OTHER.to_hf(), "layer_norm_eps": float("nan")})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: .*layer_norm_eps is nan"):
        read_config(tmp_path / "config.json")


def test_json_of_something_else(tmp_path):
    """Catches an AttributeError for JSON that is no object."""
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list.*object"):
        read_config(tmp_path / "config.json")


def test_immutable():
    """Catches a config that can change under a network that was built by it."""
    with pytest.raises(AttributeError):
        OTHER.width = 12
