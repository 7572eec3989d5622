"""AdamW's steps of a torch module, by torch's own fused kernel.

The classes of `torch.optim` import torch's compiler, which takes a second and 70 MB, and know only
whole parameters. Of the table of pieces, a training set reads few rows:

    table       rows      moments
    the    x    0 -> 1    of "the"
    ##ing       1 -> 4    of "dog"
    ...                           (a row that no batch has read has neither
    dog    x                       a gradient nor moments, and stays as it is)

Of a vocabulary of 30,000 or 120,000 pieces, moments and gradients of all would be most of what
training takes beside the weights.

Legend: N rows of the table, W its width, T rows that were read so far.
"""

from typing import Dict, Iterable, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ..encoder.parameters import ParameterGroup

# Rows that are stepped at a time on a processor: copies of them stay in its cache.
PART = 2048


class Rates(NamedTuple):
    """How far to step.

    rate (float): Learning rate.
    beta1 (float): Decay of the first moment.
    beta2 (float): Decay of the second moment.
    eps (float): Added to the root of the second moment.
    decay (float): Weight decay, per unit of rate.
    """

    rate: float
    beta1: float
    beta2: float
    eps: float
    decay: float


class Steps(Protocol):
    """Parameters, their moments, and steps with these."""

    def step(self, rates: Rates) -> None:
        """Step those that have a gradient."""


class WholeSteps:
    """Steps of whole parameters.

    parameters (Sequence[nn.Parameter]): The parameters.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        # number of a parameter -> its moments, and how many steps they have taken
        self._states: Dict[int, Tuple[Tensor, Tensor, Tensor]] = {}

    def step(self, rates: Rates) -> None:
        """Step those that have a gradient."""
        weights, gradients, states = [], [], []
        for i, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                if i not in self._states:
                    self._states[i] = (
                        torch.zeros_like(parameter.detach()),
                        torch.zeros_like(parameter.detach()),
                        torch.zeros((), dtype=torch.float32, device=parameter.device),
                    )
                weights.append(parameter.detach())
                gradients.append(parameter.grad)
                states.append(self._states[i])
        if weights:
            first, second, n_steps = map(list, zip(*states))
            _step(weights, gradients, first, second, n_steps, rates)


class TableSteps:
    """The rows of a table that batches have read so far, their moments, and steps with these. To those
    rows a step does what AdamW does to the whole table, once they have been read for the first time.

    table (nn.Parameter): The table, shape (N, W).
    """

    def __init__(self, table: nn.Parameter) -> None:
        self.table = table
        # In the order in which they were first read; it only grows.
        self.rows = torch.empty(0, dtype=torch.int64, device=table.device)  # (T,)
        self._moments = table.detach().new_empty(2, 0, table.shape[1])  # (2, T or more, W)
        self._is_read = torch.zeros(len(table), dtype=torch.bool, device=table.device)  # (N,)
        self._n_steps = 0

    @property
    def memory(self) -> int:
        """RETURNS (int): Rows that there are moments for; some are for rows to come."""
        return self._moments.shape[1]

    def notice(self) -> None:
        """Take in the rows that have a gradient for the first time."""
        read, _ = self._gradient()
        new = read[~self._is_read[read]]
        if not len(new):
            return
        self._is_read[new] = True
        self.rows = torch.cat([self.rows, new])
        if len(self.rows) > self.memory:
            # With room for more, as nearly each batch brings some.
            room = min(len(self.table), len(self.rows) + len(self.rows) // 4)
            moments = self._moments.new_zeros(2, room, self.table.shape[1])
            moments[:, : self.memory] = self._moments
            self._moments = moments

    def step(self, rates: Rates) -> None:
        """Step the rows that were read so far, those without a gradient in this batch, too: their moments
        go on moving them. Nothing is stepped if the table has no gradient."""
        if self.table.grad is None:
            return
        read, values = self._gradient()
        place = torch.full((len(self.table),), -1, device=self.table.device)
        place[read] = torch.arange(len(read), device=self.table.device)
        table = self.table.detach()
        n_steps = torch.tensor(float(self._n_steps), dtype=torch.float32, device=table.device)
        self._n_steps += 1
        size = PART if table.device.type == "cpu" else max(1, len(self.rows))
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            rows = self.rows[part]
            weights = table.index_select(0, rows)
            gradient = torch.zeros_like(weights)
            places = place[rows]
            with_gradient = (places >= 0).nonzero()[:, 0]
            gradient.index_copy_(0, with_gradient, values.index_select(0, places[with_gradient]))
            first, second = self._moments[:, part][:, : len(rows)]
            # A copy, as it is counted up.
            _step([weights], [gradient], [first], [second], [n_steps.clone()], rates)
            table.index_copy_(0, rows, weights)

    def _gradient(self) -> Tuple[Tensor, Tensor]:
        """RETURNS (Tuple[Tensor, Tensor]): Rows with a gradient, each once, and the gradients."""
        gradient = self.table.grad
        if gradient is None:
            return self.rows[:0], self.table.detach()[:0]
        if gradient.is_sparse:
            gradient = gradient.coalesce()  # as it is, if it is that already
            return gradient.indices()[0], gradient.values()
        read = torch.linalg.vector_norm(gradient, torch.inf, dim=1).nonzero()[:, 0]
        return read, gradient[read]


def _step(
    weights: List[Tensor],
    gradients: List[Tensor],
    first: List[Tensor],
    second: List[Tensor],
    n_steps: List[Tensor],
    rates: Rates,
) -> None:
    rate, beta1, beta2, eps, decay = rates
    # It changes them past torch's own count of changes, by which engines know that they are out of date.
    torch.autograd.graph.increment_version(weights)
    adamw(
        weights, gradients, first, second, [], n_steps, fused=True, amsgrad=False, maximize=False,
        lr=rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay,
    )  # fmt: skip


class ModuleSteps:
    """Steps of a module.

    groups (Iterable[ParameterGroup]): Its parameters, those that learn.
    table (Optional[nn.Parameter]): Which of them is its table of pieces; None if that is something else
        than a parameter.
    """

    def __init__(self, groups: Iterable[ParameterGroup], table: Optional[nn.Parameter]) -> None:
        self._steps: List[Tuple[ParameterGroup, Steps]] = []
        self._table: Optional[TableSteps] = None
        for group in groups:
            others = [parameter for parameter in group.parameters if parameter is not table]
            self._steps.append((group, WholeSteps(others)))
            if table is not None and len(others) < len(group.parameters):
                self._table = TableSteps(table)
                self._steps.append((group, self._table))

    def are_of(self, module: nn.Module) -> bool:
        """module (nn.Module): A module.
        RETURNS (bool): Whether these are the parameters of it that learn."""
        known = {id(p) for group, _ in self._steps for p in group.parameters}
        return known == {id(p) for p in module.parameters() if p.requires_grad}

    def rows_to_step(self) -> Dict[nn.Parameter, Tensor]:
        """RETURNS (Dict[nn.Parameter, Tensor]): Of the table, the rows that the next step may change, and
        those that steps before have; nothing if it does not learn."""
        if self._table is None:
            return {}
        self._table.notice()
        return {self._table.table: self._table.rows}

    def step(self, rates: Rates) -> None:
        """rates (Rates): How far; each group has its factor on the rate, and decay or none."""
        for group, steps in self._steps:
            decay = rates.decay if group.decays else 0.0
            steps.step(rates._replace(rate=rates.rate * group.lr_scale, decay=decay))
