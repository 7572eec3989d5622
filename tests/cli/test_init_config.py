"""`init-config`: what it writes, and what it refuses."""

import os
from inspect import signature
from pathlib import Path

import pytest
import spacy
from spacy.cli.debug_config import debug_config
from spacy.language import Language
from spacy.training.initialize import init_nlp
from spacy.util import get_lang_class, load_config, load_config_from_str, load_model_from_config

from spacy_bert.cli import init_config
from spacy_bert.cli.pipe_sections import HEADS
from spacy_bert.cli.pooling import Pooling
from spacy_bert.cli.training_config import RATES, training_config
from spacy_bert.encoder import BertConfig
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.models.encoder import Bert

EVERY_PIPE = ",".join(["segments", *HEADS])

# Ready config -> its pipes, where they are not one of the same name.
READY = {
    "joint": ["ner", "textcat"],
    "pair": ["segments", "textcat"],
    "span_qa": ["segments", "span_qa"],
}

# What spaCy adds to the config on its own, and nobody needs to see.
FILLED_IN = {"paths.vectors", "paths.init_tok2vec", "pretraining"}


@pytest.fixture
def write(run, tiny_checkpoint, tmp_path):
    """A function: pipes and options -> the path of the config that was written."""

    def write_config(pipeline, *options, checkpoint=tiny_checkpoint, name="train.cfg"):
        path = tmp_path / name
        result = run("init-config", path, "-c", checkpoint, "-p", pipeline, *options)
        assert result.exit_code == 0, result.output
        return path

    return write_config


def added(before, after, place=""):
    """The places of all keys that `after` has and `before` has not; values have to be equal."""
    keys = set()
    for key, value in after.items():
        here = f"{place}.{key}" if place else key
        if key not in before:
            keys.add(here)
        elif isinstance(value, dict):
            keys |= added(before[key], value, here)
        else:
            assert before[key] == value, here
    assert before.keys() <= after.keys(), place
    return keys


def test_spacy_changes_nothing_and_adds_nothing_of_ours(write):
    """Catches a key that spaCy would have to fill in, such as a setting of the encoder or a head
    that the file does not show; and a value that is read as something else than was written."""
    config = load_config(write(EVERY_PIPE))
    nlp = load_model_from_config(config, auto_fill=True)
    config["training"]["score_weights"] = {}  # which spaCy makes sum up to 1
    places = added(config, nlp.config)
    scores = {place for place in places if place.startswith("training.score_weights.")}
    pipes = {place for place in places if place.startswith("components.")}
    # Scorers and flags that are the same for every model.
    assert {place.split(".", 2)[2] for place in pipes} <= {
        "scorer", "moves", "update_with_oracle_cut_size", "incorrect_spans_key", "learn_tokens",
        "overwrite", "neg_prefix", "extend", "threshold", "model.scorer.init_W",
        "model.scorer.init_b", "model.scorer.temperature", "model.scorer.normalize_outputs",
    }  # fmt: skip
    assert places - pipes - scores == FILLED_IN


def test_shows_all_settings_of_encoder_and_optimizer(write):
    """Catches an argument of Bert or AdamW that is added there and forgotten in the config, and a
    default that changes in one place alone."""
    config = load_config(write("ner"))
    encoder, optimizer = config["components"]["bert"]["model"], config["training"]["optimizer"]
    assert encoder.keys() - {"@architectures"} == signature(Bert).parameters.keys()
    assert optimizer.keys() - {"@optimizers"} == signature(AdamW).parameters.keys()
    for section, function, chosen in (
        # what is best depends on hardware and heads; what a name means does not
        (encoder, Bert, {*BertConfig().to_dict(), "window", "stride", "mixed_precision"}),
        (optimizer, AdamW, {"learn_rate", "heads_scale", "layer_decay"}),
    ):
        for name, parameter in signature(function).parameters.items():
            assert name in chosen or section[name] == parameter.default, name


def test_rates_fit_the_heads(write):
    """Catches a classifier that starves at a parser's rate, or the other way round."""
    texts, tokens, both = (
        load_config(write(pipes, name=f"{pipes}.cfg"))["training"]["optimizer"]
        for pipes in ("textcat", "ner", "textcat,ner")
    )
    assert texts["heads_scale"] > tokens["heads_scale"] == both["heads_scale"]
    assert texts["layer_decay"] == 1.0 > tokens["layer_decay"] == both["layer_decay"]


def test_spacy_finds_nothing_wrong(write, corpus, capsys):
    """Catches what `spacy debug config` would complain of: it builds all sections, as training
    does, the schedules and batchers with their variables among them."""
    overrides = {"paths.train": str(corpus), "paths.dev": str(corpus)}
    debug_config(write(EVERY_PIPE), overrides=overrides)
    assert "Config is valid" in capsys.readouterr().out


@pytest.mark.parametrize("lang", ["zh", "xx", "de"])
def test_languages_have_their_tokenizers(write, lang):
    """Catches English's tokenizer in the config of a language that has another."""
    config = load_config(write("ner", "--lang", lang))
    nlp = load_model_from_config(config, auto_fill=True)
    default = get_lang_class(lang).default_config
    assert config["nlp"]["lang"] == nlp.lang == lang
    assert config["nlp"]["tokenizer"] == default["nlp"]["tokenizer"]
    assert config["initialize"]["tokenizer"] == default["initialize"]["tokenizer"]


@pytest.mark.parametrize("pipe", HEADS)
def test_every_pipe_listens(write, pipe):
    """Catches a head with a tok2vec of its own, or one that listens to something else."""
    nlp = load_model_from_config(load_config(write(pipe)), auto_fill=True)
    assert nlp.pipe_names == ["bert", pipe]
    assert nlp.get_pipe("bert").listening_components == [pipe]


def test_sizes_and_windows_are_the_checkpoints(write, make_checkpoint):
    """Catches sizes that are defaults instead of the checkpoint's, and windows that are longer
    than its positions."""
    checkpoint = make_checkpoint(
        width=24, depth=1, heads=3, max_positions=40, intermediate_width=50
    )
    model = load_config(write("ner", checkpoint=checkpoint))["components"]["bert"]["model"]
    assert (model["width"], model["depth"], model["heads"]) == (24, 1, 3)
    assert (model["max_positions"], model["intermediate_width"]) == (40, 50)
    assert (model["window"], model["stride"]) == (40, 35)


def test_segments_come_first_and_annotate(write):
    """Catches pairs that are read as one text in training: spaCy drops their spans, so `segments`
    has to run before the encoder and to annotate in training too."""
    config = load_config(write("textcat,segments"))
    assert config["nlp"]["pipeline"] == ["segments", "bert", "textcat"]
    assert config["training"]["annotating_components"] == ["segments"]
    assert config["components"]["segments"]["separator"] == "\n\n"


def test_bert_may_be_named(write):
    """Catches a second encoder, or an error, for those who list the whole pipeline."""
    assert load_config(write("bert,ner"))["nlp"]["pipeline"] == ["bert", "ner"]


def test_gpu(write):
    """Catches a GPU config that is the CPU's."""
    cpu, gpu = (load_config(write("ner", *o, name=f"{len(o)}.cfg")) for o in ((), ("--gpu",)))
    assert cpu["system"]["gpu_allocator"] is None
    assert gpu["system"]["gpu_allocator"] == "pytorch"


def test_training_ends_with_the_learning_rate(write):
    """Catches a learning rate that ends before or after the training does."""
    overrides = {"training.optimizer.learn_rate.total_steps": 77}
    config = load_config(write("ner"), overrides=overrides, interpolate=True)
    assert config["training"]["max_steps"] == 77


def test_optimizer_needs_no_other_section(write):
    """Catches a variable in the optimizer's section: spaCy resolves it by itself for `debug data`,
    nlp.initialize() and nlp.resume_training()."""
    nlp = load_model_from_config(load_config(write("ner")), auto_fill=True)
    assert isinstance(nlp.create_optimizer(), AdamW)


def test_smaller_networks_learn_faster():
    """Catches a table of rates that is read in the wrong order."""
    rates = []
    for width in (128, 768, 1024):
        text = training_config(
            BertConfig(width=width, heads=2), ["ner"], checkpoint=None, pooling=Pooling("cls", "")
        )
        config = load_config_from_str(text, interpolate=False)
        rates.append(config["training"]["optimizer"]["learn_rate"]["initial_rate"])
    assert rates == sorted({float(row[1]) for row in RATES}, reverse=True) == [1e-4, 5e-5, 3e-5]


def test_terminal_gets_the_config_alone(run, write, tiny_checkpoint):
    """Catches chatter on stdout that would be in the config of `init-config - > train.cfg`."""
    result = run("init-config", "-", "-c", tiny_checkpoint, "-p", "ner")
    path = write("ner")
    assert result.exit_code == 0
    assert result.stdout.replace("train config.cfg", f"train {path}") == path.read_text("utf8")


def test_relative_path_stays_as_it_was_given(run, tiny_checkpoint, tmp_path, monkeypatch):
    """Catches a path that is made absolute: a config in a project has to work on other machines."""
    monkeypatch.chdir(tiny_checkpoint.parent)
    result = run("init-config", tmp_path / "x.cfg", "-c", tiny_checkpoint.name, "-p", "ner")
    assert result.exit_code == 0, result.output
    assert load_config(tmp_path / "x.cfg")["paths"]["checkpoint"] == tiny_checkpoint.name


@pytest.mark.parametrize("name", ["a b", "q'\"q", "naïve 日本", "#x", "50%", "a$b", "back\\slash"])
def test_odd_names_of_folders_survive(write, tiny_checkpoint, corpus, tmp_path, name):
    """Catches a path that is quoted wrongly: it has to come out of the config as it went in, for
    the encoder is loaded from there."""
    folder = tmp_path / name
    folder.symlink_to(tiny_checkpoint)
    path = write("textcat", checkpoint=folder, name=f"{name}.cfg")
    overrides = {"paths.train": str(corpus), "paths.dev": str(corpus)}
    nlp = init_nlp(load_config(path, overrides=overrides))
    assert nlp.config["paths"]["checkpoint"] == str(folder)
    assert nlp.get_pipe("bert").is_loaded


def test_odd_name_of_the_config_stays_in_its_comment(write):
    """Catches a name with a line break that ends the comment it stands in."""
    assert load_config(write("ner", name="a\n[nlp]\n.cfg"))["nlp"]["lang"] == "en"


def test_force_replaces_and_a_failure_does_not(write, monkeypatch):
    """Catches a config that is lost, or left half-written, when the disk fails."""
    path = write("ner")
    assert "tagger" in write("tagger", "--force").read_text("utf8")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        init_config.write(path, "half")
    assert "tagger" in path.read_text("utf8")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"-p": "nre"}, ["'nre'", "Did you mean ner?", "textcat"]),
        ({"-p": "ner textcat"}, ["commas between names: ner,textcat"]),
        ({"-p": "ner,ner"}, ["'ner' 2 times", "another name"]),
        ({"-p": "segments"}, ["segments", "Name one or more of ner"]),
        ({"-p": " , "}, ["nothing", "Name one or more of ner"]),
        ({"-l": "qq"}, ["--lang is 'qq'", "en, de or zh"]),
        ({"-l": "../x"}, ["--lang is '../x'"]),
        ({"-c": "no/such/folder"}, ["no/such/folder", "config.json"]),
        ({"-c": "{tmp}/empty"}, ["config.json is missing", "vocab.txt"]),
        ({"-c": "{tmp}/run"}, ["Is", "run/checkpoint-best what was meant?"]),
        ({"-c": "{tmp}/pipeline"}, ["is a spaCy pipeline", "`source`"]),
        ({"-c": "{tmp}/file"}, ["is a file", "directory"]),
        ({"-c": "a${{b}}"}, ["begins the name of another setting"]),
        ({"-c": "\udcff"}, ["not valid UTF-8", "Rename"]),
        ({"--revision": "v1"}, ["revision 'v1'", "only repositories of the hub"]),
        ({"output": "{tmp}/file"}, ["exists", "--force"]),
        ({"output": "{tmp}/empty"}, ["is a folder"]),
        ({"output": "{tmp}/missing/x.cfg"}, ["no folder", "missing", "Make it first"]),
    ],
)
def test_refuses_in_one_message(run, tiny_checkpoint, tmp_path, change, expected):
    """Catches a mistake that ends in a traceback, in a message without remedy, or in a file."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "run" / "checkpoint-best").mkdir(parents=True)
    (tmp_path / "file").write_text("old")
    spacy.blank("en").to_disk(tmp_path / "pipeline")
    given = {"output": "{tmp}/x.cfg", "-c": str(tiny_checkpoint), "-p": "ner", **change}
    given = {key: value.format(tmp=tmp_path) for key, value in given.items()}
    output = given.pop("output")
    result = run("init-config", output, *[part for item in given.items() for part in item])
    assert result.exit_code == 1
    assert result.stdout == ""
    message = " ".join(result.stderr.split())
    assert message.startswith("Error: ") and "Traceback" not in message
    for part in expected:
        assert part in message
    assert not (tmp_path / "x.cfg").exists()
    assert (tmp_path / "file").read_text() == "old"


def test_ready_configs_are_what_init_config_writes():
    """Catches a change of init-config that configs/ do not follow. Comments may differ."""
    folder = Path(__file__).parents[2] / "configs"
    for name in ("ner", "bert_ner", "textcat", "joint", "pair", "span_qa"):
        ready = load_config(folder / f"{name}.cfg", interpolate=False)
        text = training_config(
            BertConfig(),
            READY.get(name, [name]),
            checkpoint=ready["paths"]["checkpoint"],
            pooling=Pooling("pooler", ""),
        )
        assert ready == load_config_from_str(text, interpolate=False), (
            f"To write it anew: python -m spacy_bert init-config configs/{name}.cfg --force "
            f"--checkpoint {ready['paths']['checkpoint']} --pipeline {','.join(ready['nlp']['pipeline'])}"
        )
        load_model_from_config(ready, auto_fill=True)


def test_tags_are_read_from_first_pieces(write):
    """Catches the mean of a token's pieces in place of its first one for `bert_ner`, in the config or as
    the factory's own: that costs points of F1. spaCy's heads read the mean."""
    components = load_config(write("ner,bert_ner"))["components"]
    listeners = {name: components[name]["model"]["tok2vec"] for name in ("ner", "bert_ner")}
    assert listeners["ner"]["@architectures"] == "spacy-bert.BertListener.v1"
    assert listeners["bert_ner"]["@architectures"] == "spacy-bert.BertPieceListener.v1"
    text = training_config(
        BertConfig(causal=True), ["bert_ner"], checkpoint="x", pooling=Pooling("mean", "")
    )
    model = load_config_from_str(text, interpolate=False)["components"]["bert_ner"]["model"]
    # From left to right, a first piece has not seen the rest.
    assert model["tok2vec"]["@architectures"] == "spacy-bert.BertListener.v1"
    default = Language.get_factory_meta("bert_ner").default_config["model"]["tok2vec"]
    assert default["@architectures"] == "spacy-bert.BertPieceListener.v1"


def test_spans_have_keys_of_their_own(write):
    """Catches two pipes in one config each of which erases the other's spans."""
    config = load_config(write("spancat,span_finder,ner"))
    keys = {name: pipe.get("spans_key") for name, pipe in config["components"].items()}
    assert keys == {"bert": None, "spancat": "sc", "span_finder": "span_finder", "ner": None}
    nlp = load_model_from_config(config, auto_fill=True)
    weights = nlp.config["training"]["score_weights"]
    assert weights["spans_sc_f"] == weights["spans_span_finder_f"] == weights["ents_f"] > 0.3
    alone = load_config(write("span_finder", name="alone.cfg"))
    assert alone["components"]["span_finder"]["spans_key"] == "sc"


def test_questions(write):
    """Catches spaCy's reader of Docs in the config of a pipeline that learns from SQuAD's JSON, or
    windows that are not the paper's; and the other way round beside other pipes."""
    config = load_config(write("segments,span_qa"))
    assert config["corpora"]["dev"]["@readers"] == "spacy-bert.SquadCorpus.v1"
    model = config["components"]["bert"]["model"]
    assert (model["window"], model["stride"]) == (64, 62)  # as many as the tiny BERT has positions
    assert config["nlp"]["pipeline"] == ["segments", "bert", "span_qa"]
    config = load_config(write("segments,span_qa,ner", name="both.cfg"))
    assert config["corpora"]["dev"]["@readers"] == "spacy.Corpus.v1"


def test_help_lists_every_pipe(run):
    """Catches a pipe that is added to the table and not to the help."""
    words = set(run("init-config", "--help").stdout.replace(",", " ").replace(";", " ").split())
    words = {word.rstrip(".") for word in words}
    assert {*HEADS, "segments"} <= words
