"""Ctrl-C and SIGTERM: asked once, a run saves and stops; asked twice, it stops at once."""

import signal
import threading
from types import FrameType
from typing import Any, Dict, Optional


class Interrupt:
    """A context in which signals are heard at the end of a step.

    received (Optional[str]): Name of the signal that came; None: none.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: Optional[str] = None
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        # Python runs handlers in the main thread, and lets nobody else set them.
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._hear) for s in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def __call__(self) -> bool:
        """RETURNS (bool): Whether to stop."""
        return self.received is not None

    def _hear(self, number: int, _: Optional[FrameType]) -> None:
        self.received = signal.Signals(number).name
        self._restore()  # the next one does what it always does

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
