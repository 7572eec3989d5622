"""Forking after torch has computed: `nlp.pipe(n_process=2)` on Linux does it.

torch's OpenMP threads do not exist in a forked child, which then waits for them for ever. With one
thread, set before the fork, the child computes by itself; the parent gets its threads back.
"""

import os
from typing import List

import torch

_threads: List[int] = []


def guard_forks() -> None:
    """Have every later `os.fork` of this process leave the child with one torch thread.

    Called once, on import of the shim: a pipeline that was unpickled runs no constructor. Does
    nothing where the system has no fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_to_one_thread, after_in_parent=_restore_threads)


def _to_one_thread() -> None:
    _threads.append(torch.get_num_threads())
    torch.set_num_threads(1)


def _restore_threads() -> None:
    torch.set_num_threads(_threads.pop())
