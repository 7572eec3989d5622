"""Steps of an embedding table: what AdamW does, to the rows that were read."""

from typing import Any, Dict, List

import pytest
import torch

from spacy_bert.layers import module_steps
from spacy_bert.layers.module_steps import Rates, TableSteps

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


def test_it_is_seen_that_the_table_has_changed() -> None:
    """A write past torch's count of changes: an engine would go on predicting with the old rows."""
    table = make_table()
    steps = TableSteps(table)
    set_gradient(table, [1], 0, sparse=True)
    version = table._version
    steps.notice()
    steps.step(rates(0.01))
    assert table._version > version
