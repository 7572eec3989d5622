"""The configs of `init-config` do train: a few steps of `spacy train` each, on a tiny BERT."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import spacy

from spacy_bert import load_checkpoint
from spacy_bert.cli.pipe_sections import HEADS


@pytest.fixture
def write(run, tiny_checkpoint, tmp_path):
    """A function: pipes -> a config."""

    def write_config(pipeline, checkpoint=tiny_checkpoint):
        path = tmp_path / "train.cfg"
        result = run("init-config", path, "-c", checkpoint, "-p", pipeline)
        assert result.exit_code == 0, result.output
        return path

    return write_config


def query_weights(nlp):
    """A matrix of the first layer of a pipeline's encoder."""
    encoder = next(node for node in nlp.get_pipe("bert").model.walk() if node.shims)
    weights = encoder.shims[0]._model.encoder.state_dict()
    return weights["layers.0.attention.qkv.weight"].numpy()


def learned(nlp, checkpoint):
    """Whether an encoder has other weights than the checkpoint."""
    before = load_checkpoint(checkpoint).weights["encoder.layers.0.attention.qkv.weight"]
    return not np.array_equal(query_weights(nlp), before.numpy())


@pytest.mark.parametrize("pipeline", ["ner", "textcat", "ner,textcat", "tagger"])
def test_trains_and_annotates(write, train_pipeline, corpus, tiny_checkpoint, pipeline):
    """Catches a config that trains without the encoder learning, or whose pipeline does not load
    or annotate after training."""
    nlp = train_pipeline(write(pipeline), corpus)
    doc = nlp("Alice works in Berlin.")
    assert learned(nlp, tiny_checkpoint)
    nlp.resume_training()
    assert doc.tensor.shape == (5, 32) and doc.tensor.any()
    assert ("textcat" in pipeline) == (doc.cats.keys() == {"WORK", "LIFE"})
    assert ("ner" in pipeline) == doc.has_annotation("ENT_IOB")
    assert ("tagger" in pipeline) == doc.has_annotation("TAG")


def test_all_pipes_train_together(write, train_pipeline, corpus, tiny_checkpoint):
    """Catches a pipe whose sections load but do not train."""
    # The parser leaves out what is rare, which in a toy corpus is everything.
    overrides = {
        "components.parser.min_action_freq": 1,
        "components.trainable_lemmatizer.min_tree_freq": 1,
        # Each has a key of its own, but the corpus has one.
        "components.spancat_singlelabel.spans_key": "sc",
        "components.span_finder.spans_key": "sc",
    }
    pipes = [pipe for pipe in HEADS if pipe != "span_qa"]  # it learns from pairs only
    nlp = train_pipeline(write(",".join(pipes)), corpus, overrides)
    assert nlp.get_pipe("bert").listening_components == pipes
    doc = nlp("Alice works in Berlin.")
    for name in ("TAG", "DEP", "LEMMA", "MORPH", "SENT_START", "ENT_IOB"):
        assert doc.has_annotation(name), name
    assert doc.cats and "sc" in doc.spans
    assert learned(nlp, tiny_checkpoint)


def test_pairs_train_as_pairs(write, train_pipeline, pairs):
    """Catches pairs that are read as one text, in training or afterwards: the vectors of the same
    words have to depend on where segment A ends."""
    seen = []

    def spy(self, docs, *args, **kwargs):
        seen.extend(docs)
        return begin_update(self, docs, *args, **kwargs)

    from thinc.api import Model

    begin_update = Model.begin_update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "begin_update", spy)
        nlp = train_pipeline(write("segments,textcat"), pairs)
    assert seen and all(len(doc.spans["segments"]) == 2 for doc in seen)
    pair, single = nlp("Bob works\n\nin London"), nlp("Bob works in London")
    assert [span.text for span in pair.spans["segments"]] == ["Bob works", "in London"]
    assert "segments" not in single.spans
    assert pair.cats.keys() == {"SAME", "OTHER"} and pair.cats != single.cats


def test_trained_pipeline_needs_no_checkpoint(
    write, train_pipeline, corpus, tiny_checkpoint, tmp_path
):
    """Catches a saved pipeline that reads the checkpoint again when it is loaded."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, copy)
    train_pipeline(write("ner", checkpoint=copy), corpus)
    shutil.rmtree(copy)
    nlp = spacy.load(tmp_path / "trained" / "model-best")
    assert nlp("Alice").tensor.any()


def test_frozen_encoder_as_the_comments_say(write, train_pipeline, corpus, tiny_checkpoint):
    """Catches instructions in the config that do not work: with the encoder frozen, it has to keep
    the checkpoint's weights, and the head has to learn on them."""
    path = write("textcat")
    text = path.read_text("utf8")
    text = text.replace("frozen_components = []", 'frozen_components = ["bert"]')
    text = text.replace("annotating_components = []", 'annotating_components = ["bert"]')
    before, after = text.split("before_init = null\n")
    section, rest = after.split("\n\n", 1)
    assert section.startswith("# [initialize.before_init]\n")
    text = f"{before}\n{section.replace('# ', '')}\n\n{rest}"
    path.write_text(text, "utf8")
    nlp = train_pipeline(path, corpus)
    assert not learned(nlp, tiny_checkpoint)
    head = nlp.get_pipe("textcat").model.get_ref("output_layer")
    assert head.get_param("W").any()  # starts from zeros


def test_spacy_train_takes_it_as_it_is(write, corpus, tmp_path):
    """Catches what only the real command line does, from the entry points to the saved pipeline."""
    command = [sys.executable, "-m", "spacy", "train", write("ner,textcat"), "-o", tmp_path / "out"]
    paths = ["--paths.train", corpus, "--paths.dev", corpus, "--training.max_steps", "2"]
    result = subprocess.run([*command, *paths], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Saved pipeline" in result.stdout
    assert spacy.load(tmp_path / "out" / "model-best")("Alice").cats


def test_checkpoint_of_other_sizes_is_named(write, train_pipeline, corpus, make_checkpoint):
    """Catches weights that are silently left out when the config's sizes are another's."""
    other = make_checkpoint(depth=1)
    with pytest.raises(ValueError, match="depth = 2 where the checkpoint has 1"):
        train_pipeline(write("ner"), corpus, {"paths.checkpoint": str(other)})
