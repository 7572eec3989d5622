"""`docs/reference.md` has every public name, argument and default of the code, and no others;
`docs/troubleshooting.md` quotes spaCy's messages as spaCy has them."""

import importlib
import inspect
import json
import re
import typing
from functools import lru_cache
from importlib.metadata import distribution
from typing import Any, Callable, Dict, List

import spacy
import typer
from spacy.errors import Errors, Warnings
from spacy.language import Language

import spacy_bert

from .test_readme import ROOT

PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf8")
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf8")
ENTRIES = distribution("spacy-bert").entry_points
OTHERS = ("spacy_factories", "spacy_cli", "console_scripts")
REQUIRED = inspect.Parameter.empty
pipe = lru_cache(None)(lambda name: spacy.blank("en").add_pipe(name))


def rows(n_cells: int) -> List[List[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [[x.strip() for x in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if len(row) == n_cells and row[0] != "name"]


def on_page() -> Dict[str, Dict[str, str]]:
    """Name -> argument -> default."""
    found: Dict[str, Dict[str, str]] = {}
    for name, argument, default, _ in rows(4):
        if name:
            current = name.strip("`")
            assert current not in found, f"{current} stands there twice"
            found[current] = {}
        elif argument.startswith("all of "):
            found[current].update(found[argument[7:].strip("`")])
        else:
            found[current][argument.strip("`")] = default
    return found


def written(default: Any) -> str:
    """A default as the page has it; one that is a section of a config by what that names."""

    def flat(key: str, item: Any) -> List[str]:
        if isinstance(item, dict):
            return [name for pair in item.items() for name in flat(*pair)]
        return [item if key.startswith("@") else f"{key} = {item}"]

    if default is REQUIRED:
        return "required"
    items = flat("", default) if isinstance(default, dict) else [json.dumps(default)]
    text = ", ".join(f"`{item}`" for item in items)
    return text.replace("e-0", "e-").replace("|", "\\|")


def arguments(function: Callable, *given: str) -> Dict[str, str]:
    parameters = inspect.signature(function).parameters
    return {key: written(p.default) for key, p in parameters.items() if key not in given}


def test_names_arguments_and_defaults() -> None:
    """Catches a name or an argument that was added or dropped, and a default that has changed."""
    known = {entry.name: arguments(entry.load()) for entry in ENTRIES if entry.group not in OTHERS}
    assert set(re.findall(r"spacy-bert\.\w+\.v\d+", PAGE + TROUBLE)) <= set(known)
    known |= {f"spacy_bert.{x}": arguments(getattr(spacy_bert, x)) for x in spacy_bert._PUBLIC}
    for entry in ENTRIES.select(group="spacy_factories"):
        taken = arguments(entry.load(), "nlp", "name")
        defaults = Language.get_factory_meta(entry.name).default_config
        known[entry.name] = {key: written(defaults.get(key, REQUIRED)) for key in taken}
        if method := getattr(pipe(entry.name), "initialize", None):
            known[f"{entry.name}.initialize"] = arguments(method, "get_examples", "nlp")
    assert on_page() == known


def test_what_they_give() -> None:
    """Catches an architecture that gives another type, and a component that sets something else."""
    own = {row[0].strip("`"): row[2:] for row in rows(4) if row[0]}
    for entry in ENTRIES.select(group="spacy_architectures"):
        given = typing.get_args(typing.get_type_hints(entry.load())["return"])[1]
        name = given.__name__ if inspect.isclass(given) else str(given)
        assert own[entry.name][0] == f"`{re.sub(r'[a-z_.0-9]+[.]', '', name)}`", entry.name
    for entry in ENTRIES.select(group="spacy_factories"):
        assert entry.load()  # registers it
        sets = {x for x in Language.get_factory_meta(entry.name).assigns if x.startswith("doc.")}
        assert set(re.findall(r"doc\.[\w.]*\w", own[entry.name][1])) == sets, entry.name


def test_members_and_commands() -> None:
    """Catches a method, class or function that is gone, and a command or option of another name."""
    from spacy_bert.cli.app import app

    names = [name for row in rows(2) for name in re.findall(r"`([\w.]+)", row[0])]
    assert len(names) > 20
    for owner, _, member in (name.rpartition(".") for name in names):
        is_room = owner.startswith("spacy_bert")
        room = importlib.import_module(owner) if is_room else type(pipe(owner))
        assert hasattr(room, member), f"{owner}.{member}"
    known: Dict[str, set] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        spelt = [x for p in command.params for x in (*p.opts, *p.secondary_opts)]
        known[name] = {x if x[0] == "-" else x.upper() for x in spelt if not re.match("-[^-]", x)}
    assert {row[0].strip("`"): set(re.findall("`([^`]+)`", row[2])) for row in rows(3)} == known


def test_messages_of_spacy() -> None:
    """Catches a message that spaCy words, or numbers, differently."""
    quoted = re.findall(r"`\[([EW]\d+)\] ([^`]+)`", TROUBLE)
    texts = {x: getattr(Errors if x[0] == "E" else Warnings, x) for x, _ in quoted}
    assert len(texts) > 5 and all(text in texts[number] for number, text in quoted)
