"""AdamW of an embedding table, of which a training set reads few rows.

    table       rows      moments
    the    x    0 -> 1    of "the"
    ##ing       1 -> 4    of "dog"
    ...                           (a row that no batch has read has neither
    dog    x                       a gradient nor moments, and stays as it is)

Of a vocabulary of 30,000 or 120,000 pieces, moments and gradients of all would be most of what
training takes beside the weights.

Legend: N rows of the table, W its width, T rows that were read so far.
"""

from typing import Tuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Rows that are stepped at a time: copies of them stay in the cache.
PART = 2048


class TableSteps:
    """The rows of a table that batches have read so far, their moments, and steps with these. To those
    rows a step does what AdamW does to the whole table, once they have been read for the first time.

    table (nn.Parameter): The table, shape (N, W).
    lr_scale (float): Factor on the learning rate.
    decay (float): Weight decay, per unit of the rate that results.
    """

    def __init__(self, table: nn.Parameter, *, lr_scale: float, decay: float) -> None:
        self.table, self.lr_scale, self.decay = table, lr_scale, decay
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

    def step(self, rate: float, betas: Tuple[float, float], eps: float) -> None:
        """Step the rows that were read so far, those without a gradient in this batch, too: their moments
        go on moving them. Nothing is stepped if the table has no gradient.

        rate (float): Learning rate.
        betas (Tuple[float, float]): Decay of the moments.
        eps (float): Added to the root of the second moment.
        """
        if self.table.grad is None:
            return
        read, values = self._gradient()
        place = torch.full((len(self.table),), -1, device=self.table.device)
        place[read] = torch.arange(len(read), device=self.table.device)
        table = self.table.detach()
        n_steps = torch.tensor(float(self._n_steps), dtype=torch.float32, device=table.device)
        self._n_steps += 1
        for start in range(0, len(self.rows), PART):
            part = slice(start, start + PART)
            rows = self.rows[part]
            weights = table.index_select(0, rows)
            gradient = torch.zeros_like(weights)
            places = place[rows]
            with_gradient = (places >= 0).nonzero()[:, 0]
            gradient.index_copy_(0, with_gradient, values.index_select(0, places[with_gradient]))
            first, second = self._moments[:, part][:, : len(rows)]
            adamw(
                [weights], [gradient], [first], [second], [],
                [n_steps.clone()],  # it is counted up
                fused=True, amsgrad=False, maximize=False,
                lr=rate * self.lr_scale, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=self.decay,
            )  # fmt: skip
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
