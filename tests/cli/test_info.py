"""`info`: of everything there is to say, the numbers have to be right."""

import shutil

import pytest
import spacy

from spacy_bert import from_checkpoint, load_checkpoint
from spacy_bert.cli.info import describe

TEXTCAT = {
    "@architectures": "spacy-bert.BertTextCat.v1",
    "exclusive_classes": True,
    "tok2vec": {
        "@architectures": "spacy-bert.BertPooledListener.v1",
        "width": 32,
        "pooling": "cls",
    },
}


@pytest.fixture
def pipeline(saved_pipeline, tmp_path):
    """A saved pipeline with a textcat on the encoder."""
    return shutil.copytree(saved_pipeline, tmp_path / "pipeline")


@pytest.fixture(scope="module")
def saved_pipeline(tiny_checkpoint, make_examples, tmp_path_factory):
    """The same, not to be written to."""
    nlp = from_checkpoint(tiny_checkpoint, config={"model": {"window": 32, "stride": 24}})
    nlp.add_pipe("segments", first=True)
    nlp.add_pipe("textcat", config={"model": TEXTCAT})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.meta["performance"] = {"cats_score": 0.75, "cats_f_per_type": {"A": {}}, "speed": 1.0}
    path = tmp_path_factory.mktemp("saved") / "pipeline"
    nlp.to_disk(path)
    return path


def test_checkpoint(tiny_checkpoint):
    """Catches wrong sizes, a wrong sum of parameters, and heads that are not there."""
    [(heading, facts)] = describe(tiny_checkpoint)
    checkpoint = load_checkpoint(tiny_checkpoint)
    total = sum(tensor.numel() for tensor in checkpoint.weights.values())
    assert str(tiny_checkpoint) in heading
    assert facts["network"] == "2 layers, width 32, 4 heads, inner width 64, gelu"
    assert facts["parameters"].startswith(f"{total:,}: embeddings ")
    assert facts["heads"] == "pooler"
    assert facts["text vector"].startswith("pooler")
    assert facts["vocabulary"] == f"{len(checkpoint.tokenizer)} pieces, uncased, accents stripped"
    assert facts["special pieces"].startswith("[UNK] 1, [CLS] 2")


def test_heads_and_case(make_checkpoint):
    """Catches facts that are the same for every checkpoint."""
    folder = make_checkpoint(parts=["pooler", "mlm", "nsp"], lowercase=False)
    [(_, facts)] = describe(folder)
    assert facts["heads"] == "pooler, masked language model, next sentence"
    assert "cased, accents kept" in facts["vocabulary"] and "uncased" not in facts["vocabulary"]


def test_pipeline(pipeline, tiny_checkpoint):
    """Catches a listener that is not seen, windows that are not the pipeline's, and parameters
    of the torch module that are not counted."""
    sections = dict(describe(pipeline))
    assert list(sections) == [f"Pipeline {pipeline}", "[segments]", "[bert]", "[textcat]"]
    whole, segments, bert, textcat = sections.values()
    weights = load_checkpoint(tiny_checkpoint).weights
    encoder = sum(tensor.numel() for tensor in weights.values())
    assert whole["pipes"] == "segments > bert > textcat"
    assert whole["scores"] == "cats_score 0.750"
    assert whole["parameters"] == f"{encoder + 2 * 32 + 2:,}"
    assert segments["separator"] == r"'\n\n'"
    assert (bert["listeners"], bert["windows"]) == ("textcat", "up to 32 pieces, stride 24")
    assert bert["parameters"] == f"{encoder:,}"
    assert textcat["labels"] == "2: WORK, LIFE"
    assert textcat["listens to"] == "bert (cls)"
    assert textcat["parameters"] == "66"


def test_pipeline_without_bert_and_without_weights(tmp_path):
    """Catches a command that only knows pipelines as we would make them."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("bert")
    nlp.to_disk(tmp_path / "pipeline")
    sections = dict(describe(tmp_path / "pipeline"))
    assert sections["[sentencizer]"] == {"factory": "sentencizer"}
    assert sections["[bert]"]["weights"].startswith("none")


@pytest.mark.parametrize(
    "command, name",
    [
        *[("info", name) for name in ("bert/cfg", "textcat/model", "meta.json", "config.cfg")],
        *[("info", name) for name in ("tokenizer", "vocab/strings.json", "vocab/vectors")],
        *[(name, "bert/model") for name in ("info", "debug-pieces", "fill-mask", "evaluate-qa")],
    ],
)
def test_damaged_pipeline(run, pipeline, tmp_path, command, name):
    """Catches "Unpack failed: incomplete input", which says neither of what nor what to do."""
    (tmp_path / "data.json").write_text('{"data": []}')
    more = {
        "info": [],
        "evaluate-qa": [tmp_path / "data.json", "-o", tmp_path / "predictions.json"],
    }
    content = (pipeline / name).read_bytes()
    for kept in (0, len(content) // 2):
        if name == "config.cfg" and not kept:
            continue  # what spaCy says of it is clear
        (pipeline / name).write_bytes(content[:kept])
        result = run(command, pipeline, *more.get(command, ["It is [MASK]."]))
        assert result.exit_code == 1 and result.stdout == ""
        assert f"The pipeline {pipeline} could not be loaded" in result.stderr
        assert f"{pipeline / name} is damaged or cut off ({kept:,} bytes; " in result.stderr
        assert "Copy or save the pipeline again" in result.stderr


def test_pipeline_that_is_wrong_otherwise(run, pipeline):
    """Catches a mistake of another kind that is called damage."""
    config = (pipeline / "config.cfg").read_text("utf8")
    (pipeline / "config.cfg").write_text(config.replace('"segments"', '"segmints"'), "utf8")
    # Other people's components have formats of their own.
    (pipeline / "rules").mkdir()
    (pipeline / "rules" / "cfg").write_text("[rules]", "utf8")
    result = run("info", pipeline)
    assert result.exit_code == 1 and "segmints" in result.stderr
    assert "damaged" not in result.stderr


def test_vocabulary(tiny_checkpoint, tmp_path):
    """Catches a vocabulary alone, as `train-vocab` writes it, that is taken for nothing."""
    (tmp_path / "vocab.txt").write_text((tiny_checkpoint / "vocab.txt").read_text("utf8"), "utf8")
    [(heading, facts)] = describe(tmp_path)
    assert heading.startswith("Vocabulary")
    assert facts["vocabulary"].endswith("pieces, uncased, accents stripped")


def test_prints_what_it_found(run, pipeline):
    """Catches a section or a line that is found and not shown."""
    result = run("info", pipeline)
    assert result.exit_code == 0
    for heading, facts in describe(pipeline):
        assert heading in result.stdout
        assert all(str(value) in result.stdout for value in facts.values())


@pytest.mark.parametrize(
    "name, expected",
    [
        ("missing", ["There is no", "missing", "Check the path"]),
        ("file", ["is a file", "Give the folder"]),
        ("empty", ["Found: nothing", "config.json", "meta.json and config.cfg"]),
        ("other", ["('gpt2')", "only BERT"]),
        ("train.spacy", ["is a file", "annotated texts", "debug data"]),
        ("trained", ["holds nothing that is known", "trained/model-best: is that"]),
    ],
)
def test_refuses_in_one_message(run, tmp_path, name, expected):
    """Catches a mistake that ends in a traceback, or in a message without remedy."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "train.spacy").write_text("x")
    (tmp_path / "trained" / "model-best").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    result = run("info", tmp_path / name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    for part in expected:
        assert part in result.stderr


def test_labels_and_scores_of_any_head(tmp_path):
    """Catches labels that are numbers, and scores that are left out."""
    import spacy

    nlp = spacy.blank("en")
    lemmatizer = nlp.add_pipe("trainable_lemmatizer")
    lemmatizer.cfg["labels"] = [5, 7]
    nlp.meta["performance"] = {"qa_f1": 0.5, "score_spearman": 0.25, "qa_loss": 3.0}
    nlp.to_disk(tmp_path)
    sections = dict(describe(tmp_path))
    assert sections["[trainable_lemmatizer]"]["labels"] == "2"
    assert "qa_f1 0.500, score_spearman 0.250" in str(sections)
