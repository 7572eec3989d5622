"""`evaluate-qa`: predictions, odds and scores of a file of questions; and configs that train on such files."""

import json

import pytest
import spacy
import torch
from spacy.util import load_config

from spacy_bert import make_pair
from spacy_bert.answers import answers_of, candidates, facts_of
from spacy_bert.evaluation.squad import evaluate_v2
from tests.pipeline.questions import make_qa, questions, squad_of, train


@pytest.fixture(scope="module")
def trained(tiny_checkpoint, tmp_path_factory):
    """The folder of a pipeline that answers toy questions. Not to be written to."""
    folder = tmp_path_factory.mktemp("qa") / "pipeline"
    train(make_qa(tiny_checkpoint), steps=6).to_disk(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps(squad_of(questions())))
    return path


def test_questions_without_answers(run, trained, data, tmp_path):
    """Catches predictions that are not the component's, a threshold that is not applied, odds with
    another sign, and scores of something else."""
    result = run("evaluate-qa", trained, data, "--output", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    predictions = json.loads((tmp_path / "out.json").read_text())
    odds = json.loads((tmp_path / "out.null_odds.json").read_text())
    nlp = spacy.load(trained)
    gold, raw = {}, {}
    for i, (question, context, answer) in enumerate(questions()):
        doc = nlp(make_pair(nlp, question, context))
        name = f"q{i}"
        assert predictions[name] == next((a.text for a in answers_of(doc)), "")
        assert odds[name] == pytest.approx(facts_of(doc)["null_odds"], abs=1e-3)
        gold[name], raw[name] = [answer] if answer else [], candidates(doc)[0].text
    scores = {**evaluate_v2(gold, raw, null_odds=odds), **evaluate_v2(gold, predictions)}
    shown = dict(line.split()[:2] for line in result.stdout.splitlines() if line.count(" ") and line[0] in "efHNbt")  # fmt: skip
    for name, value in scores.items():
        assert float(shown[name]) == pytest.approx(value, abs=1e-3), name
    assert "SQuAD 2.0" in result.stdout and str(tmp_path / "out.json") in result.stdout


def test_questions_with_answers(run, trained, tmp_path):
    """Catches "no answer" to a question of SQuAD 1.1, and a file of odds that says nothing."""
    path = tmp_path / "data.json"
    path.write_text(json.dumps(squad_of([q for q in questions() if q[2]])))
    nlp = spacy.load(trained)
    nlp.get_pipe("span_qa").null_threshold = -1000.0
    nlp.to_disk(tmp_path / "silent")
    result = run("evaluate-qa", tmp_path / "silent", path, "-o", tmp_path / "out.json")
    assert result.exit_code == 0 and "SQuAD 1.1" in result.stdout and "exact_match" in result.stdout
    assert all(json.loads((tmp_path / "out.json").read_text()).values())
    assert not (tmp_path / "out.null_odds.json").exists()
    result = run("evaluate-qa", trained, path, "-o", tmp_path / "b.json", "--tune")
    assert result.exit_code == 1 and "no threshold" in result.stderr
    assert not (tmp_path / "b.json").exists()


def test_tuned(run, trained, data, tmp_path):
    """Catches a threshold that is printed and not kept, or that is not the best."""
    nlp = spacy.load(trained)
    nlp.get_pipe("span_qa").null_threshold = -1000.0
    nlp.to_disk(tmp_path / "pipeline")
    arguments = ("evaluate-qa", tmp_path / "pipeline", data, "-o", tmp_path / "out.json", "-F")
    first, second, third = run(*arguments), run(*arguments, "--tune"), run(*arguments)
    assert [r.exit_code for r in (first, second, third)] == [0, 0, 0]
    f1 = [dict(line.split()[:2] for line in r.stdout.splitlines() if line.startswith(("f1 ", "best_f1 "))) for r in (first, second, third)]  # fmt: skip
    assert f1[0]["f1"] < f1[0]["best_f1"] == f1[1]["f1"] == f1[2]["f1"]
    tuned = spacy.load(tmp_path / "pipeline")
    assert tuned.get_pipe("span_qa").null_threshold == tuned.config["components"]["span_qa"]["null_threshold"] > -1000  # fmt: skip
    other = spacy.load(tmp_path / "pipeline", config={"components.span_qa.null_threshold": 3.0})
    assert other.get_pipe("span_qa").null_threshold == 3.0


def test_bad_input(run, trained, data, tmp_path):
    """Catches a traceback, predictions that are replaced unasked, and half a file of them."""
    out = tmp_path / "out.json"
    blank = tmp_path / "blank"
    spacy.blank("en").to_disk(blank)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    (tmp_path / "above" / "model-best").mkdir(parents=True)
    for arguments, message in (
        ((tmp_path / "none", data), "is no saved pipeline"),
        ((tmp_path / "above", data), "above/model-best: is that what was meant?"),
        ((blank, data), "0 components that answer questions"),
        ((trained, tmp_path / "none.json"), "none.json"),
        ((trained, bad), "a list 'data' was expected"),
    ):
        result = run("evaluate-qa", *arguments, "--output", out)
        assert result.exit_code == 1 and message in " ".join(result.stderr.split())
        assert "Traceback" not in result.output and not out.exists()
    out.write_text("mine")
    result = run("evaluate-qa", trained, data, "--output", out)
    assert result.exit_code == 1 and "exists" in result.stderr and out.read_text() == "mine"


def test_config_trains_on_questions(run, train_pipeline, tiny_checkpoint, data, tmp_path):
    """Catches a config for questions that does not train on a file of them."""
    config = tmp_path / "train.cfg"
    assert (
        run("init-config", config, "-c", tiny_checkpoint, "-p", "segments,span_qa").exit_code == 0
    )
    assert load_config(config)["training"]["annotating_components"] == ["segments"]
    nlp = train_pipeline(config, data)
    doc = nlp(make_pair(nlp, "who lives?", "alice lives in paris."))
    assert candidates(doc)
    assert nlp.meta["performance"]["qa_f1"] >= 0.0
    result = run("evaluate-qa", tmp_path / "trained" / "model-last", data, "-o", tmp_path / "o.json", "--limit", 3)  # fmt: skip
    assert result.exit_code == 0 and len(json.loads((tmp_path / "o.json").read_text())) == 3


def test_rules_of_the_file(run, trained, tmp_path):
    """Catches SQuAD 1.1's rules for a file of 2.0 because the first questions have answers."""
    asked = sorted(questions(), key=lambda question: not question[2])
    assert asked[0][2] and not asked[-1][2]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(squad_of(asked)))
    result = run("evaluate-qa", trained, path, "-o", tmp_path / "out.json", "--limit", 1)
    assert result.exit_code == 0 and "SQuAD 2.0" in result.stdout
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1


def test_questions_that_nobody_has_answered(run, trained, data, tmp_path):
    """Catches a test set that cannot be answered, scores out of nothing, and a mixed file."""
    assert run("evaluate-qa", trained, data, "-o", tmp_path / "scored.json").exit_code == 0
    content = json.loads(data.read_text())
    asked = [qa for article in content["data"] for p in article["paragraphs"] for qa in p["qas"]]
    del asked[0]["answers"]
    data.write_text(json.dumps(content))
    result = run("evaluate-qa", trained, data, "-o", tmp_path / "mixed.json")
    assert (
        result.exit_code == 1
        and "1 of 27 questions have no list \"answers\", 'q0'" in result.stderr
    )
    assert not (tmp_path / "mixed.json").exists()
    for entry in asked:
        entry.pop("answers", None)
    data.write_text(json.dumps(content))
    result = run("evaluate-qa", trained, data, "-o", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert "no answers to score by" in result.stdout and "best_" not in result.stdout
    assert (tmp_path / "out.json").read_text() == (tmp_path / "scored.json").read_text()
    tuned = run("evaluate-qa", trained, data, "-o", tmp_path / "out.json", "--tune", "-F")
    assert tuned.exit_code == 1 and "27 of 27" in tuned.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(run, trained, data, tmp_path):
    """Catches a GPU that is asked for and, where there is none, silently not used."""
    result = run("evaluate-qa", trained, data, "-o", tmp_path / "out.json", "--gpu")
    assert result.exit_code == 1 and "GPU" in result.stderr


def test_without_output(run, trained, data, tmp_path, monkeypatch):
    """Catches a file that has to be written for scores alone, and a run that would say nothing at all."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = run("evaluate-qa", trained, data)
    assert result.exit_code == 0, result.output
    assert "best_f1" in result.stdout and "Wrote" not in result.stdout
    content = json.loads(data.read_text())
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                del entry["answers"]
    data.write_text(json.dumps(content))
    result = run("evaluate-qa", trained, data)
    assert result.exit_code == 1 and "--output" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_tuned_to_silence(run, trained, tmp_path):
    """Catches a pipeline that is set to answer nothing, beside a best threshold of 0 that would answer."""
    spacy.load(trained).to_disk(tmp_path / "pipeline")
    path = tmp_path / "none.json"
    path.write_text(json.dumps(squad_of([(q, c, None) for q, c, _ in questions()])))
    result = run("evaluate-qa", tmp_path / "pipeline", path, "--tune")
    assert result.exit_code == 0, result.output
    assert "no question is answered" in result.stdout
    assert "no question is answered" not in run("evaluate-qa", trained, path).stdout
