"""The last weights known to be good, for when a step turns out to have gone too far.

    step 49     step 50     step 51         forward
    good        good        too far         NaN
                copied                      <- only here it shows: back to the copy

A gradient that is not finite is found before its step. A step that is finite and far too long (a
learning rate too high by magnitudes) spoils the weights, and nothing is wrong until they are used.
"""

import operator
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import torch
from thinc.types import FloatsXd
from torch import nn

# From one copy to the next: what copying takes is lost in the time of so many steps.
EVERY = 50


class Copied(NamedTuple):
    """Rows of a parameter as they were.

    rows (Optional[torch.Tensor]): Which, shape (n,); None for all.
    values (torch.Tensor): The rows. Like their numbers, they are in the memory of the host.
    """

    rows: Optional[torch.Tensor]
    values: torch.Tensor


class GoodWeights:
    """Copies of arrays of heads and of modules, taken every so many steps."""

    def __init__(self) -> None:
        self._arrays: Dict[Any, Tuple[Any, Any]] = {}
        self._modules: Dict[int, List[Tuple[nn.Parameter, List[Copied]]]] = {}

    def note_array(self, key: Any, array: FloatsXd, n_steps: int) -> None:
        """Copy an array that has just given a finite gradient, before it is stepped in place.

        key (Any): Whose array it is.
        array (FloatsXd): The array itself.
        n_steps (int): Steps it has taken.
        """
        _, copied = self._arrays.get(key, (None, None))
        # A head that was given more labels has a longer array.
        if copied is None or copied.shape != array.shape or n_steps % EVERY == 0:
            copied = array.copy()
        self._arrays[key] = array, copied

    def note_module(
        self,
        key: int,
        module: nn.Module,
        n_steps: int,
        moving: Mapping[nn.Parameter, torch.Tensor],
    ) -> None:
        """Copy what learns of a module that has just given a finite gradient, before it is stepped.

        key (int): Identifies the module.
        module (nn.Module): The module.
        n_steps (int): Steps it has taken.
        moving (Mapping[nn.Parameter, torch.Tensor]): Of which parameters only some rows have ever been stepped or
            are about to be, and these; from step to step they only become more.
        """
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        known = [parameter for parameter, _ in self._modules.get(key, [])]
        same = len(known) == len(learning) and all(map(operator.is_, known, learning))
        if not same or n_steps % EVERY == 0:
            self._modules[key] = [(p, [_copy(p, moving.get(p))]) for p in learning]
            return
        for parameter, copies in self._modules[key]:
            if parameter in moving:
                # Those that were at rest until now are still what they were when the rest was copied.
                n_copied = sum(len(copied.values) for copied in copies)
                new = moving[parameter][n_copied:]
                if len(new):
                    copies.append(_copy(parameter, new))

    def forget_module(self, key: int) -> None:
        """key (int): Identifies a module, which is to be copied anew."""
        self._modules.pop(key, None)

    def restore(self) -> bool:
        """RETURNS (bool): Whether there were copies; all arrays and modules are what they were."""
        for array, copied in self._arrays.values():
            array[...] = copied
        with torch.no_grad():
            for parameters in self._modules.values():
                for parameter, copies in parameters:
                    for rows, values in copies:
                        values = values.to(parameter.device)
                        if rows is None:
                            parameter.copy_(values)
                        else:
                            parameter.index_copy_(0, rows.to(parameter.device), values)
        return bool(self._arrays or self._modules)


def _copy(parameter: nn.Parameter, rows: Optional[torch.Tensor]) -> Copied:
    values = parameter.detach()
    if rows is None:
        return Copied(None, values.to("cpu", copy=True))
    # Copies, too: a view would keep all the numbers that it is one of.
    return Copied(rows.to("cpu", copy=True), values.index_select(0, rows).cpu())
