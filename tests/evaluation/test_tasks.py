"""Folders of tasks: found by name and files, or described by a task.json."""

import json

import pytest

from spacy_bert.evaluation.tasks import TASKS, Task, find_tasks

# As GLUE hands its tasks out: folder, file -> its first lines.
GLUE = {
    "CoLA/train.tsv": "gj04\t1\t\tWe left.",
    "CoLA/dev.tsv": "gj04\t0\t*\tWe leaved.",
    "SST-2/train.tsv": "sentence\tlabel\nfine \t1",
    "SST-2/dev.tsv": "sentence\tlabel\nbad \t0",
    "MRPC/train.tsv": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\ta\tb",
    "MRPC/dev.tsv": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\ta\tb",
    "STS-B/train.tsv": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\tm\tM\t2012\t1\tn\tn\ta\tb\t5.000",
    "STS-B/dev.tsv": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\tm\tM\t2012\t1\tn\tn\ta\tb\t0.5",
    "QQP/train.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta?\tb?\t1",
    "QQP/dev.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta?\tb?\t0",
    "MNLI/train.tsv": "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tneutral",
    "MNLI/dev_matched.tsv": "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\ta\tb\tx\tx\tneutral",
    "MNLI/dev_mismatched.tsv": "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\ta\tb\tx\tx\tneutral",
    "QNLI/train.tsv": "index\tquestion\tsentence\tlabel\n0\ta?\tb\tentailment",
    "QNLI/dev.tsv": "index\tquestion\tsentence\tlabel\n0\ta?\tb\tnot_entailment",
    "RTE/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment",
    "RTE/dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment",
    "WNLI/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1",
    "WNLI/dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t0",
}  # fmt: skip
# As their authors do.
OTHERS = {
    "cola/in_domain_train.tsv": "gj04\t1\t\tWe left.",
    "cola/in_domain_dev.tsv": "gj04\t1\t\tWe left.",
    "cola/out_of_domain_dev.tsv": "gj04\t1\t\tWe left.",
    "stsb/stsb-en-train.csv": '"a, ""b""",c,5.0',
    "stsb/stsb-en-dev.csv": "a,b,5.0",
    "stsb/stsb-en-test.csv": "a,b,5.0",
    "sick/SICK_train.txt": "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n1\ta\tb\t4.5\tNEUTRAL",
    "sick/SICK_trial.txt": "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n1\ta\tb\t4.5\tNEUTRAL",
    "sick/SICK_test_annotated.txt": "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n1\ta\tb\t4.5\tNEUTRAL",
}  # fmt: skip


def fill(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content + "\n", encoding="utf8")
    return folder


@pytest.mark.parametrize("files, n_tasks", [(GLUE, 9), (OTHERS, 4)])
def test_all_are_found_and_read(tmp_path, files, n_tasks):
    """Catches a task of GLUE whose files or columns are called otherwise than the table says."""
    found = find_tasks(fill(tmp_path, files))
    assert len(found) == n_tasks
    for task, folder in found:
        for file in (task.train, *task.splits.values()):
            corpus = task.corpus(folder, file)
            (row,) = corpus.rows()
            assert row.values[corpus.text_a] and (corpus.text_b is not None) == task.is_pair
            if task.is_regression:
                assert float(row.values[corpus.score]) > 0 and corpus.label is None
            else:
                assert row.values[corpus.label] and corpus.score is None


def test_by_any_spelling(tmp_path):
    """Catches a name that is found under one spelling only, and an order that is not the caller's."""
    root = fill(tmp_path, GLUE)
    names = [entry.task.name for entry in find_tasks(root, ["STSB", "cola", "sst2"])]
    assert names == ["sts-b", "cola", "sst-2"]
    assert [entry.task.name for entry in find_tasks(root, ["cola", "CoLA"])] == ["cola"]


def test_official_metrics():
    """Catches a task that is scored by another metric than GLUE does."""
    metrics = {task.name: set(task.metrics) for task in TASKS}
    assert metrics.pop("cola") == {"matthews"}
    assert metrics.pop("mrpc") == metrics.pop("qqp") == {"f1", "accuracy"}
    assert metrics.pop("sts-b") == metrics.pop("sick-r") == {"pearson", "spearman"}
    assert set(map(frozenset, metrics.values())) == {frozenset({"accuracy"})}
    assert metrics.keys() == {"sst-2", "mnli", "qnli", "rte", "wnli", "sick"}


def test_own_task(tmp_path):
    """Catches a folder that describes itself and is not asked."""
    own = {
        "train": "a.csv",
        "splits": {"held-out": "b.csv"},
        "metrics": ["accuracy", "f1"],
        "reader": {"text_a": "review", "label": "stars"},
        "positive": "5",
    }
    files = {"task.json": json.dumps(own), "a.csv": "review,stars", "b.csv": "review,stars"}
    root = fill(tmp_path, {f"Reviews/{name}": text for name, text in files.items()})
    ((task, folder),) = find_tasks(root)
    assert folder == root / "Reviews"
    assert task == Task("reviews", "a.csv", own["splits"], ("accuracy", "f1"), own["reader"], "5")
    assert find_tasks(root, ["reviews"])[0].task == task


@pytest.mark.parametrize(
    "files, names, expected",
    [
        ({"CoLA/train.tsv": ""}, ["cola"], ["holds train.tsv", "dev.tsv; or in_domain_train.tsv"]),
        ({"CoLA/train.tsv": ""}, ["rte"], ["no folder for the task 'rte'", "CoLA"]),
        ({"mine/a.tsv": ""}, ["mine"], ["'mine' is none of cola", "task.json"]),
        ({"mine/a.tsv": ""}, None, ["holds the folders mine", "no task.json"]),
        ({"mine/task.json": "{"}, None, ["task.json", "does not describe a task"]),
        ({"mine/task.json": "{}"}, None, ["KeyError: 'metrics'"]),
        ({"mine/task.json": '{"metrics": ["bleu"], "train": "a", "splits": {"dev": "a.tsv"}}'}, None, ["task.json", "'bleu'", "accuracy"]),
        ({"mine/task.json": '{"metrics": ["f1"], "train": "a", "splits": {"dev": "a.tsv"}}'}, None, ["label column None"]),
        ({"mine/task.json": '{"metrics": ["f1", "pearson"], "train": "a", "splits": {"dev": "a.tsv"}, "reader": {"label": 1}}'}, None, ["one kind"]),
        ({"mine/task.json": '{"metrics": ["f1"], "train": "a", "files": {}}'}, None, ["does not describe", "files"]),
        ({"mine/task.json": "[1]"}, None, ["does not describe", "TypeError"]),
        ({"mine/task.json": '{"metrics": ["f1"], "train": "a", "splits": ["b"]}'}, None, ["splits is ['b'], no dict"]),
        ({"mine/task.json": '{"metrics": ["f1"], "train": "a.tsv", "splits": {"dev": "a.tsv"}, "reader": {"label": 1, "text": 0}}'}, None, ["'text'"]),
        ({"mine/task.json": '{"metrics": ["f1"], "train": "a.tsv", "splits": {"dev": "a.tsv"}, "reader": {"label": 1}}'}, None, ["no file 'a.tsv'"]),
        ({"mine/task.json": '{"metrics": ["f1"], "train": "a.tsv", "splits": {}, "reader": {"label": 1}}'}, None, ["names no splits"]),
        ({"mine/task.json": '\ufeff{"name": "a/b", "metrics": ["f1"], "train": "a", "splits": {"dev": "a"}, "reader": {"label": 1}}'}, None, ["called 'a/b'", "without slashes"]),
        ({"CoLA/train.tsv": ""}, [], ["No task was named", "cola"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path, files, names, expected):
    """Catches a task that is left out in silence, and an error without remedy."""
    with pytest.raises((ValueError, OSError)) as error:
        find_tasks(fill(tmp_path, files), names)
    for part in expected:
        assert part in str(error.value)


def test_no_folder(tmp_path):
    """Catches a table without lines."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_tasks(tmp_path / "nowhere")
