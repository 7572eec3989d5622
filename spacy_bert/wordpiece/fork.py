"""Keeps a forked child of a process that has encoded quiet and alive.

The `tokenizers` library encodes batches with a pool of threads. A forked child has none of them:
the library notices, switches its parallelism off in the child, and, before version 0.22.2, prints
a warning to stderr for every child (`nlp.pipe(n_process=4)` forks). Its switch is the variable
TOKENIZERS_PARALLELISM, read in the child as soon as it exists, so it must be set before the fork:

    parent   unset ──before──> "false" ──fork──> unset again
    child                         └─────────────> "false", for good

A variable the user has set is left alone. ("true" is a bad choice: with it, a child of a process
that has encoded waits for ever for threads it does not have.)
"""

import os

_NAME = "TOKENIZERS_PARALLELISM"
_forks_under_way = 0  # more than one if several threads fork at once, or after a reload
_set_by_us = False


def _before() -> None:
    global _forks_under_way, _set_by_us
    _forks_under_way += 1
    if _NAME not in os.environ:
        os.environ[_NAME] = "false"
        _set_by_us = True


def _after_in_parent() -> None:
    global _forks_under_way, _set_by_us
    _forks_under_way -= 1
    if _forks_under_way == 0 and _set_by_us:
        os.environ.pop(_NAME, None)
        _set_by_us = False


def _after_in_child() -> None:
    global _forks_under_way, _set_by_us
    _forks_under_way = 0
    _set_by_us = False  # it stays set: the threads of the parent never come back


def guard_forks() -> None:
    """Have every later `os.fork` of this process turn the library's parallelism off in the child.

    Called once, on import of the tokenizer. Does nothing where the system has no fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before,
            after_in_parent=_after_in_parent,
            after_in_child=_after_in_child,
        )
