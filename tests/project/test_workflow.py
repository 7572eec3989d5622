"""Tests of the project: its workflow on toy data, what it runs again, and what mistakes come to."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin
from typer.testing import CliRunner
from weasel.cli.document import project_document
from weasel.cli.run import check_rerun
from weasel.util import load_project_config

PROJECT = Path(__file__).resolve().parents[2] / "project"
sys.path.insert(0, str(PROJECT / "scripts"))

import check  # noqa: E402
import read_conll  # noqa: E402
import results  # noqa: E402
import seeds  # noqa: E402

# A workflow in seconds. What it learns is nothing; that each step reads what another wrote, all.
TOY = {
    "train_docs": 12,
    "dev_docs": 6,
    "test_docs": 6,
    "raw_docs": 60,
    "vocab_size": 300,
    "size": "tiny",
    "pretrain_steps": 4,
    "pretrain_options": "--training.batch_pieces 512 --training.max_length 32 "
    "--training.eval_every 2 --training.save_every 2 --training.held_out 0.1 --logging.every 2",
    "steps": 4,
    "warmup_steps": 1,
    "eval_frequency": 4,
    "random_rates": "1e-3",
    "random_poolings": "mean",
}
ALWAYS = {"check", "results"}  # they have no outputs
COMMANDS = {c["name"]: c for c in srsly.read_yaml(PROJECT / "project.yml")["commands"]}
WORKFLOWS = srsly.read_yaml(PROJECT / "project.yml")["workflows"]


def copy_project(folder: Path, **settings: Any) -> Path:
    """A copy of the sources of the project, with other vars."""
    for name in ("scripts", "configs"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    config = srsly.read_yaml(PROJECT / "project.yml")
    assert set(settings) <= set(config["vars"])
    config["vars"].update(settings)
    srsly.write_yaml(folder / "project.yml", config)
    return folder


def run(project: Path, subcommand: str, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "spacy", "project", "run", subcommand, str(project), *options]
    return subprocess.run(command, capture_output=True, text=True)


def ran(output: str) -> set[str]:
    """The commands that a run did not skip."""
    started = {name for name in COMMANDS if f" {name} =" in output}
    return started - {name for name in COMMANDS if f"Skipping '{name}'" in output}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose workflow has been run, and what it printed."""
    project = copy_project(tmp_path_factory.mktemp("toy"), **TOY)
    done = run(project, "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return project, done.stdout


@pytest.mark.slow
def test_workflow_makes_everything(toy: tuple[Path, str]) -> None:
    """Catches steps that do not find what an earlier one wrote, and a table with gaps."""
    project, printed = toy
    assert ran(printed) == set(WORKFLOWS["all"])
    for path in (
        "training/vocab/vocab.txt",
        "training/store/manifest.json",
        "training/pretraining/checkpoint-last/model.safetensors",
        "training/pretraining/report.html",
        "training/fine-tune.cfg",
        "training/random/model-best/meta.json",
    ):
        assert (project / path).is_file(), path
    table = printed.split(" Results ")[-1]
    for word in ("masked pieces: ", "most frequent one: ", "next sentence: ", "pip install "):
        assert word in table
    rows = {
        name: line.split()[2:5]
        for line in table.splitlines()
        for name in ("entities", "topic")
        if line.startswith(name)
    }
    assert set(rows) == {"entities", "topic"}
    assert all(0 <= float(value) <= 100 for row in rows.values() for value in row)
    assert "it was " in printed  # a gap and what the encoder would put there
    assert "(0." in printed  # a topic with its score


@pytest.mark.slow
def test_random_weights_have_the_sizes_and_other_values(toy: tuple[Path, str]) -> None:
    """Catches a comparison of unlike things: another network or vocabulary, or the same weights."""
    from spacy_bert import load_checkpoint

    training = toy[0] / "training"
    pretrained = load_checkpoint(training / "pretraining" / "checkpoint-best")
    random = load_checkpoint(training / "random-weights")
    assert random.config == pretrained.config
    assert random.tokenizer == pretrained.tokenizer
    assert random.parts == {"encoder", "pooler"}
    for name, value in random.weights.items():
        assert value.shape == pretrained.weights[name].shape
        if value.dim() == 2:
            assert not value.equal(pretrained.weights[name]), name
            assert value.std() / random.config.initializer_range == pytest.approx(1, abs=0.2), name
    trials = srsly.read_json(training / "random" / "trials.json")
    assert [(trial["rate"], trial["pooling"]) for trial in trials] == [("1e-3", "mean")]
    config = spacy.util.load_config(training / "random" / "model-best" / "config.cfg")
    assert config["components"]["textcat"]["model"]["tok2vec"]["pooling"] == "mean"
    assert config["paths"]["checkpoint"] == "training/random-weights"


@pytest.mark.slow
def test_second_run_does_nothing(toy: tuple[Path, str]) -> None:
    """Catches a step that changes what an earlier one wrote, or names outputs that it lacks."""
    project, _ = toy
    again = run(project, "all")
    assert again.returncode == 0, again.stdout + again.stderr
    assert ran(again.stdout) == ALWAYS
    assert "Results" in again.stdout


@pytest.mark.slow
def test_changed_var_reruns_what_depends_on_it(toy: tuple[Path, str], tmp_path: Path) -> None:
    """Catches a dependency that is missing: the table would go on showing what is no longer so."""
    project = tmp_path / "copy"
    shutil.copytree(toy[0], project)
    changed = run(project, "all", "--vars.eval_frequency", "2", "--vars.random_rates", "5e-4")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    after_training = {"train", "evaluate", "compare", "package"}
    assert {"train", "compare"} <= ran(changed.stdout) <= after_training | ALWAYS


@pytest.mark.slow
@pytest.mark.parametrize(
    "var, value, direct",
    [
        ("train_docs", 13, {"corpus"}),
        ("vocab_size", 310, {"vocab"}),
        ("split_options", "--splitter Paragraphs", {"prepare"}),
        ("pretrain_steps", 5, {"pretrain"}),
        ("pipes", "ner", {"config"}),
        ("rate", 1e-4, {"train"}),
        ("train_options", "--training.dropout 0.2", {"train", "compare"}),
        ("steps", 5, {"train", "compare"}),
        ("random_poolings", "cls", {"compare"}),
        ("seed", 1, {"pretrain", "train", "compare", "baseline"}),
        ("version", "0.2.0", {"package"}),
        ("package", "other", {"package"}),
    ],
)
def test_vars_reach_their_steps(
    toy: tuple[Path, str], var: str, value: object, direct: set[str]
) -> None:
    """Catches a var that no step reads, and one that reruns a long step for nothing."""
    project, _ = toy
    config = load_project_config(project, overrides={f"vars.{var}": value})
    commands = {command["name"]: command for command in config["commands"]}
    names = [name for name in WORKFLOWS["all"] if name not in ALWAYS]
    assert {name for name in names if check_rerun(project, commands[name])} == direct


@pytest.mark.slow
def test_package_installs_and_loads(toy: tuple[Path, str], tmp_path: Path) -> None:
    """Catches a wheel without the weights, or that needs what lies in the project's folder."""
    [wheel] = (toy[0] / "packages").glob("*.whl")
    assert wheel.name == "en_news-0.1.0-py3-none-any.whl"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path), str(wheel)], check=True)
    code = (
        "import en_news; doc = en_news.load()('Velmar Lines opened a pier in Osthol.');"
        "print(en_news.__file__, doc._.bert.pieces[:2], sorted(doc.cats), doc.has_annotation('ENT_IOB'))"
    )
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(tmp_path) in loaded
    assert "'business'" in loaded and loaded.rstrip().endswith("True")


@pytest.mark.slow
def test_other_pretraining_keeps_the_one_before(toy: tuple[Path, str], tmp_path: Path) -> None:
    """Catches a run of days that is deleted for another setting, and an interrupted one that
    begins from the start."""
    project = tmp_path / "copy"
    shutil.copytree(toy[0], project)
    script = [sys.executable, "scripts/pretrain.py", "configs/pretrain.cfg", "training/pretraining"]
    script += [
        "--store",
        "training/store",
        "--encoder.size",
        "tiny",
        *TOY["pretrain_options"].split(),
    ]  # type: ignore[attr-defined]
    weights = project / "training/pretraining/checkpoint-best/model.safetensors"
    before = weights.read_bytes()

    def pretrain(*options: str) -> str:
        done = subprocess.run([*script, *options], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "Moved it" in pretrain("--training.max_steps", "3", "--training.seed", "1")
    assert weights.read_bytes() != before
    kept = project / "training/pretraining.before/checkpoint-best/model.safetensors"
    assert kept.read_bytes() == before

    # As if it had been killed: the note says that it did not come to its end.
    note = project / "training/pretraining.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "finished": False}))
    state = max((project / "training/pretraining/state").iterdir())
    again = pretrain("--training.max_steps", "3", "--training.seed", "1")
    assert "Moved it" not in again
    assert state.exists()
    assert json.loads(note.read_text())["finished"] is True


def test_readme_is_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a README that tells of other commands than project.yml has."""
    readme = tmp_path / "README.md"
    shutil.copy(PROJECT / "README.md", readme)
    project_document(PROJECT, readme)
    assert readme.read_text(encoding="utf8") == (PROJECT / "README.md").read_text(
        encoding="utf8"
    ), "In project/, run: python -m spacy project document --output README.md"


def test_readme_names_vars_that_exist() -> None:
    """Catches a var that was renamed."""
    import re

    text = (PROJECT / "README.md").read_text(encoding="utf8")
    known = srsly.read_yaml(PROJECT / "project.yml")["vars"]
    named = set(re.findall(r"--vars\.(\w+)", text))
    assert len(named) > 10
    assert named <= set(known)


def write_docs(path: Path, *docs: Doc) -> Path:
    DocBin(docs=list(docs)).to_disk(path)
    return path


def test_bad_data_is_told_before_anything_long(tmp_path: Path) -> None:
    """Catches mistakes in the vars that would show only after the pretraining, as a traceback."""
    import typer

    app = typer.Typer()
    app.command()(check.main)
    nlp = spacy.blank("en")
    plain, empty = nlp("Velmar left."), tmp_path / "none"
    empty.mkdir()
    named = nlp("Velmar left.")
    named.set_ents([named.char_span(0, 6, label="PERSON")])
    good = write_docs(tmp_path / "good.spacy", named)
    raw = tmp_path / "raw.txt"
    raw.write_text("A text. And more.\n", encoding="utf8")
    broken = tmp_path / "broken.spacy"
    broken.write_bytes(b"no docs")
    note = tmp_path / "note.json"

    def said(**changes: object) -> str:
        files = {"raw": raw, "train": good, "dev": good, "test": good, "pipes": "ner"}
        options = {**files, "output": note, **changes}
        arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        result = CliRunner().invoke(app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert (result.exit_code == 0) is (not changes), result.output
        return " ".join(result.output.split())

    assert "1 files of raw text" in said()
    assert set(srsly.read_json(note)) == {str(raw)}
    assert "There is no" in said(train=tmp_path / "no.spacy")
    assert "is no .spacy file" in said(dev=broken)
    assert "has no documents" in said(test=write_docs(tmp_path / "zero.spacy"))
    assert "has no entities" in said(train=write_docs(tmp_path / "plain.spacy", plain))
    assert "has no categories" in said(pipes="ner,textcat")
    assert "does not exist" in said(raw=tmp_path / "no")
    assert "no file to read" in said(raw=empty)


def test_note_tells_changed_text_only(tmp_path: Path) -> None:
    """Catches raw text that was changed and is not read again, and the other way round."""
    file = tmp_path / "a.txt"
    file.write_text("One.", encoding="utf8")
    before = check.fingerprint(file)
    file.write_text("One.", encoding="utf8")
    assert check.fingerprint(file) == before
    file.write_text("Two.", encoding="utf8")
    assert check.fingerprint(file) != before


def test_conll_files_are_read(tmp_path: Path) -> None:
    """Catches sentences run together at the lone tabs of WNUT-17, and entities cut in two."""
    source = tmp_path / "a.conll"
    source.write_bytes(
        b"\xef\xbb\xbfNew\tB-location\r\nYork\tI-location\r\nwins\tO\r\n\t\r\nHi\tO\n\n\n"
    )
    sentences = read_conll.read_sentences(source)
    assert [len(sentence) for sentence in sentences] == [3, 1]
    doc = read_conll.to_doc(sentences[0], vocab=spacy.blank("en").vocab)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("New York", "location")]
    source.write_text("New York\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"a\.conll, line 1: found 'New York'"):
        read_conll.read_sentences(source)


def test_seeds_take_any_value_and_no_misspelt_name(tmp_path: Path) -> None:
    """Catches options that `spacy project` would drop in silence, and texts that become numbers."""
    found = seeds.parse(
        ["--vars.pretrain_options", "--training.max_hours 1", "--vars.steps=30", "--vars.raw", "7"]
    )
    assert found == {"pretrain_options": "--training.max_hours 1", "steps": 30, "raw": "7"}
    for options in (["--vars.stepz", "3"], ["--steps", "3"], ["--vars.steps"]):
        result = CliRunner().invoke(seeds.app, [str(tmp_path), *options])
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert "Error: " in result.output and options[0] in result.output
    copy = tmp_path / "seed-3"
    seeds.copy_project(copy, {"seed": 3, "pretrain_options": "--optimizer.learn_rate 1e-3"})
    assert load_project_config(copy)["vars"]["seed"] == 3
    assert (copy / "scripts" / "make_corpus.py").is_file()


def test_best_evaluation_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    """Catches a table that shows the last evaluation, or the best of one loss alone."""
    rows = [(3.0, 0.5), (2.0, 0.9), (2.1, 0.7), (2.2, None)]
    lines = [
        {"event": "eval", "step": i, "mlm_loss": mlm, "nsp_loss": nsp}
        for i, (mlm, nsp) in enumerate(rows[:3])
    ]
    text = "".join(json.dumps(line) + "\n" for line in [{"event": "start", "step": 0}, *lines])
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf8")
    found = results.best_evaluation(tmp_path)
    assert found is not None and found["step"] == 2
    assert results.best_evaluation(tmp_path / "none") is None
