"""AdamW as the paper used it, for an encoder and the heads on it.

A Thinc optimizer, so that spaCy's training loop and stock heads can use it; the encoder is stepped
as a whole by torch's fused AdamW, clipped by the norm of all its gradients together.
"""

import math
import warnings
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, cast

import torch
from thinc.optimizers import FloatOrSeq, Optimizer
from thinc.types import FloatsXd
from thinc.util import torch2xp
from torch import nn

from ..encoder.parameters import parameter_groups
from .good_weights import GoodWeights
from .module_steps import ModuleSteps, Rates

if TYPE_CHECKING:
    from .doc_encoder import DocEncoder

# So many steps at a rate of 0 are no accident. (A schedule's first and last steps may be.)
IDLE_STEPS = 10


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), with BERT's settings (paper, appendix A.2).
    Of the embeddings of pieces, those that no batch has read stay as they are, without decay.

    learn_rate (FloatOrSeq): The encoder's rate, or a schedule of it.
    heads_scale (float): The heads' rate as a multiple of the encoder's.
    layer_decay (float): Factor on the rate from each encoder layer to the one below.
    weight_decay (float): Decay per unit of rate; matrices only, neither biases nor LayerNorms.
    beta1 (float): Decay of the first moment.
    beta2 (float): Decay of the second moment.
    eps (float): Added to the root of the second moment.
    grad_clip (float): Greatest norm of the encoder's gradient as a whole, and of each array of a head; 0 for none.
        Gradients are sums over a batch, as spaCy's heads send them, where the paper's are means.
    use_averages (bool): Keep moving averages of the weights, which spaCy evaluates and saves.
    """

    def __init__(
        self,
        learn_rate: FloatOrSeq = 5e-5,
        *,
        heads_scale: float = 5.0,
        layer_decay: float = 1.0,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-6,
        grad_clip: float = 1.0,
        use_averages: bool = False,
    ) -> None:
        for name, value in (
            ("heads_scale", heads_scale),
            ("weight_decay", weight_decay),
            ("grad_clip", grad_clip),
            ("learn_rate", learn_rate),
        ):
            if isinstance(value, (int, float)) and not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}, but it must be finite and not negative.")
        # Thinc makes plain descent, or an error within a step, of a beta that is 0.
        for name, value in (("beta1", beta1), ("beta2", beta2), ("eps", eps)):
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}, but it must be between 0 and 1.")
        if not 0.0 < layer_decay <= 1.0:
            raise ValueError(f"layer_decay is {layer_decay}, but it must be in (0, 1].")
        super().__init__(
            learn_rate,
            L2=0.0,  # applied here, so that vectors (biases, LayerNorms) can be left out
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            grad_clip=grad_clip,
            use_averages=use_averages,
        )
        self.heads_scale = heads_scale
        self.layer_decay = layer_decay
        self.weight_decay = weight_decay
        self._modules: Dict[int, ModuleSteps] = {}
        self._good = GoodWeights()
        self._n_idle: Dict[Any, int] = {}

    def __call__(
        self,
        key: Tuple[int, str],
        weights: FloatsXd,
        gradient: FloatsXd,
        *,
        lr_scale: float = 1.0,
    ) -> Tuple[FloatsXd, FloatsXd]:
        """Step one array of a head, as Thinc asks for it.

        key (Tuple[int, str]): Whose array it is.
        weights (FloatsXd): The array.
        gradient (FloatsXd): Its gradient.
        lr_scale (float): A further factor on the rate.
        RETURNS (Tuple[FloatsXd, FloatsXd]): The new array and the cleared gradient.
        RAISES: FloatingPointError if the gradient is not finite; it is cleared then, and nothing else changed.
        """
        if gradient.size and not bool(abs(gradient).max() < float("inf")):
            # In place: the next batch's would be added to it.
            cast(Any, gradient).fill(0)
            raise FloatingPointError(
                f"The gradient of {key[1]!r} (model {key[0]}) is not finite. It was cleared, and not "
                f"stepped. If an earlier batch failed, it may be left of that: this error then comes once for "
                f"each array of the head. Else use a lower learning rate, or look for broken examples."
            )
        self._warn_of_no_rate(key)
        self._good.note_array(key, weights, self.nr_update[key])
        scale = self.heads_scale * lr_scale
        if self.weight_decay and weights.ndim >= 2:
            weights *= 1.0 - scale * self.learn_rate * self.weight_decay
        return super().__call__(key, weights, gradient, lr_scale=scale)

    def _adam(
        self, ops: Any, weights: Any, gradient: Any, lr_scale: float, key: Any, nr_upd: int
    ) -> Any:
        # Thinc adds eps before it corrects the second moment's bias, Kingma and Ba's algorithm and
        # torch after: in the first steps that is a much greater eps.
        eps, self.eps = self.eps, self.eps * (1.0 - self.b2**nr_upd) ** 0.5
        try:
            return super()._adam(ops, weights, gradient, lr_scale, key, nr_upd)
        finally:
            self.eps = eps

    def step_module(self, key: int, module: "DocEncoder") -> None:
        """Clip and step all parameters of an encoder together. The caller clears the gradients.

        key (int): Identifies the module from step to step.
        module (DocEncoder): The encoder with its pooler.
        RAISES: FloatingPointError before the step if a gradient is not finite.
        """
        gradients, norm = check_finite_gradients(module)
        if self.grad_clip and norm > self.grad_clip:
            torch._foreach_mul_(gradients, self.grad_clip / (norm + 1e-6))
        self._warn_of_no_rate(key)
        steps = self._steps(key, module)
        self._good.note_module(key, module, self.nr_update[(key, "")], steps.rows_to_step())
        self.nr_update[(key, "")] += 1
        steps.step(Rates(float(self.learn_rate), self.b1, self.b2, self.eps, self.weight_decay))
        if self.averages is not None:
            self._update_averages(key, module)

    def _warn_of_no_rate(self, key: Any) -> None:
        if self.learn_rate:
            self._n_idle.clear()
            return
        self._n_idle[key] = self._n_idle.get(key, 0) + 1
        if max(self._n_idle.values()) == self._n_idle[key] == IDLE_STEPS:
            warnings.warn(
                f"The learning rate has been 0 for {IDLE_STEPS} steps, which changed nothing. In a loop of "
                f"your own, call optimizer.step_schedules() after each step: a warm-up begins at 0. A schedule "
                f"that has come to its end (total_steps) stays there: train with a new optimizer.",
                stacklevel=2,
            )
            self._n_idle[key] += 1  # said once

    def recover(self) -> bool:
        """Put everything that was stepped back to where it was known to be good (see
        good_weights.py), and begin anew from there: without moments, and without averages of spoilt weights.

        RETURNS (bool): Whether anything had been stepped.
        """
        if not self._good.restore():
            return False
        self._modules.clear()
        for memory in (self.mom1, self.mom2, self.nr_update):
            memory.clear()
        if self.averages is not None:
            self.averages.clear()
        return True

    def _steps(self, key: int, module: "DocEncoder") -> ModuleSteps:
        """Moments and steps of a module, made anew if its parameters are not the ones that are known."""
        steps = self._modules.get(key)
        if steps is None or not steps.are_of(module):
            # What was copied of it may be of other rows than those that will be stepped.
            self._good.forget_module(key)
            depth = module.encoder.config.depth
            groups = parameter_groups(module, depth=depth, layer_decay=self.layer_decay)
            # An adapter in its place may have none of its own.
            table = getattr(module.encoder.embeddings.pieces, "weight", None)
            steps = self._modules[key] = ModuleSteps(groups, cast(Optional[nn.Parameter], table))
        return steps

    def _update_averages(self, key: int, module: nn.Module) -> None:
        assert self.averages is not None
        count = self.nr_update[(key, "")]
        # Thinc's decay: fast at first, so that the initial weights are forgotten
        decay = min((1.0 + count) / (10.0 + count), 0.9999)
        for name, parameter in module.named_parameters():
            value = cast(FloatsXd, torch2xp(parameter.detach()))
            if (key, name) not in self.averages:
                self.averages[(key, name)] = value.copy()
            else:
                average = self.averages[(key, name)]
                average -= (1.0 - decay) * (average - value)


def check_finite_gradients(module: nn.Module) -> Tuple[List[torch.Tensor], float]:
    """module (nn.Module): A module after a backward pass.
    RETURNS (Tuple[List[torch.Tensor], float]): Its gradients, of a table those of the rows that have
        any, and the norm of all of them together.
    RAISES: FloatingPointError if one of them holds a NaN or an infinity."""
    gradients = []
    for parameter in module.parameters():
        if (gradient := parameter.grad) is not None:
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()
            gradients.append(gradient.values() if gradient.is_sparse else gradient)
    norm = float(torch.nn.utils.get_total_norm(gradients))
    if not math.isfinite(norm):
        raise FloatingPointError(
            "The gradient of the encoder is not finite. Nothing was stepped. Use a lower "
            "learning rate, or look for broken examples in the batch."
        )
    return gradients, norm
