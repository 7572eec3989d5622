"""README and the pages in `docs/` keep their word: Python runs (of the pages: see test_docs.py),
config blocks resolve, commands and their options exist."""

import re
import shlex
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
import srsly
import typer
import weasel.cli.main as weasel
from spacy.util import registry
from thinc.api import Config
from weasel.util import parse_config_overrides

from spacy_bert.pretraining import PretrainConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")
PAGES = [README, *(page.read_text(encoding="utf8") for page in sorted(ROOT.glob("docs/*.md")))]
# What configs/pretrain.cfg cannot do without.
LEAST = {"paths": {"store": "store"}, "training": {"max_steps": 1}}
HUB_ID = "google-bert/bert-base-uncased"


def blocks(language: str, page: str = README) -> List[str]:
    """Fenced blocks of one language, also those within lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def with_parents(block: str) -> str:
    """A block of a config, with the sections above its own that a parser needs."""
    sections = re.findall(r"^\[([\w.]+)\]", block, flags=re.MULTILINE)
    parents = {s.rsplit(".", i)[0] for s in sections for i in range(1, s.count(".") + 1)}
    return "".join(f"[{p}]\n" for p in sorted(parents - set(sections))) + block


def promises(config: Dict) -> List[Dict]:
    """The outermost blocks that name a registered function."""
    if any(key.startswith("@") for key in config):
        return [config]
    return [p for value in config.values() if isinstance(value, dict) for p in promises(value)]


def test_python_runs(minilm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    """Catches an example that a first user would stumble over."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    assert HUB_ID in code
    exec(compile(code.replace(HUB_ID, str(minilm_path)), "README.md", "exec"), {})
    assert Path("train.spacy").exists()
    assert "unthinkingly" not in capsys.readouterr().err


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks("ini", page)])
def test_configs_resolve(block: str) -> None:
    """Catches a config block with a name or a key that does not exist."""
    config = Config().from_str(with_parents(block))
    found = promises(config)
    if all("source" in section for section in config.get("components", {"": ""}).values()):
        return  # test_docs_training.py takes them from the pipeline that it trains
    if not found:  # a part of configs/pretrain.cfg
        assert PretrainConfig.from_dict({**LEAST, **config})
        return
    for promise in found:
        assert registry.resolve({"block": promise})["block"] is not None


def test_commands_exist() -> None:
    """Catches a command that was renamed."""
    from spacy_bert.cli.app import app

    commands = typer.main.get_command(app).commands
    shell = "\n".join(block for page in PAGES for block in blocks("sh", page))
    ours = re.findall(r"^python -m spacy_bert ([\w-]+)(.*)", shell, flags=re.MULTILINE)
    assert ours and {name for name, _ in ours} <= set(commands)
    for name, arguments in ours:
        check_options(name, shlex.split(arguments), commands[name])
    for name, options in options_in_tables():
        check_options(name, options, commands[name])
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE
    )
    assert set(re.findall(r"^make (\w+)", shell, re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("folder", ["project", "project/experiments"])
def test_project_commands_are_understood(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a var that is gone, and options that `spacy project` takes for the folder of the project."""
    monkeypatch.chdir(ROOT / folder)
    project = srsly.read_yaml("project.yml")
    command = typer.main.get_command(weasel.app).commands["run"]
    shell = "\n".join(blocks("sh", Path("README.md").read_text(encoding="utf8")))
    calls = re.findall(
        r"^python -m spacy project run ([^#\n]*)", shell.replace("\\\n", " "), flags=re.MULTILINE
    )
    assert calls
    for call in calls:
        context = command.make_context("run", shlex.split(call))
        assert context.params["subcommand"] in {
            *project["workflows"],
            *(step["name"] for step in project["commands"]),
        }
        options = parse_config_overrides(context.args)
        assert {name.partition("vars.")[2] for name in options} <= set(project["vars"])


def check_options(name: str, arguments: List[str], command: object) -> None:
    parameters = command.params  # type: ignore[attr-defined]
    known = {option for p in parameters for option in (*p.opts, *p.secondary_opts)}
    for option in arguments:
        if not option.startswith("--"):
            continue
        if "." in option and name == "pretrain":
            section, key = option[2:].split(".")
            assert key in PretrainConfig.from_dict(LEAST).to_dict()[section], option
        elif "." not in option:
            assert option in known, f"{name} {option}"


def options_in_tables() -> List[Tuple[str, List[str]]]:
    """Settings that the pages name in passing: `--training.max_hours 8`, `train-vocab --size`."""

    def prose(page: str) -> str:
        return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)

    pretraining = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf8")
    settings = re.findall(r"`(--[a-z]+\.[a-z_]+)", prose(pretraining))
    options = re.findall(r"`([a-z]+-[a-z]+) (--[a-z-]+)", "\n".join(map(prose, PAGES)))
    assert settings and options
    return [*(("pretrain", [key]) for key in settings), *((name, [key]) for name, key in options)]


def test_what_is_where() -> None:
    """Catches a room that moved."""
    table = README.split("## What's where")[1]
    for path in re.findall(r"`([\w/.]+(?:/|\.py|\.md))`", table):
        assert (ROOT / path).exists() or (ROOT / "spacy_bert" / path).exists(), path


def test_tables_are_those_of_the_results() -> None:
    """Catches figures in the pages that a later measurement has replaced."""
    results = ROOT / "benchmarks" / "results"
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf8")
    for page, name in ((README, "compare"), (benchmarks, "finetune")):
        lines = (results / f"{name}.md").read_text(encoding="utf8").splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert len(table) > 4 and set(table) <= set(page.splitlines()), name
