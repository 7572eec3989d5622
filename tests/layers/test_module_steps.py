"""Steps of an encoder: what AdamW does, of its embedding table to the rows that were read."""

import copy
from typing import Any, Callable, Dict, List

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from spacy_bert.layers import good_weights, module_steps
from spacy_bert.layers import shim as shim_module
from spacy_bert.layers.doc_encoder import DocGradients
from spacy_bert.layers.module_steps import Rates, TableSteps, WholeSteps
from spacy_bert.layers.optimizer import AdamW

from .conftest import examples_of, is_same
from .reference import network_of

N_ROWS, WIDTH = 12, 4
SETTINGS: Dict[str, Any] = dict(betas=(0.8, 0.95), eps=1e-4)
# Rows that each batch reads; a row may be read twice, and none is rows 5 and 11.
BATCHES = [[3, 1, 3], [1, 7, 0], [7], [2, 3, 10, 9, 8, 6, 4, 4]]


def rates(rate: float, decay: float = 0.0) -> Rates:
    return Rates(rate, *SETTINGS["betas"], SETTINGS["eps"], decay)


def make_table() -> torch.nn.Parameter:
    torch.manual_seed(0)
    return torch.nn.Parameter(torch.randn(N_ROWS, WIDTH))


def set_gradient(table: torch.nn.Parameter, rows: List[int], seed: int, *, sparse: bool) -> None:
    """That of a weighted sum of the rows."""
    weights = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(seed))
    table.grad = None
    read = torch.nn.functional.embedding(torch.tensor(rows), table, sparse=sparse)
    (read * weights).sum().backward()


@pytest.mark.parametrize("part", [2, 2048])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rows_that_were_read(
    part: int, sparse: bool, decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments that are lost when others come, that do not go on moving a row, or move another one; a
    first step that counts from when a row was first read; decay of rows that nobody read."""
    monkeypatch.setattr(module_steps, "PART", part)
    table, start = make_table(), make_table().detach()
    expected = torch.nn.Parameter(start.clone())
    reference = torch.optim.AdamW([expected], lr=0.01, weight_decay=decay, **SETTINGS)
    steps = TableSteps(table)
    read: set = set()
    for i, rows in enumerate(BATCHES * 2):
        set_gradient(table, rows, i, sparse=sparse)
        set_gradient(expected, rows, i, sparse=False)
        read |= set(rows)
        steps.notice()
        assert len(steps.rows) == len(read) and set(steps.rows.tolist()) == read
        steps.step(rates(0.01, decay))
        reference.step()
        # The reference decays rows that were not read yet.
        unread = [row for row in range(N_ROWS) if row not in read]
        with torch.no_grad():
            expected[unread] = start[unread]
        torch.testing.assert_close(table, expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(table[unread], start[unread])
    assert unread == [5, 11]


def test_memory() -> None:
    """Moments of a whole vocabulary for a few rows; or moments that are moved in every step."""
    table = torch.nn.Parameter(torch.zeros(100_000, 2))
    steps = TableSteps(table)
    sizes = []
    for i in range(100):
        read = torch.arange(i * 20, i * 20 + 30)
        table.grad = None
        torch.nn.functional.embedding(read, table, sparse=True).sum().backward()
        steps.notice()
        steps.step(rates(0.1))
        sizes.append(steps.memory)
    assert len(steps.rows) == 2010 <= sizes[-1] < 2700
    assert len(set(sizes)) < 30


def test_without_gradient() -> None:
    """A step with moments alone, where torch makes none; or a count that goes on meanwhile."""
    table = make_table()
    expected = torch.nn.Parameter(table.detach().clone())
    reference = torch.optim.AdamW([expected], lr=0.01, weight_decay=0.0, **SETTINGS)
    steps = TableSteps(table)
    for i, rows in enumerate([[1, 2], [], [2]]):
        if rows:
            set_gradient(table, rows, i, sparse=True)
            set_gradient(expected, rows, i, sparse=False)
        else:
            table.grad = expected.grad = None
        steps.notice()
        steps.step(rates(0.01))
        reference.step()
        torch.testing.assert_close(table, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["whole", "table"])
def test_it_is_seen_that_weights_have_changed(kind: str) -> None:
    """A write past torch's count of changes: an engine would go on predicting with the old weights."""
    table = make_table()
    set_gradient(table, [1], 0, sparse=kind == "table")
    version = table._version
    if kind == "table":
        steps = TableSteps(table)
        steps.notice()
        steps.step(rates(0.01))
    else:
        WholeSteps([table]).step(rates(0.01))
    assert table._version > version


# Whole trainings


class Adapter(nn.Module):
    """Something in the place of the table, which has no weight of its own."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table
        self.more = nn.Parameter(torch.zeros(table.embedding_dim))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids) + self.more


class LowRank(nn.Module):
    def __init__(self, n_rows: int, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(n_rows, 2, generator=generator) / 10)
        self.b = nn.Parameter(torch.zeros(2, width))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.a @ self.b


class Gate(nn.Module):
    """A parameter that is a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * self.factor


def change(network: Any, how: str) -> None:
    """What people do to an encoder before they train it."""
    embeddings = network.encoder.embeddings
    table = embeddings.pieces
    if how == "adapter":
        embeddings.pieces = Adapter(table)
    elif how == "parametrized":
        parametrize.register_parametrization(table, "weight", LowRank(*table.weight.shape))
    elif how == "pruned":
        torch.manual_seed(0)
        prune.random_unstructured(table, "weight", 0.3)
    elif how == "hook":
        table.weight.register_hook(lambda gradient: gradient.index_fill(0, torch.arange(100), 0.0))
    elif how == "gate":
        embeddings.norm = nn.Sequential(embeddings.norm, Gate())
    elif how == "frozen layer":
        network.encoder.layers[0].requires_grad_(False)
    elif how == "frozen table":
        table.requires_grad_(False)


HOW = [
    "nothing",
    "adapter",
    "parametrized",
    "pruned",
    "hook",
    "gate",
    "frozen layer",
    "frozen table",
]


@pytest.mark.parametrize("how", HOW)
def test_training_is_that_of_a_dense_gradient(
    how: str, make_nlp: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient of rows that is clipped alone, or not; in which a piece that was read twice, or in two
    batches of a step, counts once; moments that are made anew where something is frozen; what was put
    on the table, and reckons with all of it."""
    batches = [
        ["Bob met Bob and Bob."],
        ["Alice lives in Paris.", "Bob works."],
        ["Paris"],
        ["Bob"],
    ]
    ours, theirs = make_nlp(one="tokens"), make_nlp(one="tokens")
    networks = [network_of(nlp.get_pipe("bert").model) for nlp in (ours, theirs)]
    for network in networks:
        change(network, how)
    learning = [p for p in networks[1].parameters() if p.requires_grad]
    settings: Dict[str, Any] = {"weight_decay": 0.0, "eps": 1e-4}
    optimizer, reference = AdamW(0.01, **settings), torch.optim.AdamW(learning, 0.01, **settings)
    for first, second in zip(batches, batches[1:]):
        for texts in (first, second):
            ours.update(examples_of(ours, texts), sgd=False)
            with monkeypatch.context() as context:
                context.setattr(shim_module, "reads_rows", lambda table: False)
                theirs.update(examples_of(theirs, texts), sgd=False)
        ours.get_pipe("bert").finish_update(optimizer)
        theirs.get_pipe("bert")._finish_batch()
        assert torch.nn.utils.clip_grad_norm_(learning, 1.0) > 1.0
        reference.step()
        reference.zero_grad()
        expected = dict(networks[1].named_parameters())
        for name, parameter in networks[0].named_parameters():
            torch.testing.assert_close(parameter, expected[name], rtol=1e-3, atol=2e-5)
    assert not is_same(dict(networks[0].named_parameters()), weights_of_new(make_nlp, how))


def weights_of_new(make_nlp: Callable, how: str) -> Dict[str, torch.Tensor]:
    network = network_of(make_nlp(one="tokens").get_pipe("bert").model)
    change(network, how)
    return dict(network.named_parameters())


@pytest.mark.parametrize("how", ["nothing", "gate", "table frozen on the way"])
def test_recovery(how: str, make_nlp: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are put back to what they were at another time than the rest, or not."""
    monkeypatch.setattr(good_weights, "EVERY", 4)
    nlp = make_nlp(one="tokens")
    network = network_of(nlp.get_pipe("bert").model)
    change(network, how)
    table = network.encoder.embeddings.pieces.weight
    optimizer = AdamW(0.01)
    states = []
    texts = ["Bob", "Paris", "Bob works.", "Alice", "Alice lives in Paris.", "works", "lives", "in"]
    for i, text in enumerate(texts):
        if how == "table frozen on the way":
            table.requires_grad_(i % 3 != 1)
        states.append(copy.deepcopy(dict(network.named_parameters())))
        nlp.update(examples_of(nlp, [text]), sgd=optimizer)
    states.append(copy.deepcopy(dict(network.named_parameters())))
    assert optimizer.recover()
    found = dict(network.named_parameters())
    # All is copied before every fourth step, and when something else learns than before.
    since = 7 if how == "table frozen on the way" else 4
    assert is_same(found, states[since]) and not is_same(found, states[since + 1])


def test_evaluation_without_gradients(make_nlp: Callable) -> None:
    """A backward pass that is put off, and comes where gradients are switched off, lost or failing."""
    nlp = make_nlp(one="tokens", two="tokens")
    network = network_of(nlp.get_pipe("bert").model)
    before = copy.deepcopy(dict(network.named_parameters()))
    nlp.update(examples_of(nlp, ["Bob works."]), sgd=AdamW(0.01), exclude=["two"])
    assert is_same(before, dict(network.named_parameters()))
    with torch.no_grad():
        nlp("Alice lives in Paris.")
    assert not is_same(before, dict(network.named_parameters()))


def test_gradient_of_another_shape(make_nlp: Callable) -> None:
    """A gradient that fits after it has been summed up, and is."""
    model = make_nlp(one="tokens").get_pipe("bert").model
    shim = next(shim for node in model.walk() for shim in node.shims)
    doc = make_nlp(one="tokens").make_doc("Bob")
    vectors, backprop = model.begin_update([doc])
    gradient = vectors.tokens[0].repeat(7, axis=0)
    with pytest.raises(ValueError, match=r"shape \(7, 32\), but .* \(1, 32\)"):
        backprop(DocGradients(tokens=[gradient]))
    assert not shim.has_gradient
