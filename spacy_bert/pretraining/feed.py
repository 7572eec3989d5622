"""Batches on the device, when they are wanted, and the streams that they come from."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Optional, Tuple

import numpy as np
import torch

from ..encoder.packing import move
from .batches import Position, PretrainingBatch, PretrainingStream
from .config import PretrainConfig
from .store import TokenStore

# What a GPU has waiting for it. A processor has nobody else to make batches.
AHEAD_OF_GPU = 4


def to_device(batch: PretrainingBatch, device: torch.device) -> PretrainingBatch:
    """batch (PretrainingBatch): A batch on the host.
    device (torch.device): Where it is wanted.
    RETURNS (PretrainingBatch): It there; copying may go on while the host does."""
    return PretrainingBatch(
        batch.pieces.to(device),
        *(move(tensor, device) for tensor in (batch.masked_rows, batch.masked_ids, batch.not_next)),
    )


class Feed:
    """Reads a stream, ahead of the one who asks if that helps, and knows the position of what is
    asked for next.

    open_stream (Callable[[Position, int], PretrainingStream]): Makes the stream that begins at a
        position, with sequences of some length.
    position (Position): Where to begin.
    max_length (int): Longest sequence.
    device (torch.device): Where the batches are wanted.
    ahead (Optional[int]): How many to have ready; None: as many as the device needs.
    """

    def __init__(
        self,
        open_stream: Callable[[Position, int], PretrainingStream],
        *,
        position: Position,
        max_length: int,
        device: torch.device,
        ahead: Optional[int] = None,
    ) -> None:
        self._open, self._device = open_stream, device
        self._ahead = (AHEAD_OF_GPU if device.type == "cuda" else 0) if ahead is None else ahead
        self._stream = open_stream(position, max_length)
        self._worker = ThreadPoolExecutor(max_workers=1) if self._ahead else None
        self._ready: Deque[Future[Tuple[PretrainingBatch, Position]]] = deque()
        self.position, self.max_length = position, max_length

    @property
    def n_pieces(self) -> int:
        """RETURNS (int): Pieces of an epoch."""
        return self._stream.n_pieces

    def set_max_length(self, max_length: int) -> None:
        """max_length (int): Longest sequence of what is asked for from now on."""
        if max_length != self.max_length:
            for future in self._ready:  # read ahead, with the old length
                future.cancel()
            if self._worker is not None:
                self._worker.submit(int).result()
            self._ready.clear()
            self.max_length = max_length
            self._stream = self._open(self.position, max_length)

    def next(self) -> PretrainingBatch:
        """RETURNS (PretrainingBatch): The next batch, on the device."""
        if self._worker is None:
            batch, self.position = self._read()
        else:
            while len(self._ready) < self._ahead:
                self._ready.append(self._worker.submit(self._read))
            batch, self.position = self._ready.popleft().result()
        return to_device(batch, self._device)

    def _read(self) -> Tuple[PretrainingBatch, Position]:
        batch = next(self._stream)
        return batch, self._stream.position

    def close(self) -> None:
        """Stop reading ahead."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)


def open_stream(
    config: PretrainConfig,
    store: TokenStore,
    documents: np.ndarray,
    position: Position,
    max_length: int,
) -> PretrainingStream:
    """config (PretrainConfig): Of the run.
    store (TokenStore): The text.
    documents (np.ndarray): Which of it, shape (n_documents, 2).
    position (Position): Where to begin.
    max_length (int): Longest sequence.
    RETURNS (PretrainingStream): The batches to train on.
    RAISES (ValueError): The configuration asks for what the documents cannot give."""
    return PretrainingStream(
        store,
        documents,
        objective=config.objective,
        max_length=max_length,
        batch_pieces=config.training.batch_pieces,
        seed=config.training.seed,
        position=position,
    )


def check_streams(
    config: PretrainConfig, store: TokenStore, parts: Tuple[np.ndarray, np.ndarray]
) -> None:
    """Make sure, before anything is written, that a run can read what it will: a folder that holds the
    configuration of a run is not given to another.

    config (PretrainConfig): Of the run.
    store (TokenStore): The text.
    parts (Tuple[np.ndarray, np.ndarray]): The documents to train on, and those held out.
    RAISES (ValueError): The configuration asks for what the documents cannot give.
    """
    train, held_out = parts
    first, last = config.lengths
    open_stream(config, store, train, Position(), first).set_max_length(last)
    if config.training.held_out:
        open_stream(config, store, held_out, Position(), last)
