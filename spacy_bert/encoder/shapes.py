"""Networks that have shapes, but no memory: until weights are loaded, there is nothing to compute with."""

import contextlib
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import torch
from torch.overrides import TorchFunctionMode


class _NoInitialValues(TorchFunctionMode):
    """Skips the functions that draw initial values. On the meta device they would import all of
    torch's compiler, which takes seconds."""

    def __torch_function__(
        self,
        func: Callable,
        types: Sequence[type],
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Dict[str, Any]] = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Networks that are built in here are on the meta device: constructing them costs nothing, and one
    that was never loaded cannot pass for one that was."""
    with torch.device("meta"), _NoInitialValues():
        yield
