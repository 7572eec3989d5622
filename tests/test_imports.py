"""Who may import whom, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

import spacy_bert

PACKAGE = Path(spacy_bert.__file__).parent

ARRAYS = "wordpiece encoder alignment windows segments decoding targets answers"
# A room (a folder or a module) and the rooms that it may import from.
MAY_IMPORT = {
    "files": "",
    "wordpiece": "files",
    "encoder": "files",
    "alignment": "",
    "windows": "",
    "segments": "",
    "decoding": "",
    "targets": "",
    "answers": "segments",
    "layers": f"files {ARRAYS}",
    "models": "layers encoder",
    "pipeline": f"models layers {ARRAYS}",
    "readers": "files segments targets answers",
    "evaluation": "files readers segments targets answers",
    "pretraining": "files wordpiece encoder",
    "cli": f"files pipeline models layers readers evaluation pretraining {ARRAYS}",
    "__main__": "cli",
    "__init__": "",
}
# A single file may more than its room.
EXCEPT = {"encoder/checkpoint.py": "wordpiece", "encoder/vocabulary.py": "wordpiece"}
# Rooms that have to run where these are not installed.
WITHOUT = {
    "files": "torch spacy thinc tokenizers",
    "wordpiece": "torch spacy thinc",
    "encoder": "spacy thinc",
    "alignment": "torch spacy thinc tokenizers",
    "windows": "torch spacy thinc tokenizers",
    "segments": "torch thinc tokenizers",
    "decoding": "torch spacy thinc tokenizers",
    "targets": "torch thinc tokenizers",
    "answers": "torch thinc tokenizers",
    "pretraining": "spacy thinc",
}
NOBODY = "transformers"


def room_of(path: str) -> str:
    """path (str): A file, relative to the package. RETURNS (str): Its room."""
    return path.split("/")[0].removesuffix(".py")


def imported(path: str, source: str) -> Iterator[str]:
    """path (str): A file, relative to the package.
    source (str): What it says.
    YIELDS (str): The modules that it imports, wherever in the file: "torch.nn", ".encoder.bert"."""
    package = ["", *path.split("/")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            # What is imported from the package itself is a room, or a lazy attribute out of one.
            names = [f"{base}.{a.name}" if base in ("", "spacy_bert") else base for a in node.names]
        else:
            continue
        for name in names:
            ours = name == "spacy_bert" or name.startswith("spacy_bert.")
            yield "." + name.removeprefix("spacy_bert").lstrip(".") if ours else name


def wrongs(files: List[Tuple[str, str]]) -> List[str]:
    """files (List[Tuple[str, str]]): Paths, relative to the package, and what they say.
    RETURNS (List[str]): What they import and must not."""
    found = []
    for path, source in files:
        room = room_of(path)
        if room not in MAY_IMPORT:
            found.append(f"{path} is in no room of the table")
            continue
        allowed = {room, *MAY_IMPORT[room].split(), *EXCEPT.get(path, "").split()}
        banned = {*WITHOUT.get(room, "").split(), NOBODY}
        for name in imported(path, source):
            first = name.split(".")[1] if name.startswith(".") else ""
            target = spacy_bert._PUBLIC.get(first, first).split(".")[0]
            if name.startswith("."):
                wrong = target not in {*allowed, "__version__"}
            else:
                wrong = name.split(".")[0] in banned
            if wrong:
                found.append(f"{path} imports {name}")
    return found


def sources() -> List[Tuple[str, str]]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).as_posix(), path.read_text()) for path in paths]


def test_nobody_imports_what_it_must_not():
    """Catches a room that comes to depend on another, against the table."""
    files = [(path, source) for path, source in sources() if path != "__init__.py"]
    assert len(files) > 40 and wrongs(files) == []


def test_exceptions_are_needed():
    """Catches an exception that outlives its reason."""
    for path in EXCEPT:
        assert wrongs([(path.replace(".py", "_.py"), dict(sources())[path])])


@pytest.mark.parametrize(
    "path, source",
    [
        ("encoder/bert.py", "from ..layers.shim import BertShim"),
        ("encoder/bert.py", "from .. import layers"),
        ("encoder/bert.py", "import spacy_bert.layers.shim"),
        ("encoder/bert.py", "from spacy_bert.layers import shim"),
        ("encoder/bert.py", "from spacy_bert import layers"),
        ("encoder/bert.py", "from ..wordpiece import WordPieceTokenizer"),
        ("encoder/bert.py", "def f():\n    from ..layers import shim"),
        ("encoder/bert.py", "if TYPE_CHECKING:\n    from ..layers import shim"),
        ("encoder/bert.py", "import spacy.tokens"),
        ("encoder/deep/er.py", "from ...layers import shim"),
        ("alignment.py", "from .windows import Window"),
        ("segments.py", "from .layers.annotations import KEY"),
        ("models/textcat.py", "from ..pipeline.bert import Bert"),
        ("models/textcat.py", "from .. import from_checkpoint"),
        ("pretraining/loop.py", "from thinc.api import Model"),
        ("pretraining/loop.py", "from ..readers import pairs"),
        ("pipeline/bert.py", "from ..cli.app import app"),
        ("layers/shim.py", "import transformers"),
        ("util.py", "import os"),
    ],
)
def test_the_table_is_enforced(path, source):
    """Catches a way to write an import that the test above does not see."""
    assert len(wrongs([(path, source)])) == 1


@pytest.mark.parametrize(
    "path, source",
    [
        ("encoder/bert.py", "from .heads import Pooler\nimport torch.nn, torchvision"),
        ("encoder/checkpoint.py", "from ..wordpiece import WordPieceTokenizer"),
        ("layers/shim.py", "from ..encoder import BertEncoder\nfrom . import optimizer"),
        ("pipeline/bert.py", "import spacy_bert.models.encoder"),
        ("cli/app.py", "from .. import __version__, make_pair, from_checkpoint"),
        ("cli/app.py", "from spacy_bert import load_checkpoint"),
    ],
)
def test_the_table_allows(path, source):
    """Catches a test that forbids everything."""
    assert wrongs([(path, source)]) == []


def run(code: str, blocked: str = "") -> str:
    blocker = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked.split()!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
"""
    command = [sys.executable, "-c", blocker + code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_package_itself_is_light():
    """Catches anything at the top of `spacy_bert/__init__.py` beyond the standard library."""
    code = """
before = set(sys.modules)
import spacy_bert
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(sorted(new), "make_pair" in dir(spacy_bert), spacy_bert.__version__)
"""
    assert run(code) == f"['spacy_bert'] True {spacy_bert.__version__}\n"


@pytest.mark.parametrize(
    "rooms, blocked",
    [
        ("wordpiece alignment windows", "torch spacy thinc transformers"),
        ("encoder pretraining", "spacy thinc transformers"),
    ],
)
def test_rooms_run_without(rooms, blocked):
    """Catches an import, of a dependency's dependency even, on the way into a room that has to run
    where these are not installed."""
    modules = [
        "spacy_bert." + path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for path, _ in sources()
        if room_of(path) in rooms.split()
    ]
    assert len(modules) > 5
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name)\nprint('done')"
    assert run(code, blocked) == "done\n"


def test_factories_are_light():
    """Catches a factory that makes everyone who has spacy-bert installed wait: `spacy.blank` loads
    the factories of all packages."""
    code = """
import spacy
before = set(sys.modules)
import spacy_bert.pipeline.factories
print(sorted(set(sys.modules) - before))
nlp = spacy.blank("en")
nlp.add_pipe("sentencizer")
print(sorted(name for name in sys.modules if name.split(".")[0] in ("spacy_bert", "tokenizers")))
"""
    expected = ["spacy_bert", "spacy_bert.pipeline", "spacy_bert.pipeline.factories"]
    assert run(code) == f"{expected}\n{expected}\n"


def test_lazy_attributes():
    """Catches a public name that leads nowhere, and an error that hides which name is wrong."""
    for name, place in spacy_bert._PUBLIC.items():
        assert getattr(spacy_bert, name).__module__ == f"spacy_bert.{place}"
        assert name in dir(spacy_bert)
    with pytest.raises(AttributeError, match="'spacy_bert' has no attribute 'from_chekpoint'"):
        _ = spacy_bert.from_chekpoint
