"""README keeps its word: its Python runs, its config blocks resolve, its commands exist."""

import re
from pathlib import Path
from typing import Dict, List

import pytest
from spacy.util import registry
from thinc.api import Config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")
HUB_ID = "google-bert/bert-base-uncased"


def blocks(language: str) -> List[str]:
    """Fenced blocks of one language, also those within lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, flags=re.DOTALL | re.MULTILINE)
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


def test_python_runs(minilm_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Catches an example that a first user would stumble over."""
    code = "\n".join(blocks("python"))
    assert HUB_ID in code
    exec(compile(code.replace(HUB_ID, str(minilm_path)), "README.md", "exec"), {})
    assert "unthinkingly" not in capsys.readouterr().err


@pytest.mark.parametrize("block", blocks("ini"))
def test_configs_resolve(block: str) -> None:
    """Catches a config block with a name or a key that does not exist."""
    found = promises(Config().from_str(with_parents(block)))
    assert found
    for promise in found:
        assert registry.resolve({"block": promise})["block"] is not None


def test_commands_exist() -> None:
    """Catches a command that was renamed."""
    from spacy_bert.cli.app import app

    commands = {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands}
    shell = "\n".join(blocks("sh"))
    ours = re.findall(r"python -m spacy_bert ([\w-]+)", shell)
    assert ours and set(ours) <= commands
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE
    )
    assert set(re.findall(r"^make (\w+)", shell, re.MULTILINE)) <= set(targets)


def test_what_is_where() -> None:
    """Catches a room that moved."""
    table = README.split("## What's where")[1]
    for path in re.findall(r"`([\w/.]+(?:/|\.py|\.md))`", table):
        assert (ROOT / path).exists() or (ROOT / "spacy_bert" / path).exists(), path
