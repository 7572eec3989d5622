"""What a run is to do: strict, and written down without loss."""

from pathlib import Path
from typing import Any, Dict

import pytest
from thinc.api import Config

from spacy_bert.encoder import BertConfig
from spacy_bert.pretraining.config import (
    MAY_CHANGE,
    Encoder,
    Logging,
    Objective,
    Paths,
    PretrainConfig,
    Training,
)

DEFAULT = Path(__file__).parents[2] / "configs" / "pretrain.cfg"


def make(changes: Dict[str, Any]) -> PretrainConfig:
    data: Dict[str, Dict[str, Any]] = {"paths": {"store": "s"}, "training": {"max_steps": 10}}
    for key, value in changes.items():
        section, name = key.split(".")
        data.setdefault(section, {})[name] = value
    return PretrainConfig.from_dict(data)


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"training.max_step": 3}, "'max_step' in the section \\[training\\].*max_steps"),
        ({"trainer.max_steps": 3}, "section \\[trainer\\]"),
        ({"paths.store": None}, "--paths.store"),
        ({"training.max_steps": "10"}, "max_steps is '10'.*whole number or null"),
        ({"training.max_steps": 10.0}, "max_steps is 10.0"),
        ({"training.max_steps": True}, "max_steps is True"),
        ({"training.max_steps": 0}, "max_steps is 0.*more than 0"),
        ({"training.max_steps": None}, "neither max_steps nor max_hours"),
        ({"training.accumulate": 0}, "accumulate is 0"),
        ({"training.held_out": 1.0}, "held_out is 1.0"),
        ({"training.seed": -1}, "seed is -1"),
        ({"training.precision": "fp16"}, "'fp16'.*'bf16'"),
        ({"training.device": "tpu"}, "'tpu'"),
        ({"training.max_length": 513}, "max_length = 513.*512 positions"),
        ({"training.final_length": 513}, "final_length = 513.*512 positions"),
        ({"training.max_length": 64, "encoder.max_positions": 63}, "max_length = 64.*63 positions"),
        ({"training.batch_pieces": 100}, "max_length = 128.*batch_pieces = 100"),
        ({"objective.causal": True}, "Set nsp = false"),
        ({"objective.causal": True, "objective.nsp": False, "objective.whole_word": True}, "whole"),
        ({"objective.masking": "none"}, "'none'.*'static'"),
        ({"objective.mask_share": 0.0}, "mask_share is 0.0"),
        ({"objective.mask_as_mask": 0.8, "objective.mask_as_random": 0.3}, "more than 1"),
        ({"objective.nsp": 1}, "nsp is 1.*true or false"),
        ({"optimizer.learn_rate": 0.0}, "learn_rate is 0.0"),
        ({"optimizer.learn_rate": float("nan")}, "learn_rate is nan"),
        ({"optimizer.schedule": "step"}, "'step'.*'cosine'"),
        ({"encoder.size": "huge"}, "'huge'.*'mini'"),
        ({"encoder.width": 64}, "lacks depth, heads"),
        ({"encoder.size": "mini", "encoder.heads": 3}, "heads"),
        ({"encoder.hidden_dropout": 1.0}, "hidden_dropout is 1.0"),
    ],
)
def test_faults_are_named(changes: Dict[str, Any], found: str) -> None:
    """Catches a value that is taken as it comes, and fails or is ignored hours later."""
    with pytest.raises(ValueError, match=f"(?s){found}"):
        make(changes)


def test_no_paths() -> None:
    """Catches a KeyError for the one section that has no default."""
    with pytest.raises(ValueError, match="\\[paths\\] is missing"):
        PretrainConfig.from_dict({"training": {"max_steps": 3}})


def test_a_section_must_be_one() -> None:
    """Catches an attribute error for `training = 3`."""
    with pytest.raises(ValueError, match="a section was expected"):
        PretrainConfig.from_dict({"paths": {"store": "s"}, "training": 3})
    with pytest.raises(ValueError, match="\\[training\\] is a dict"):
        PretrainConfig(Paths("s"), training={"max_steps": 3})  # type: ignore[arg-type]


def test_round_trip() -> None:
    """Catches a value that is not read as it was written: null, numbers, texts with signs in them."""
    config = make(
        {
            "paths.store": 'a "b" = ${c} % # d\\e\nö',
            "training.max_hours": 1e-7,
            "optimizer.eps": 1e-12,
            "logging.wandb": "[x]",
            "objective.nsp": False,
        }
    )
    assert PretrainConfig.from_str(config.to_str(), source="x") == config


@pytest.mark.parametrize("text", ["", "nonsense", "[paths]\nstore = x", '[paths]\nshop = "x"'])
def test_damaged_text(text: str) -> None:
    """Catches a traceback, or defaults, where config.cfg is not what was written."""
    with pytest.raises(ValueError, match="run/config.cfg is not the config of a run"):
        PretrainConfig.from_str(text, source="run/config.cfg")


def test_the_ready_config_names_every_key() -> None:
    """Catches a key that configs/pretrain.cfg forgets, or sets though nothing reads it."""
    sections = Config().from_disk(DEFAULT, overrides={"paths.store": "store"})
    config = PretrainConfig.from_dict(sections)
    assert {name: set(section) for name, section in config.to_dict().items()} == {
        name: set(section) for name, section in sections.items()
    }
    assert config.encoder.sizes(9000).width == 256


def test_keys_that_may_change_exist() -> None:
    """Catches a list that names what is not there, and so allows nothing."""
    config = make({})
    assert len({config.value(key) is None for key in MAY_CHANGE}) == 2
    assert "training.seed" not in MAY_CHANGE


def test_differences() -> None:
    """Catches a resume that does not see what is different."""
    config = make({"training.seed": 3, "encoder.size": "tiny"})
    assert make({}).differences(config) == ["encoder.size", "training.seed"]
    assert config.differences(config) == []


def test_sizes() -> None:
    """Catches a size that is not what it is called, and dimensions that do not count before it."""
    assert Encoder().sizes(99) == Encoder(size="mini").sizes(99)
    assert Encoder(size="mini").sizes(99) == BertConfig.from_size("mini", vocab_size=99)
    wide = Encoder(size="mini", width=320, heads=5).sizes(99)
    assert (wide.width, wide.heads, wide.depth, wide.intermediate_width) == (320, 5, 4, 1280)
    custom = Encoder(width=24, depth=1, heads=2, intermediate_width=30, activation="relu").sizes(99)
    assert (custom.intermediate_width, custom.activation, custom.max_positions) == (30, "relu", 512)


def test_sizes_of_a_checkpoint() -> None:
    """Catches sizes that are asked for and ignored because a checkpoint has others."""
    base = BertConfig.from_size("tiny", vocab_size=50, layer_norm_eps=1e-5)
    assert Encoder(hidden_dropout=0.2).sizes(50, base) == base.replace(hidden_dropout=0.2)
    assert Encoder(width=128, depth=2).sizes(50, base) == base
    with pytest.raises(
        ValueError, match='width = 256 \\(by size = "mini"\\).*has 128.*size to null'
    ):
        Encoder(size="mini").sizes(50, base)
    with pytest.raises(ValueError, match="depth = 3, but .* has 2. Set depth to null"):
        Encoder(depth=3).sizes(50, base)


def test_python_defaults() -> None:
    """Catches defaults of Python that are not a run."""
    config = PretrainConfig(Paths("s"), training=Training(max_steps=3))
    assert (config.objective, config.logging) == (Objective(), Logging())
    assert config.lengths == (128, 128)
