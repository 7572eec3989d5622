"""AdamW with BERT's groups, and how fast it learns when (Devlin et al. 2018, appendix A.2)."""

import math
from typing import List, Optional

import torch
from torch import Tensor, nn

from ..encoder.parameters import parameter_groups
from .config import Optimizer, Training


class AdamW(torch.optim.AdamW):
    """Decoupled weight decay on matrices only; the gradient is clipped as a whole; a step whose
    loss or gradient is not finite changes nothing.

    module (nn.Module): What to train.
    depth (int): Layers of its encoder.
    settings (Optimizer): The section [optimizer].
    """

    def __init__(self, module: nn.Module, *, depth: int, settings: Optimizer) -> None:
        groups = [
            {
                "params": group.parameters,
                "weight_decay": settings.weight_decay if group.decays else 0.0,
            }
            for group in parameter_groups(module, depth=depth)
        ]
        super().__init__(
            groups,
            lr=settings.learn_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            fused=True,
        )
        self.grad_clip = settings.grad_clip
        self._parameters: List[nn.Parameter] = [p for g in groups for p in g["params"]]  # type: ignore[attr-defined]

    def clip_and_step(self, loss: Tensor, *, learn_rate: float) -> Tensor:
        """Take a step and clear the gradients. Does not wait for a device.

        loss (Tensor): The loss that the gradients are of, shape ().
        learn_rate (float): The rate.
        RETURNS (Tensor): Norm of the gradient before it was clipped, shape (). It or the loss is
            NaN or infinite where nothing was changed.
        """
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.grad_clip:
            scale = torch.clamp(self.grad_clip / (norm + 1e-6), max=1.0)
            torch._foreach_mul_(gradients, scale)
        for group in self.param_groups:
            group["lr"] = learn_rate
        # torch's fused kernel looks at it on the device, and leaves everything as it is.
        self.found_inf = (~torch.isfinite(norm + loss.detach())).to(torch.float32)
        self.step()
        self.zero_grad(set_to_none=True)
        return norm


def learn_rate(settings: Optimizer, *, step: int, progress: float) -> float:
    """The rate of a step: up in `warmup_steps`, and then down with the progress of the run. As in the
    original, the decay counts from the first step, so that the rate falls from its peak, learn_rate, to
    where the decay then is.

    settings (Optimizer): The section [optimizer].
    step (int): Steps taken before.
    progress (float): How much of the run is done, from 0 to 1.
    RETURNS (float): The rate. Never 0 before the end.
    """
    if step < settings.warmup_steps:
        return settings.learn_rate * (step + 1) / settings.warmup_steps
    decay = {
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
        "constant": 1.0,
    }[settings.schedule]
    return settings.learn_rate * decay


def progress_of(training: Training, *, step: int, seconds: float) -> float:
    """How much of a run is done: of its steps or of its time, whichever is more.

    training (Training): The section [training].
    step (int): Steps taken.
    seconds (float): Time used, interruptions not counted.
    RETURNS (float): From 0 to 1.
    """
    by_steps = step / training.max_steps if training.max_steps else 0.0
    by_time = seconds / (3600 * training.max_hours) if training.max_hours else 0.0
    return min(1.0, max(by_steps, by_time))


def sequence_length(training: Training, *, progress: float) -> int:
    """training (Training): The section [training].
    progress (float): How much of the run is done.
    RETURNS (int): Longest sequence at that time."""
    final: Optional[int] = training.final_length
    return final if final and progress >= 1.0 - training.final_share else training.max_length
