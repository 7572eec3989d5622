"""Time by the clock, and of processors, which other programs on a machine disturb less."""

import time
from typing import Dict, NamedTuple


class Moment(NamedTuple):
    """seconds (float): Of the clock.
    processor_seconds (float): Of all threads of this process."""

    seconds: float
    processor_seconds: float

    def until(self, end: "Moment") -> Dict[str, float]:
        """end (Moment): A later moment. RETURNS (Dict[str, float]): The time between the two."""
        return {name: round(b - a, 2) for name, a, b in zip(self._fields, self, end)}


def now() -> Moment:
    """RETURNS (Moment): This moment."""
    return Moment(time.perf_counter(), time.process_time())
