"""`evaluate-glue`: a label task, a number task, and what is resumed or refused, on a tiny BERT."""

import json
from typing import Any, Dict

import pytest
import torch

from spacy_bert.cli import glue_cell
from spacy_bert.evaluation.metrics import score
from spacy_bert.evaluation.results import read_predictions

WORDS = ["alice", "bob", "carol", "paris", "london", "berlin"]


@pytest.fixture
def data(tmp_path: Any) -> Any:
    """RTE and STS-B in GLUE's layout: the second text decides, by its first word."""
    pairs = [(a, b) for a in WORDS for b in (a, WORDS[(WORDS.index(a) + 1) % 6])]
    files: Dict[str, list] = {
        "RTE/train.tsv": ["index\tsentence1\tsentence2\tlabel"],
        "STS-B/train.tsv": ["index\tsentence1\tsentence2\tscore"],
    }
    for i, (a, b) in enumerate(pairs * 4):
        yes = WORDS.index(b) < 3
        files["RTE/train.tsv"].append(f'{i}\t{a} "works\t{b}\t{"not_" * (not yes)}entailment')
        files["STS-B/train.tsv"].append(f"{i}\t{a}\t{b} lives\t{5.0 if yes else 1.0}")
    for name, lines in list(files.items()):
        folder = tmp_path / "glue" / name.split("/")[0]
        folder.mkdir(parents=True)
        (folder / "train.tsv").write_text("\n".join(lines))
        (folder / "dev.tsv").write_text("\n".join(lines[:13]))
    return tmp_path / "glue"


@pytest.fixture
def evaluate(run: Any, tiny_checkpoint: Any, data: Any, tmp_path: Any) -> Any:
    """A function: options -> the result of the command."""

    def run_command(*options: Any) -> Any:
        given = ["--batch-size", "8", "--epochs", "1", "--learning-rate", "0.003"]
        output = ["--output", tmp_path / "out"]
        return run("evaluate-glue", tiny_checkpoint, data, *given, *output, *options)

    return run_command


def test_table_resume_and_predictions(evaluate: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Catches scores that are not those of the predictions beside them, seeds that do not matter, a
    cell that is trained twice, and a table without a task."""
    result = evaluate("--seeds", "2", "--tasks", "rte,stsb")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "glue.json").read_text())
    assert [(x["task"], x["metric"], len(x["values"])) for x in summary] == [
        ("rte", "accuracy", 2),
        ("sts-b", "pearson", 2),
        ("sts-b", "spearman", 2),
    ]
    for entry in summary:
        assert entry["n_scored"] == 12 and -1 <= entry["mean"] <= 1
        for seed, value in enumerate(entry["values"]):
            name = f"{entry['task']}-dev-seed{seed}.jsonl"
            rows = read_predictions(tmp_path / "out" / "predictions" / name)
            assert [row.line for row in rows] == list(range(2, 14))
            found = score([entry["metric"]], [r.gold for r in rows], [r.predicted for r in rows])
            assert found[entry["metric"]] == pytest.approx(value)
    one, two = (tmp_path / "out" / "predictions" / f"sts-b-dev-seed{i}.jsonl" for i in (0, 1))
    assert one.read_text() != two.read_text()
    table = (tmp_path / "out" / "glue.md").read_text()
    assert (
        "| rte | dev | accuracy |" in table and f"{100 * summary[0]['mean']:.1f}" in result.stdout
    )
    cell = json.loads((tmp_path / "out" / "cells" / "rte-seed1.json").read_text())
    assert cell["n_train"] == 48 and cell["settings"]["learning_rate"] == 0.003

    trained = []
    real = glue_cell.run_cell
    monkeypatch.setattr(
        glue_cell, "run_cell", lambda *a, **k: trained.append(k["seed"]) or real(*a, **k)
    )
    again = evaluate("--seeds", "3", "--tasks", "rte")
    assert again.exit_code == 0 and trained == [2]
    assert "2 of 3 are in" in again.stdout
    other = evaluate("--seeds", "1", "--tasks", "rte", "--epochs", "2")
    assert other.exit_code == 1 and "made with epochs = 1" in other.stderr and trained == [2]
    forced = evaluate("--seeds", "1", "--tasks", "rte", "--epochs", "2", "--force")
    assert forced.exit_code == 0 and trained == [2, 0]


def test_learns(evaluate: Any, tmp_path: Any) -> None:
    """Catches a training that does not read the second texts, or no labels, or has a rate of zero."""
    options = ["--seeds", "1", "--epochs", "8", "--pooling", "mean"]
    result = evaluate(*options, "--training.optimizer.heads_scale", "1")
    assert result.exit_code == 0, result.output
    summary = {x["metric"]: x for x in json.loads((tmp_path / "out" / "glue.json").read_text())}
    assert summary["accuracy"]["mean"] > 0.9 and summary["pearson"]["mean"] > 0.9
    cell = json.loads((tmp_path / "out" / "cells" / "rte-seed0.json").read_text())
    assert cell["settings"]["overrides"] == {"training.optimizer.heads_scale": 1}


def test_config_is_spacys(data: Any, tiny_checkpoint: Any) -> None:
    """Catches a recipe whose settings do not reach the config that is trained from."""
    from spacy_bert import load_checkpoint
    from spacy_bert.evaluation.tasks import find_tasks

    (found,) = find_tasks(data, ["rte"])
    recipe = glue_cell.Recipe(
        epochs=2, batch_size=7, learning_rate=1e-5, limit=5, pooling="max",
        revision="v2", overrides={"training.dropout": 0.3},
    )  # fmt: skip
    config = glue_cell.cell_config(
        load_checkpoint(tiny_checkpoint), found, recipe, seed=4, n_steps=40
    )
    training = config["training"]
    assert config["nlp"]["pipeline"] == ["segments", "bert", "textcat"]
    assert config["components"]["textcat"]["model"]["tok2vec"]["pooling"] == "max"
    assert config["system"]["seed"] == 4 and training["dropout"] == 0.3
    assert training["batcher"]["size"] == 7 and training["max_epochs"] == 2
    rate = training["optimizer"]["learn_rate"]
    assert (rate["initial_rate"], rate["warmup_steps"], rate["total_steps"]) == (1e-5, 4, 40)
    assert config["corpora"]["train"]["limit"] == 5
    assert config["corpora"]["train"]["text_b"] == "sentence2"
    assert config["initialize"]["components"]["bert"]["revision"] == "v2"


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--tasks", "mnli"], ["no folder for the task 'mnli'", "RTE"]),
        (["--pooling", "sum"], ["sum"]),
        (["--lang", "qq"], ["--lang is 'qq'"]),
        (["--tasks", "rte", "--limit", "1", "--seeds", "1"], ["at least two labels"]),
        (["--tasks", "rte", "--seeds", "1", "--training.nonsense", "1"], ["nonsense"]),
        (["--tasks", "rte", "--seeds", "1", "--training.dropout.x", "1"], ["'x'"]),
        (["--tasks", "rte", "--seeds", "1", "--training.max_epochs", "5"], ["--epochs"]),
        (["--tasks", "rte", "--seeds", "1", "--training.batcher.size", "5"], ["--batch-size"]),
        (["--tasks", "rte", "--system.seed", "7"], ["--seeds"]),
        (["--tasks", "rte", "--paths.train", "/nowhere"], ["FOLDER"]),
        (["--tasks", "rte", "--training.optimizer.learn_rate.total_steps", "7"], ["--epochs"]),
        (["--tasks", "rte", "--sedes", "3"], ["No such option", "--help"]),
        (["--tasks", ","], ["No task was named"]),
        pytest.param(
            ["--tasks", "rte", "--gpu"],
            ["GPU"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_refuses_in_one_message(evaluate: Any, tmp_path: Any, options: Any, expected: Any) -> None:
    """Catches a mistake that ends in a traceback, or only after hours."""
    result = evaluate(*options)
    assert result.exit_code == 1, result.output
    for part in expected:
        assert part in " ".join(result.stderr.split())
    assert not (tmp_path / "out" / "cells").exists()


def test_label_that_training_lacks(evaluate: Any, data: Any) -> None:
    """Catches a label of the dev set that was never trained, found after the training."""
    with (data / "RTE" / "dev.tsv").open("a") as file:
        file.write("\n99\talice\tbob\tmaybe\n")
    result = evaluate("--tasks", "rte", "--seeds", "1")
    assert result.exit_code == 1
    assert "dev.tsv, line 14: the label 'maybe'" in result.stderr


def test_f1_of_a_label_that_is_none(evaluate: Any, data: Any) -> None:
    """Catches an F1 of 0.0 of a label that nothing can have."""
    task = {
        "train": "train.tsv",
        "splits": {"dev": "dev.tsv"},
        "metrics": ["f1"],
        "reader": {"text_a": "sentence1", "text_b": "sentence2", "label": "label"},
        "positive": "yes",
    }
    (data / "RTE" / "task.json").write_text(json.dumps(task))
    result = evaluate("--tasks", "rte", "--seeds", "1")
    assert result.exit_code == 1 and "F1 of the label 'yes'" in result.stderr


def test_no_splits(evaluate: Any, data: Any) -> None:
    """Catches a traceback after the training, where there is nothing to score on."""
    reader = {"text_a": "sentence1", "text_b": "sentence2", "label": "label"}
    task = {"train": "train.tsv", "splits": {}, "metrics": ["accuracy"], "reader": reader}
    (data / "RTE" / "task.json").write_text(json.dumps(task))
    result = evaluate("--tasks", "rte")
    assert result.exit_code == 1 and "names no splits" in result.stderr


def test_later_tasks_are_checked_first(evaluate: Any, data: Any, tmp_path: Any) -> None:
    """Catches a number that is none, found when the task before has been trained."""
    with (data / "STS-B" / "dev.tsv").open("a") as file:
        file.write("\n99\talice\tbob\tnan\n")
    result = evaluate("--tasks", "rte,sts-b", "--seeds", "1")
    assert result.exit_code == 1 and "dev.tsv, line 14: the number" in result.stderr
    assert not (tmp_path / "out" / "cells").exists()


def test_earlier_tasks_stay_in_the_table(evaluate: Any, data: Any, tmp_path: Any) -> None:
    """Catches a table that loses what an earlier call computed, or averages over settings."""

    def found() -> Dict[str, int]:
        lines = json.loads((tmp_path / "out" / "glue.json").read_text())
        return {f"{line['task']} {line['metric']}": len(line["values"]) for line in lines}

    assert evaluate("--tasks", "rte", "--seeds", "2").exit_code == 0
    assert evaluate("--tasks", "sts-b", "--seeds", "1").exit_code == 0
    assert found() == {"sts-b pearson": 1, "sts-b spearman": 1, "rte accuracy": 2}
    assert "| rte |" in (tmp_path / "out" / "glue.md").read_text()
    again = evaluate("--tasks", "rte", "--seeds", "1", "--batch-size", "16", "--force")
    assert again.exit_code == 0 and found()["rte accuracy"] == 1


def test_other_weights_or_data_at_the_same_place(
    evaluate: Any, data: Any, tiny_checkpoint: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    """Catches scores that are taken over though a weight or a label is another."""
    from spacy_bert import load_checkpoint
    from spacy_bert.cli.glue_cell import fingerprint

    options = ("--tasks", "rte", "--seeds", "1")
    assert evaluate(*options).exit_code == 0
    file = data / "RTE" / "dev.tsv"
    text = file.read_text()
    file.write_text(text.replace("not_entailment", "@").replace("entailment", "not_entailment", 1).replace("@", "entailment", 1).replace("@", "not_entailment"))  # fmt: skip
    assert file.stat().st_size == len(text.encode())
    result = evaluate(*options)
    assert result.exit_code == 1 and "was made with files = " in result.stderr
    checkpoint = load_checkpoint(tiny_checkpoint)
    before = fingerprint(checkpoint)
    assert before == fingerprint(load_checkpoint(tiny_checkpoint))
    name = next(iter(checkpoint.weights))
    checkpoint.weights[name] = checkpoint.weights[name].clone()
    checkpoint.weights[name].view(-1)[0] += 1
    assert fingerprint(checkpoint) != before


def test_a_last_step_that_goes_too_far(evaluate: Any) -> None:
    """Catches a traceback from predicting with weights that the last step has spoilt."""
    options = ("--tasks", "rte", "--seeds", "1", "--limit", "8", "--epochs", "2")
    result = evaluate(*options, "--learning-rate", "1e18")
    assert result.exit_code == 1 and result.exception.__class__ is SystemExit
    assert "Error: rte, seed 0: " in result.stderr and "finite" in result.stderr


def test_output_that_cannot_be_written(evaluate: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Catches a training whose scores have nowhere to go."""
    (tmp_path / "out").write_text("")
    monkeypatch.setattr(glue_cell, "run_cell", None)
    result = evaluate("--tasks", "rte")
    assert result.exit_code == 1 and "Name another folder (--output)" in result.stderr
