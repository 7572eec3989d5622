"""Tests of the experiments: each workflow on toy data, what it computes once, and what it claims."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from weasel.cli.document import project_document
from weasel.util import load_project_config

PROJECT = Path(__file__).resolve().parents[2] / "project"
EXPERIMENTS = PROJECT / "experiments"
sys.path.insert(0, str(EXPERIMENTS / "scripts"))

import fine_tune  # noqa: E402
import show  # noqa: E402
import tables  # noqa: E402
from spacy_bert.encoder import BertConfig  # noqa: E402
from spacy_bert.pretraining import PretrainConfig  # noqa: E402

TOY = {
    "train_docs": 12,
    "dev_docs": 6,
    "test_docs": 6,
    "raw_docs": 60,
    "vocab_size": 300,
    "steps": 3,
    "tune_steps": 2,
    "pretrain_options": "--training.batch_pieces 512 --training.max_length 16 --training.held_out 0",
}
ROWS = {"table5": 4, "table8": 6, "features": 6, "pooling": 3}
VARS = srsly.read_yaml(EXPERIMENTS / "project.yml")["vars"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, beside the scripts that it takes from the other one."""
    folder = tmp_path_factory.mktemp("toy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "scripts", folder / "scripts", ignore=ignored)
    for name in ("scripts", "configs"):
        shutil.copytree(EXPERIMENTS / name, folder / "experiments" / name, ignore=ignored)
    config = srsly.read_yaml(EXPERIMENTS / "project.yml")
    assert set(TOY) <= set(config["vars"])
    config["vars"].update(TOY)
    srsly.write_yaml(folder / "experiments" / "project.yml", config)
    return folder / "experiments"


def run(project: Path, workflow: str, *options: str) -> str:
    command = [sys.executable, "-m", "spacy", "project", "run", workflow, str(project), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROWS))
def test_workflows(toy: Path, name: str) -> None:
    """Catches a row that cannot be pretrained or fine-tuned, a table with gaps, a plot that is not
    drawn, and the paper's figures left out."""
    pytest.importorskip("matplotlib")
    printed = run(toy, name)
    result = srsly.read_json(toy / "results" / f"{name}.json")
    experiment = tables.experiments(2)[name]
    assert result["seeds"] == [0, 1] and len(result["rows"]) == ROWS[name]
    for row in result["rows"]:
        assert row["scores"].keys() == experiment.columns.keys()
        for values in row["scores"].values():
            assert len(values) == 2 and all(0 <= value <= 1 for value in values)
        assert f"\n{row['name']}" in printed
    for row in experiment.paper_rows.values():
        assert all(f"{value:.1f}" in printed for value in row)
    assert "no order" in printed  # two steps are no experiment
    drawn = (toy / "results" / f"{name}.svg").read_text(encoding="utf8")
    assert "<svg" in drawn and drawn.count("<use") > len(experiment.columns)


@pytest.mark.slow
def test_nothing_is_computed_twice(toy: Path) -> None:
    """Catches an encoder that is pretrained again for another table, and a score that is kept though
    the fine-tuning is another."""
    run(toy, "pooling")
    encoders = toy / "training" / "encoders"
    scores = toy / "training" / "scores"
    before = (encoders / "bert" / "seed-0" / "checkpoint-last" / "model.safetensors").stat()
    count = len(list(scores.iterdir()))
    run(toy, "pooling", "--vars.seeds", "0")
    assert len(list(scores.iterdir())) == count
    run(toy, "pooling", "--vars.seeds", "0", "--vars.tune_steps", "3")
    assert len(list(scores.iterdir())) == count + 3
    after = (encoders / "bert" / "seed-0" / "checkpoint-last" / "model.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("name", list(tables.ENCODERS))
def test_pretrainings_are_possible(name: str) -> None:
    """Catches a setting that does not exist, or that contradicts another, which would show only
    after the rows before it; and shares that do not add up to one."""
    changes: dict[str, Any] = {"paths": {"store": "s"}, "training": {"max_steps": 1}}
    options = tables.ENCODERS[name]
    for option, value in zip(options[::2], options[1::2]):
        section, key = option[2:].split(".")
        changes.setdefault(section, {})[key] = srsly.json_loads(value)
    objective = PretrainConfig.from_dict(changes).objective
    if name.startswith("mask"):
        mask, same, random = (int(part) / 100 for part in name.split("-")[1:])
        assert (objective.mask_as_mask, objective.mask_as_random) == (mask, random)
        assert mask + same + random == pytest.approx(1)
    assert objective.causal == (name == "left-to-right")


@pytest.mark.parametrize("depth", [2, 4, 12])
def test_heads_can_be_built(depth: int) -> None:
    """Catches a head whose width does not fit the layers that it reads, and a frozen one that spaCy
    would initialise."""
    encoder = BertConfig(vocab_size=50, width=32, depth=depth, heads=2, causal=True)
    for experiment in tables.experiments(depth).values():
        for _, heads in experiment.rows.values():
            for column, head in heads.items():
                task = experiment.columns[column]
                config = fine_tune.make_config(encoder, head, task, lang="en").interpolate()
                model = config["components"][fine_tune.TASKS[task][0]]["model"]
                resolved = spacy.registry.resolve({"model": model})["model"]
                if head.mix or head.lstm:
                    assert resolved.get_ref("tok2vec").get_dim("nO") == 32
                assert config["components"]["bert"]["model"]["causal"] is True
                frozen = config["training"]["frozen_components"]
                assert frozen == (["bert"] if head.frozen else [])
                assert ("bert" in config["initialize"]["components"]) is not head.frozen


def test_orders_are_claimed_only_where_seeds_agree() -> None:
    """Catches an order that is claimed by chance, and one that is not claimed though it is plain."""
    pytest.importorskip("scipy")
    rows = {
        "first": {"a": [0.50, 0.60, 0.55]},
        "same": {"a": [0.52, 0.57, 0.56]},
        "worse": {"a": [0.40, 0.49, 0.455]},
        "better": {"a": [0.61, 0.70, 0.655]},
    }
    same, worse, better = show.differences(rows)
    assert "(no order)" in same and "(lower)" in worse and "(higher)" in better
    assert worse.startswith("  worse, a: -10.2 ±")
    [one] = show.differences({"first": {"a": [0.5]}, "other": {"a": [0.9]}})
    assert "one seed: no order" in one
    # By chance equal: an interval of no width would leave out zero.
    [two] = show.differences({"first": {"a": [0.5, 0.75]}, "other": {"a": [0.75, 1.0]}})
    assert "two seeds: no order" in two
    [three] = show.differences({"first": {"a": [0.5] * 3}, "other": {"a": [0.75] * 3}})
    assert "(no order)" in three


def test_paper_has_all_rows_of_its_tables() -> None:
    """Catches a figure that slipped into another column."""
    for experiment in tables.experiments(12).values():
        assert all(
            len(row) == len(experiment.paper_columns) for row in experiment.paper_rows.values()
        )
    for name in ("table5", "table8", "features"):
        experiment = tables.experiments(12)[name]
        assert len(experiment.paper_rows) == len(experiment.rows)


def test_readme_is_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a README that tells of other commands than project.yml has, or of vars that are gone."""
    import re

    readme = tmp_path / "README.md"
    shutil.copy(EXPERIMENTS / "README.md", readme)
    project_document(EXPERIMENTS, readme)
    text = (EXPERIMENTS / "README.md").read_text(encoding="utf8")
    assert readme.read_text(encoding="utf8") == text, (
        "In project/experiments/, run: python -m spacy project document --output README.md"
    )
    named = set(re.findall(r"--vars\.(\w+)", text))
    assert len(named) > 5 and named <= set(VARS)
    load_project_config(EXPERIMENTS)
