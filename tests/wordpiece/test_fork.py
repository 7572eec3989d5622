"""A forked child encodes, in silence."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

USE_OURS = """
from spacy_bert.wordpiece import WordPieceTokenizer
tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"])
encode = lambda texts: [encoded.ids.tolist() for encoded in tokenizer.encode_batch(texts)]
"""
FORK = """
import os
NAME = "TOKENIZERS_PARALLELISM"
before = os.environ.get(NAME)
texts = ["ab", "a", "ab"] * 1000
expected = encode(texts)
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        right = encode(texts) == expected and os.environ.get(NAME) == (before or "false")
        os._exit(0 if right else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0, 0], codes
assert os.environ.get(NAME) == before
assert encode(texts) == expected
print("done")
"""


def run(code, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_child_encodes_in_silence():
    """Catches the library's warning for every child (before tokenizers 0.22.2), a child that hangs
    on threads it has not got, and a parent whose own threads stay switched off.
    """
    result = run(USE_OURS + FORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_users_choice_is_left_alone():
    """Catches the guard overwriting a variable the user has set."""
    result = run(USE_OURS + FORK, TOKENIZERS_PARALLELISM="0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")
