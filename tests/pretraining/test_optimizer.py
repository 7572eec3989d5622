"""The optimizer's step, and the rate and length of sequences over a run."""

import math
from typing import List

import pytest
import torch

from spacy_bert.encoder import BertConfig
from spacy_bert.pretraining.config import Optimizer, Training
from spacy_bert.pretraining.objective import PretrainingModel
from spacy_bert.pretraining.optimizer import AdamW, learn_rate, progress_of, sequence_length


def make_model() -> PretrainingModel:
    torch.manual_seed(0)
    sizes = BertConfig.from_size("tiny", vocab_size=20, max_positions=8)
    return PretrainingModel(sizes, nsp=True)


def give_gradients(model: torch.nn.Module, size: float) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, size)


@pytest.mark.parametrize("loss, gradient", [(float("nan"), 1.0), (1.0, float("inf"))])
def test_what_is_not_finite_changes_nothing(loss: float, gradient: float) -> None:
    """Catches a step that destroys the weights, or the moments: what is saved after it would be
    lost, too."""
    model = make_model()
    optimizer = AdamW(model, depth=2, settings=Optimizer())
    give_gradients(model, 0.1)
    optimizer.clip_and_step(torch.tensor(1.0), learn_rate=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    moments = [s["exp_avg"].clone() for s in optimizer.state.values()]
    steps = [float(s["step"]) for s in optimizer.state.values()]
    give_gradients(model, 0.1)
    model.nsp.dense.bias.grad[0] = gradient  # type: ignore[union-attr,index]
    norm = optimizer.clip_and_step(torch.tensor(loss), learn_rate=0.1)
    assert not math.isfinite(float(norm) + loss)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    after = optimizer.state.values()
    assert all(torch.equal(a, s["exp_avg"]) for a, s in zip(moments, after, strict=True))
    assert steps == [float(s["step"]) for s in after]
    give_gradients(model, 0.1)
    optimizer.clip_and_step(torch.tensor(1.0), learn_rate=0.1)  # and it goes on
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("clip, expected", [(1.0, 1.0), (0.0, 5.0), (100.0, 5.0)])
def test_clipping(clip: float, expected: float) -> None:
    """Catches a gradient that is clipped by parameter, not at all, or that is blown up."""
    model = torch.nn.Linear(3, 4, bias=False)
    optimizer = AdamW(model, depth=0, settings=Optimizer(grad_clip=clip, beta1=0.5))
    model.weight.grad = torch.full((4, 3), 5 / 12**0.5)
    norm = optimizer.clip_and_step(torch.tensor(0.0), learn_rate=0.1)
    assert float(norm) == pytest.approx(5.0)
    moment = optimizer.state[model.weight]["exp_avg"]
    assert float(moment.norm()) == pytest.approx(expected * 0.5, rel=1e-4)
    assert model.weight.grad is None


def rates(schedule: str, n: int = 100) -> List[float]:
    settings = Optimizer(learn_rate=1.0, warmup_steps=10, schedule=schedule)
    return [learn_rate(settings, step=step, progress=step / n) for step in range(n)]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates(schedule: str) -> None:
    """Catches a step at rate zero, a peak that is not the rate that was set, a jump at the end of the
    warm-up, and a fall that does not end where the run does."""
    found = rates(schedule)
    assert all(0 < rate <= 1 for rate in found)
    peak = max(range(100), key=found.__getitem__)
    assert peak == 9 and found[peak] == 1.0
    assert found[:9] == sorted(found[:9])
    assert max(abs(a - b) for a, b in zip(found, found[1:])) < 0.11
    assert found[-1] == (1.0 if schedule == "constant" else pytest.approx(0.0, abs=0.011))
    middle = {"linear": 0.5, "cosine": 0.5, "constant": 1.0}[schedule]
    assert found[50] == pytest.approx(middle)


def test_schedules_differ() -> None:
    """Catches a name that is not looked at."""
    assert len({rates(name)[20] for name in ("linear", "cosine", "constant")}) == 3


def test_progress() -> None:
    """Catches a budget of time that is not kept where there are steps, or the other way round."""
    steps, hours = Training(max_steps=100), Training(max_hours=2)
    both = Training(max_steps=100, max_hours=2)
    assert progress_of(steps, step=25, seconds=1e9) == 0.25
    assert progress_of(hours, step=10**9, seconds=1800) == 0.25
    assert progress_of(both, step=25, seconds=3600) == 0.5
    assert progress_of(both, step=75, seconds=3600) == 0.75
    assert progress_of(both, step=1000, seconds=0) == 1.0


def test_lengths() -> None:
    """Catches a last part that begins too early, or never."""
    training = Training(max_steps=10, max_length=128, final_length=512, final_share=0.1)
    assert [sequence_length(training, progress=i / 10) for i in (0, 5, 8, 9, 10)] == [
        128, 128, 128, 512, 512,
    ]  # fmt: skip
    assert sequence_length(Training(max_steps=10), progress=0.99) == 128
