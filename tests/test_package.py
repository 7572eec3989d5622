"""What an installation brings: names that configs use, and files."""

import configparser
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Dict

import pytest

import spacy_bert

ROOT = Path(spacy_bert.__file__).parents[1]

# The names in users' configs. One that was released never goes away, nor changes its meaning.
NAMES: Dict[str, str] = {
    "spacy_factories": """
        bert
        bert_ner
        fill_mask
        segments
        span_qa
        text_regressor
    """,
    "spacy_architectures": """
        spacy-bert.Bert.v1
        spacy-bert.BertLayerMix.v1 spacy-bert.BertListener.v1
        spacy-bert.BertMaskedLM.v1
        spacy-bert.BertPieceListener.v1
        spacy-bert.BertPieces.v1
        spacy-bert.BertPooled.v1
        spacy-bert.BertPooledListener.v1
        spacy-bert.BertRegressor.v1
        spacy-bert.BertSpanQA.v1
        spacy-bert.BertTextCat.v1
        spacy-bert.BertTok2Vec.v1
        spacy-bert.BertTokenClassifier.v1
    """,
    "spacy_callbacks": "spacy-bert.LoadCheckpoint.v1",
    "spacy_readers": """
        spacy-bert.Gutenberg.v1
        spacy-bert.JsonlDocuments.v1
        spacy-bert.PairsCorpus.v1
        spacy-bert.SquadCorpus.v1
        spacy-bert.TextFiles.v1
        spacy-bert.WikiDump.v1
    """,
    "spacy_scorers": """
        spacy-bert.qa_scorer.v1
        spacy-bert.text_regressor_scorer.v1
    """,
    "spacy_misc": """
        spacy-bert.Paragraphs.v1
        spacy-bert.PipelineSentences.v1
        spacy-bert.Sentencizer.v1
    """,
    "spacy_cli": "bert",
    "thinc_optimizers": "spacy-bert.AdamW.v1",
    "console_scripts": "spacy-bert",
}


@pytest.fixture(scope="module")
def declared() -> Dict[str, Dict[str, str]]:
    """The entry points in setup.cfg: group -> name -> object."""
    parser = configparser.ConfigParser(delimiters=["="])
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "setup.cfg")
    groups = parser["options.entry_points"]
    return {
        group: dict(map(str.strip, line.split("=")) for line in lines.strip().splitlines())  # type: ignore[misc]
        for group, lines in groups.items()
    }


def test_names(declared):
    """Catches a name that is new, gone or misspelt: the list above says which there are."""
    names = {group: sorted(entries) for group, entries in declared.items()}
    assert names == {group: sorted(text.split()) for group, text in NAMES.items()}


@pytest.mark.parametrize("group", NAMES)
def test_names_lead_somewhere(declared, group):
    """Catches an entry point whose object is not where it says."""
    for name, value in declared[group].items():
        assert callable(EntryPoint(name, value, group).load()) or group == "spacy_cli"


def test_installed_names(declared):
    """Catches an installation older than setup.cfg: `pip install --no-deps -e .` mends it."""
    for group, entries in declared.items():
        found = {entry.name: entry.value for entry in entry_points(group=group)}
        assert entries.items() <= found.items(), group


@pytest.mark.parametrize(
    "registry, name",
    [
        ("factories", "bert"),
        ("architectures", "spacy-bert.Bert.v1"),
        ("callbacks", "spacy-bert.LoadCheckpoint.v1"),
        ("readers", "spacy-bert.WikiDump.v1"),
        ("misc", "spacy-bert.Sentencizer.v1"),
        ("optimizers", "spacy-bert.AdamW.v1"),
    ],
)
def test_spacy_finds_them(registry: str, name: str):
    """Catches a group of entry points that spaCy or Thinc does not look into."""
    import spacy

    spacy.blank("en")
    found: Any = spacy.registry.get(registry, name)
    assert found.__module__.startswith("spacy_bert.") or registry == "factories"


def test_wheel(tmp_path):
    """Catches a module, or the marker of its type hints, that is left out of what is installed, and
    tests or data that come along."""
    # Built from a copy: setuptools writes into the folder that it builds from.
    (tmp_path / "copy").mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / "copy" / name).write_bytes((ROOT / name).read_bytes())
    files = [path for path in (ROOT / "spacy_bert").rglob("*") if path.suffix in (".py", ".typed")]
    for path in [*files, *(ROOT / "tests").glob("*.py")]:
        target = tmp_path / "copy" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = "-m pip wheel . --no-deps --no-build-isolation --quiet --disable-pip-version-check"
    result = subprocess.run(
        [sys.executable, *command.split(), "--wheel-dir", str(tmp_path)],
        cwd=tmp_path / "copy",
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob(f"spacy_bert-{spacy_bert.__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        required = archive.read(metadata).decode()
    code = {path.relative_to(ROOT).as_posix() for path in files}
    assert "spacy_bert/py.typed" in code
    assert {name for name in names if ".dist-info/" not in name} == code
    requirements = [x for x in required.splitlines() if x.startswith("Requires-Dist")]
    assert not any("transformers" in x and "extra" not in x for x in requirements)
    assert any(name.endswith("LICENSE") for name in names)
