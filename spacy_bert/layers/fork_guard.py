"""Forking after torch has computed: `nlp.pipe(n_process=2)` on Linux does it.

torch's OpenMP threads do not exist in a forked child, which then waits for them for ever. With one
thread, set before the fork, the child computes by itself; the parent gets its threads back.
"""

import os
from typing import List

import torch

from ..encoder.side_by_side import set_default

_threads: List[int] = []


def guard_forks() -> None:
    """Have every later `os.fork` of this process leave the child with one torch thread.

    Called once, on import of the shim: a pipeline that was unpickled runs no constructor. Does
    nothing where the system has no fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_to_one_thread,
            after_in_parent=_restore_threads,
            # What its own threads begin with, too.
            after_in_child=lambda: torch.set_num_threads(1),
        )


def _to_one_thread() -> None:
    threads = torch.get_num_threads()
    _threads.append(threads)
    torch.set_num_threads(1)
    # Or a thread that uses torch for the first time just now would keep to one for good.
    set_default(threads)


def _restore_threads() -> None:
    torch.set_num_threads(_threads.pop())
