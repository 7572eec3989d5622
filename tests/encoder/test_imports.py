"""What `spacy_bert.encoder` needs, seen from a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

import spacy_bert

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
"""


def run(blocked, code):
    return subprocess.run(
        [sys.executable, "-c", BLOCKER.format(blocked=blocked) + code],
        cwd=Path(spacy_bert.__file__).parents[1],
        capture_output=True,
        text=True,
    )


def test_runs_without_spacy_and_transformers(real_path):
    """Catches an import of spaCy, thinc, transformers or the hub on the way to a vector."""
    code = f"""
from spacy_bert.encoder import BertEncoder, load_checkpoint, pack
checkpoint = load_checkpoint({str(real_path)!r})
encoder = BertEncoder(checkpoint.config).eval()
encoder.load_state_dict(checkpoint.part("encoder"))
print(tuple(encoder(pack([checkpoint.tokenizer.encode("hello world").ids])).shape))
"""
    blocked = ["spacy", "thinc", "transformers", "huggingface_hub"]
    result = run(blocked, code)
    assert result.stdout.strip() == "(2, 384)", result.stderr


@pytest.mark.parametrize("name", ["spacy", "thinc", "transformers", "huggingface_hub"])
def test_the_blocker_blocks(name):
    """Catches a blocker that blocks nothing, which would make the test above vacuous."""
    pytest.importorskip(name)
    result = run([name], f"import {name}")
    assert result.returncode and f"{name} is blocked" in result.stderr
